// See stored_tensors.h.
#include "model/stored_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_set>

#include "base/try.h"
#include "files/messages.h"
#include "model/quantized_names.h"
#include "tensor/panels.h"

namespace dgemma {
namespace {

/// The list's shape as matrices without contents: vectors are one row.
StoredTensor Matrices(const TensorSpec& spec) {
  const auto size = [&](size_t i) { return static_cast<int64_t>(spec.shape[i]); };
  switch (spec.shape.size()) {
    case 3:
      return {size(0), size(1), size(2), {}, {}};
    case 2:
      return {1, size(0), size(1), {}, {}};
    default:
      return {1, 1, static_cast<int64_t>(spec.Values()), {}, {}};
  }
}

std::unexpected<Status> WrongShape(const TensorBytes& tensor, const std::string& expected) {
  return Fail(StatusCode::kInvalidFile, fmt::format("{}: {}: shape [{}] differs from the configuration's {}",
                                                    tensor.file, tensor.name, fmt::join(tensor.shape, ", "), expected));
}

Result<StoredTensor> Panels(const CheckpointFiles& files, const TensorSpec& spec, const TensorBytes& tensor,
                            const std::string& format_name) {
  const std::string place = fmt::format("{}: {}", tensor.file, spec.name);
  StoredTensor stored = Matrices(spec);
  DG_TRY(const WeightFormat format, At(place, ParseWeightFormat(format_name)));
  if (!format.grouped() ||
      (spec.role != TensorRole::kMatrix && spec.role != TensorRole::kExperts && spec.role != TensorRole::kEmbedding)) {
    return Fail(StatusCode::kInvalidFile, fmt::format("{}: is packed as {} but cannot be", place, format_name));
  }
  DG_CHECK_OK(At(place, CheckRowLength(format, stored.cols)));
  const auto bytes = static_cast<uint64_t>(GroupedBytes(format, stored.count, stored.rows, stored.cols));
  if (tensor.bytes.size() != bytes) {
    return WrongShape(tensor, fmt::format("{} bytes of {} [{}]", bytes, format_name, fmt::join(spec.shape, ", ")));
  }
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 64 != 0) {
    return Fail(StatusCode::kInvalidFile, fmt::format("{}: packed panels must begin at a multiple of 64 bytes", place));
  }
  stored.panels = {format, tensor.bytes, files.owner()};
  return stored;
}

/// A name and everything it stands for in names of activation scales: the tensor, its layer, and the block around the
/// layer.
void AddLayersOf(std::string_view name, std::unordered_set<std::string_view>& layers) {
  for (int level = 0; level < 3; ++level) {
    layers.insert(name);
    name = name.substr(0, std::min(name.rfind('.'), name.size()));
  }
}

}  // namespace

Result<StoredTensor> FindStored(const CheckpointFiles& files, const TensorSpec& spec,
                                std::vector<std::string_view>* names) {
  const auto format = files.metadata().find(spec.name);
  const bool packed = format != files.metadata().end();
  if (!packed) {
    DG_TRY(std::optional<FoundParts> quantized, FindQuantized(files, spec));
    if (quantized) {
      if (names != nullptr) *names = std::move(quantized->names);
      StoredTensor stored = Matrices(spec);
      stored.runs = std::move(quantized->runs);
      return stored;
    }
  }
  DG_TRY(const TensorBytes tensor, files.Tensor(spec.name));
  if (names != nullptr) *names = {tensor.name};
  if (packed) return Panels(files, spec, tensor, format->second);
  if (!std::equal(tensor.shape.begin(), tensor.shape.end(), spec.shape.begin(), spec.shape.end())) {
    return WrongShape(tensor, fmt::format("[{}]", fmt::join(spec.shape, ", ")));
  }
  if (!IsWeightType(tensor.dtype)) {
    return Fail(StatusCode::kUnsupported, fmt::format("{}: {}: type {} is not supported (F32, BF16, F16)", tensor.file,
                                                      spec.name, Name(tensor.dtype)));
  }
  StoredTensor stored = Matrices(spec);
  if (tensor.runs.empty()) stored.runs.push_back({tensor.dtype, stored.count * stored.rows, tensor.bytes});
  for (const TensorRun& run : tensor.runs)
    stored.runs.push_back({run.dtype, static_cast<int64_t>(run.rows), run.bytes});
  return stored;
}

Result<void> CheckTensors(const CheckpointFiles& files, const Config& config) {
  std::unordered_set<std::string_view> known, layers = {"lm_head"};
  const std::vector<TensorSpec> specs = ListTensors(config);
  for (const TensorSpec& spec : specs) {
    std::vector<std::string_view> names;
    const auto stored = FindStored(files, spec, &names);
    if (!stored) return std::unexpected(Status{stored.error().code, stored.error().message + QuantMethodNote(files)});
    AddLayersOf(spec.name, layers);
    for (const std::string_view name : names) {
      known.insert(name);
      AddLayersOf(name, layers);
    }
  }
  for (const TensorBytes& tensor : files.tensors()) {
    if (known.contains(tensor.name) || IsTiedName(tensor.name)) continue;
    const auto layer = LayerOfUnusedScale(tensor.name);
    if (layer && layers.contains(*layer)) continue;
    return Fail(StatusCode::kInvalidFile, fmt::format("{}: {}: no such tensor in this model{}", tensor.file,
                                                      Quoted(tensor.name), QuantMethodNote(files)));
  }
  return {};
}

void Release(const CheckpointFiles& files, const StoredTensor& stored) {
  for (const StoredRows& run : stored.runs) {
    for (const std::span<const std::byte> bytes : {run.bytes, run.scales.scales, run.scales.zero_points}) {
      TensorBytes part;
      part.bytes = bytes;
      files.Release(part);
    }
  }
}

}  // namespace dgemma
