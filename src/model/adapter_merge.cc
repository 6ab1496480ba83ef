// Batches of rows on several threads; tensors without a delta are copied.
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
#include "files/new_folder.h"
#include "files/safetensors_writer.h"
#include "model/convert.h"
#include "model/stored_tensors.h"
#include "model/tensor_list.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

constexpr int64_t kBatchValues = int64_t{1} << 20;
constexpr size_t kCopiedBytes = size_t{16} << 20;

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

/// Squared sums of one row.
struct RowChange {
  double change = 0, length = 0;
  bool holds = true;  ///< every value fits the type
};

class Merger {
 public:
  Merger(const CheckpointFiles& files, const DeltasByTensor& deltas, const MergeOptions& options, ThreadPool& pool)
      : files_(files), deltas_(deltas), options_(options), pool_(pool) {}

  Result<TensorToWrite> Plan(const TensorSpec& spec, MergedTensor* outcome) {
    DG_TRY(const StoredTensor stored, FindStored(files_, spec));
    const DType dtype = stored.packed() ? DType::kU8 : stored.runs.front().dtype;
    const bool plain = !stored.packed() && std::ranges::all_of(stored.runs, [&](const StoredRows& run) {
      return !run.scaled() && run.dtype == dtype && ValuesPerBlock(dtype) == 1;
    });
    if (!plain) {
      return Fail(StatusCode::kUnsupported, spec.name +
                                                ": is quantised, and adapters are merged into F32, F16 or BF16 "
                                                "weights only (apply it unmerged with --lora)");
    }
    TensorToWrite tensor{spec.name, dtype, spec.shape, {}};
    DG_TRY(const uint64_t bytes, At(spec.name, StoredBytes(tensor)));
    total_bytes_ += static_cast<int64_t>(bytes);
    const auto found = deltas_.find(spec.name);
    if (found == deltas_.end()) {
      tensor.produce = [this, stored](const ByteSink& sink) { return Copy(stored, sink); };
      return tensor;
    }
    *outcome = {spec.name, dtype, 0};
    tensor.produce = [this, stored, &deltas = found->second, outcome](const ByteSink& sink) -> Result<void> {
      return At(outcome->name, Merge(stored, deltas, *outcome, sink));
    };
    return tensor;
  }

 private:
  Result<void> Deliver(std::span<const std::byte> bytes, const ByteSink& sink) {
    if (options_.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
    DG_CHECK_OK(sink(bytes));
    done_bytes_ += std::ssize(bytes);
    if (options_.progress) options_.progress(done_bytes_, total_bytes_);
    return {};
  }

  Result<void> Copy(const StoredTensor& stored, const ByteSink& sink) {
    for (const StoredRows& run : stored.runs) {
      for (size_t begin = 0; begin < run.bytes.size(); begin += kCopiedBytes)
        DG_CHECK_OK(Deliver(run.bytes.subspan(begin, std::min(kCopiedBytes, run.bytes.size() - begin)), sink));
    }
    Release(files_, stored);
    return {};
  }

  static RowChange MergeRow(const StoredTensor& stored, std::span<const ScaledDelta> deltas, int64_t place, DType dtype,
                            std::byte* out) {
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
    for (size_t col = 0; col < cols; ++col) {
      const auto weight = static_cast<double>(weights[col]);
      sums.change += change[col] * change[col];
      sums.length += weight * weight;
      sums.holds = Encode(dtype, weight + change[col], out + col * BytesPerValue(dtype)) && sums.holds;
    }
    return sums;
  }

  Result<void> Merge(const StoredTensor& stored, std::span<const ScaledDelta> deltas, MergedTensor& outcome,
                     const ByteSink& sink) {
    const int64_t rows = stored.count * stored.rows, batch = std::max<int64_t>(1, kBatchValues / stored.cols);
    const auto row_bytes = static_cast<size_t>(stored.cols) * BytesPerValue(outcome.dtype);
    std::vector<std::byte> bytes;
    std::vector<RowChange> changes;
    RowChange total;
    for (int64_t begin = 0; begin < rows; begin += batch) {
      const auto count = static_cast<size_t>(std::min(batch, rows - begin));
      bytes.resize(count * row_bytes);
      changes.assign(count, {});
      pool_.ParallelFor(static_cast<int64_t>(count), [&](int64_t row, int) {
        const auto index = static_cast<size_t>(row);
        changes[index] = MergeRow(stored, deltas, begin + row, outcome.dtype, bytes.data() + index * row_bytes);
      });
      for (const RowChange& row : changes) {
        if (!row.holds)
          return Fail(StatusCode::kInvalidFile,
                      fmt::format("with the adapter it holds values that {} cannot", Name(outcome.dtype)));
        total.change += row.change;
        total.length += row.length;
      }
      DG_CHECK_OK(Deliver(bytes, sink));
    }
    outcome.relative_change = total.length > 0 ? std::sqrt(total.change / total.length) : 0;
    Release(files_, stored);
    return {};
  }

  const CheckpointFiles& files_;
  const DeltasByTensor& deltas_;
  const MergeOptions& options_;
  ThreadPool& pool_;
  int64_t done_bytes_ = 0, total_bytes_ = 0;
};

}  // namespace

Result<std::vector<MergedTensor>> MergeAdapters(const CheckpointFiles& files, const Config& config,
                                                std::span<const AppliedAdapter> adapters,
                                                const std::filesystem::path& target, const MergeOptions& options,
                                                ThreadPool& pool) {
  DG_TRY(const DeltasByTensor deltas, CollectDeltas(adapters, config));
  Merger merger(files, deltas, options, pool);
  std::vector<MergedTensor> merged;
  merged.reserve(deltas.size());  // producers keep references
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : ListTensors(config)) {
    MergedTensor* outcome = deltas.contains(spec.name) ? &merged.emplace_back() : nullptr;
    DG_TRY(TensorToWrite tensor, merger.Plan(spec, outcome));
    tensors.push_back(std::move(tensor));
  }
  DG_TRY(const ModelTexts texts, ReadTexts(files));
  const FillFolder fill = [&](const std::filesystem::path& folder) -> Result<void> {
    DG_CHECK_OK(WriteSafetensors(folder / "model.safetensors", tensors, {{"format", "pt"}}));
    return SaveTexts(texts, folder);
  };
  DG_CHECK_OK(SaveNewFolder(target, fill));
  return merged;
}

}  // namespace dgemma
