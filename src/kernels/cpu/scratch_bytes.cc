// How large the CPU backend's own memory gets: the sums of what its operations ask of their growing buffers.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/head_scratch.h"
#include "kernels/cpu/scratch.h"

namespace dgemma {
namespace {

/// Floats of rows [rows, in] in every form that some weight of the model reads.
int64_t InputFloats(const CpuShape& shape, int64_t rows, int64_t in) {
  return (shape.grouped ? CodeFloats(rows, in) : 0) + (shape.bf16 ? PairFloats(rows, in) : 0);
}

}  // namespace

int64_t CpuScratchBytes(const CpuShape& shape, int threads) {
  const int64_t slots = shape.rows * shape.active;
  const int64_t kv = 2 * shape.rows * PaddedStride(shape.kv_width);
  const int64_t hidden =
      std::max(shape.rows * PaddedStride(shape.dense_width), slots * PaddedStride(shape.expert_width));
  const int64_t gathered = std::max(GatheredFloats(slots, shape.width, shape.grouped),
                                    shape.rows * (PaddedStride(shape.width) + PaddedStride(shape.experts)));
  const int64_t codes =
      std::max({InputFloats(shape, shape.rows, std::max(shape.width, shape.dense_width)),
                InputFloats(shape, shape.rows, shape.query_width), InputFloats(shape, slots, shape.expert_width)});
  int64_t each_thread = std::max(GatedFloats(shape.rows), AttentionFloats(shape.head_size, shape.group));
  if (shape.head_rows > 0)
    each_thread = std::max({each_thread, SoftFloats(shape.head_rows), SampleFloats(shape.width)});
  const int64_t deltas =
      std::max(shape.rank > 0 ? 3 * MatrixFloats(shape.rows, shape.rank) : 0,  // queries, keys, values
               shape.expert_rank > 0 ? MatrixFloats(slots, shape.expert_rank) : 0);
  const int64_t floats = kv + hidden + gathered + codes + deltas + each_thread * std::max(threads, 1);
  return floats * static_cast<int64_t>(sizeof(float)) +
         CpuHeadScratch::Bytes(shape.head_rows, shape.width, shape.vocab,
                               InputFloats(shape, shape.head_rows, shape.width));
}

}  // namespace dgemma
