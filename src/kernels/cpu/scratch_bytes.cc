// How large the CPU backend's own memory gets: the sums of what its operations ask of their growing buffers.
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/head_scratch.h"
#include "kernels/cpu/scratch.h"

namespace dgemma {

int64_t CpuScratchBytes(const CpuShape& shape, int threads) {
  const int64_t slots = shape.rows * shape.active;
  const int64_t kv = 2 * shape.rows * PaddedStride(shape.kv_width);
  const int64_t hidden =
      std::max(shape.rows * PaddedStride(shape.dense_width), slots * PaddedStride(shape.expert_width));
  const int64_t gathered = std::max(GatheredFloats(slots, shape.width, shape.grouped),
                                    shape.rows * (PaddedStride(shape.width) + PaddedStride(shape.experts)));
  int64_t codes = 0;
  if (shape.grouped)
    codes = std::max({CodeFloats(shape.rows, std::max(shape.width, shape.dense_width)),
                      CodeFloats(shape.rows, shape.query_width), CodeFloats(slots, shape.expert_width)});
  int64_t each_thread = std::max(GatedFloats(shape.rows), AttentionFloats(shape.head_size, shape.group));
  if (shape.head_rows > 0)
    each_thread = std::max({each_thread, SoftFloats(shape.head_rows), SampleFloats(shape.width)});
  const int64_t floats = kv + hidden + gathered + codes + each_thread * std::max(threads, 1);
  return floats * static_cast<int64_t>(sizeof(float)) +
         CpuHeadScratch::Bytes(shape.head_rows, shape.width, shape.vocab, shape.grouped);
}

}  // namespace dgemma
