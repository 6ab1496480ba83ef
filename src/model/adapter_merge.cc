// Rows with a delta are summed anew; tensors without one are copied.
#include "model/adapter_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "base/try.h"
#include "files/messages.h"
#include "model/model_folder.h"
#include "model/stored_tensors.h"
#include "model/tensor_list.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// A delta and its whole factor.
struct ScaledDelta {
  const AdapterDelta* delta = nullptr;
  double scale = 1;
};

using DeltasByTensor = std::map<std::string, std::vector<ScaledDelta>, std::less<>>;

Result<DeltasByTensor> CollectDeltas(std::span<const AppliedAdapter> adapters, const Config& config) {
  DeltasByTensor deltas;
  for (const AppliedAdapter& applied : adapters) {
    if (!std::isfinite(applied.scale))
      return Fail(StatusCode::kInvalidArgument, applied.adapter->name + ": its scale is not finite");
    for (const AdapterDelta& delta : applied.adapter->deltas) {
      DG_CHECK_OK(CheckDelta(delta, config));
      if (HasTwoRoles(delta.tensor) && delta.role != DeltaRole::kBoth && !config.causal_only) {
        const bool paired = std::ranges::count(applied.adapter->deltas, delta.tensor, &AdapterDelta::tensor) > 1;
        return Fail(StatusCode::kInvalidArgument,
                    fmt::format("{}: {}: {}; both roles share this weight, so the adapter cannot be merged (apply it "
                                "unmerged with --lora)",
                                applied.adapter->name, delta.tensor,
                                paired ? "the encoder's delta differs from the decoder's"
                                       : fmt::format("only the {} is changed", Name(delta.role))));
      }
      deltas[delta.tensor].push_back({&delta, static_cast<double>(delta.scale) * static_cast<double>(applied.scale)});
    }
  }
  return deltas;
}

/// value as the float32 that rounds to the same shorter number as value itself: towards zero, and odd where that loses
/// something.
float RoundToOdd(double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || !std::isfinite(nearest)) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

/// False when the type cannot hold the value.
bool Encode(DType dtype, double value, std::byte* out) {
  if (dtype == DType::kF32) {
    const auto rounded = static_cast<float>(value);
    std::memcpy(out, &rounded, sizeof(rounded));
    return std::isfinite(rounded);
  }
  const uint16_t bits = dtype == DType::kBF16 ? ToBf16(RoundToOdd(value)) : ToF16(RoundToOdd(value));
  std::memcpy(out, &bits, sizeof(bits));
  return std::isfinite(dtype == DType::kBF16 ? FromBf16(bits) : FromF16(bits));
}

/// Squared sums of rows.
struct RowChange {
  double change = 0, length = 0;

  RowChange& operator+=(const RowChange& other) {
    change += other.change;
    length += other.length;
    return *this;
  }
};

Result<RowChange> MergeRow(const StoredTensor& stored, std::span<const ScaledDelta> deltas, int64_t place, DType dtype,
                           std::span<std::byte> out) {
  const auto cols = static_cast<size_t>(stored.cols);
  std::vector<float> weights(cols);
  std::vector<double> change(cols);
  ReadRow(stored, place / stored.rows, place % stored.rows, weights.data());
  for (const auto& [delta, scale] : deltas) {
    const float* up = delta->up.data() + place * delta->rank;
    const float* down = delta->down.data() + place / stored.rows * delta->rank * stored.cols;
    for (int64_t r = 0; r < delta->rank; ++r, down += stored.cols) {
      const double factor = scale * static_cast<double>(up[r]);
      for (size_t col = 0; col < cols; ++col) change[col] += factor * static_cast<double>(down[col]);
    }
  }
  RowChange sums;
  bool holds = true;
  for (size_t col = 0; col < cols; ++col) {
    const auto weight = static_cast<double>(weights[col]);
    sums.change += change[col] * change[col];
    sums.length += weight * weight;
    holds = Encode(dtype, weight + change[col], out.data() + col * BytesPerValue(dtype)) && holds;
  }
  if (holds) return sums;
  return Fail(StatusCode::kInvalidFile, fmt::format("with the adapter it holds values that {} cannot", Name(dtype)));
}

Result<void> Merge(const StoredTensor& stored, std::span<const ScaledDelta> deltas, MergedTensor& outcome,
                   TensorStream& stream, const ByteSink& sink) {
  const auto row_bytes = static_cast<size_t>(stored.cols) * BytesPerValue(outcome.dtype);
  const auto merge_row = [&](int64_t place, std::span<std::byte> bytes) {
    return At(outcome.name, MergeRow(stored, deltas, place, outcome.dtype, bytes));
  };
  DG_TRY(const RowChange total, stream.MakeRows<RowChange>(stored, row_bytes, sink, merge_row));
  outcome.relative_change = total.length > 0 ? std::sqrt(total.change / total.length) : 0;
  return {};
}

/// The type of all of a tensor's values.
Result<DType> PlainType(const StoredTensor& stored, const std::string& name) {
  const DType dtype = stored.packed() ? DType::kU8 : stored.runs.front().dtype;
  const bool plain = !stored.packed() && std::ranges::all_of(stored.runs, [&](const StoredRows& run) {
    return !run.scaled() && run.dtype == dtype && ValuesPerBlock(dtype) == 1;
  });
  if (plain) return dtype;
  return Fail(StatusCode::kUnsupported, name +
                                            ": is quantised, and adapters are merged into F32, F16 or BF16 "
                                            "weights only (apply it unmerged with --lora)");
}

}  // namespace

Result<std::vector<MergedTensor>> MergeAdapters(const CheckpointFiles& files, const Config& config,
                                                std::span<const AppliedAdapter> adapters,
                                                const std::filesystem::path& target, const StreamOptions& options,
                                                ThreadPool& pool) {
  DG_TRY(const DeltasByTensor deltas, CollectDeltas(adapters, config));
  TensorStream stream(options, pool);
  std::vector<MergedTensor> merged;
  merged.reserve(deltas.size());  // producers keep references
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : ListTensors(config)) {
    DG_TRY(const StoredTensor stored, FindStored(files, spec));
    DG_TRY(const DType dtype, PlainType(stored, spec.name));
    TensorToWrite tensor{spec.name, dtype, spec.shape, {}};
    DG_TRY(const uint64_t bytes, At(spec.name, StoredBytes(tensor)));
    stream.Expect(bytes);
    const auto found = deltas.find(spec.name);
    MergedTensor* outcome = found == deltas.end() ? nullptr : &merged.emplace_back(MergedTensor{spec.name, dtype, 0});
    tensor.produce = [&files, &stream, stored, found, outcome](const ByteSink& sink) -> Result<void> {
      DG_CHECK_OK(outcome != nullptr ? Merge(stored, found->second, *outcome, stream, sink)
                                     : stream.Copy(stored, sink));
      Release(files, stored);
      return {};
    };
    tensors.push_back(std::move(tensor));
  }
  DG_TRY(const ModelTexts texts, ReadTexts(files));
  DG_CHECK_OK(SaveModelFolder(target, std::move(tensors), texts));
  return merged;
}

}  // namespace dgemma
