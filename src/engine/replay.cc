// See replay.h.
#include "engine/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "tensor/stored.h"

namespace dgemma {
namespace {

template <typename Stored>
std::vector<int64_t> Widen(std::span<const std::byte> bytes) {
  std::vector<Stored> values(bytes.size() / sizeof(Stored));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Stored));
  return {values.begin(), values.end()};
}

/// Row `batch_row` of a tensor with B * C values.
template <typename T>
Result<std::vector<T>> RowOf(const TensorBytes& tensor, std::vector<T> all, int64_t batch_row, int64_t canvas_rows) {
  const int64_t begin = batch_row * canvas_rows;
  if (begin + canvas_rows > std::ssize(all)) {
    return Fail(StatusCode::kInvalidFile, fmt::format("{}: too few values for the batch and the canvas", tensor.name));
  }
  return std::vector<T>(all.begin() + begin, all.begin() + begin + canvas_rows);
}

Result<std::vector<int32_t>> ReadTokens(const TensorBytes& tensor, int64_t batch_row, int64_t canvas_rows,
                                        int64_t vocab) {
  DG_TRY(std::vector<int64_t> all, ReadIntegers(tensor));
  DG_TRY(const std::vector<int64_t> row, RowOf(tensor, std::move(all), batch_row, canvas_rows));
  for (int64_t id : row) {
    if (id < 0 || id >= vocab)
      return Fail(StatusCode::kInvalidFile, fmt::format("{}: id {} is not in the vocabulary", tensor.name, id));
  }
  return std::vector<int32_t>(row.begin(), row.end());
}

}  // namespace

Result<std::vector<int64_t>> ReadIntegers(const TensorBytes& tensor) {
  switch (tensor.dtype) {
    case DType::kI64:
      return Widen<int64_t>(tensor.bytes);
    case DType::kI32:
      return Widen<int32_t>(tensor.bytes);
    case DType::kU8:
    case DType::kBool:
      return Widen<uint8_t>(tensor.bytes);
    default:
      return Fail(StatusCode::kUnsupported,
                  fmt::format("{}: type {} where integers are expected", tensor.name, Name(tensor.dtype)));
  }
}

Result<std::vector<float>> ReadNumbers(const TensorBytes& tensor) {
  if (!IsWeightType(tensor.dtype)) {
    return Fail(StatusCode::kUnsupported,
                fmt::format("{}: type {} where F32, BF16 or F16 is expected", tensor.name, Name(tensor.dtype)));
  }
  const auto values =
      static_cast<int64_t>(tensor.bytes.size() / BytesPerBlock(tensor.dtype) * ValuesPerBlock(tensor.dtype));
  std::vector<float> out(static_cast<size_t>(values));
  ReadRow(OneRun(tensor.dtype, 1, 1, values, tensor.bytes), 0, 0, out.data());
  return out;
}

Result<RecordedNoise> RecordedNoise::Read(const CheckpointFiles& files, int64_t batch_row, int64_t canvas_rows,
                                          int64_t vocab) {
  RecordedNoise noise(vocab);
  for (int32_t canvas = 0;; ++canvas) {
    const auto start = files.Tensor(fmt::format("canvas.{}.init", canvas));
    if (!start) break;
    DG_TRY(std::vector<int32_t> tokens, ReadTokens(*start, batch_row, canvas_rows, vocab));
    noise.start_.push_back(std::move(tokens));
    for (int32_t step = 0;; ++step) {
      const auto uniform = files.Tensor(fmt::format("canvas.{}.step.{}.uniform", canvas, step));
      if (!uniform) break;
      DG_TRY(std::vector<float> all, ReadNumbers(*uniform));
      DG_TRY(const std::vector<float> row, RowOf(*uniform, std::move(all), batch_row, canvas_rows));
      if (std::any_of(row.begin(), row.end(), [](float u) { return !(u >= 0.0f && u <= 1.0f); })) {
        return Fail(StatusCode::kInvalidFile, fmt::format("{}: a uniform draw is outside 0..1", uniform->name));
      }
      noise.uniform_[{canvas, step}].assign(row.begin(), row.end());
      DG_TRY(const TensorBytes renoise, files.Tensor(fmt::format("canvas.{}.step.{}.renoise", canvas, step)));
      DG_TRY((noise.renoise_[{canvas, step}]), ReadTokens(renoise, batch_row, canvas_rows, vocab));
    }
  }
  return noise;
}

int32_t RecordedNoise::StartToken(int32_t canvas, int32_t row) const {
  if (canvas >= std::ssize(start_)) return beyond_.StartToken(canvas, row);
  return start_[static_cast<size_t>(canvas)][static_cast<size_t>(row)];
}

double RecordedNoise::SampleUniform(int32_t canvas, int32_t step, int32_t row) const {
  const auto found = uniform_.find({canvas, step});
  return found == uniform_.end() ? beyond_.SampleUniform(canvas, step, row) : found->second[static_cast<size_t>(row)];
}

int32_t RecordedNoise::RenoiseToken(int32_t canvas, int32_t step, int32_t row) const {
  const auto found = renoise_.find({canvas, step});
  return found == renoise_.end() ? beyond_.RenoiseToken(canvas, step, row) : found->second[static_cast<size_t>(row)];
}

TransformersRow AsTransformers(std::span<const std::vector<int32_t>> canvases, int64_t canvas_count,
                               int64_t canvas_rows, std::span<const int32_t> stop_tokens, int32_t pad_token,
                               int64_t denoise_passes) {
  TransformersRow row;
  bool ended = false;
  for (int64_t c = 0; c < canvas_count; ++c) {
    for (int64_t i = 0; i < canvas_rows; ++i) {
      const bool present = c < std::ssize(canvases) && !ended;
      const int32_t token = present ? canvases[static_cast<size_t>(c)][static_cast<size_t>(i)] : pad_token;
      ended = ended || (present && std::find(stop_tokens.begin(), stop_tokens.end(), token) != stop_tokens.end());
      row.new_tokens.push_back(token);
    }
  }
  const auto kept =
      std::count_if(row.new_tokens.begin(), row.new_tokens.end(), [&](int32_t token) { return token != pad_token; });
  row.tokens_per_forward = static_cast<double>(kept) / static_cast<double>(std::max<int64_t>(denoise_passes, 1));
  return row;
}

}  // namespace dgemma
