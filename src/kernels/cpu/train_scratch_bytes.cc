// How large the memory of the CPU backend's gradients gets: the most that one of its operations asks of each growing buffer.
#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {
namespace {

/// Floats of rows [rows, in] in every form but float32 that some weight of the model reads.
int64_t InputFloats(const CpuShape& shape, int64_t rows, int64_t in) {
  return (shape.grouped ? CodeFloats(rows, in) : 0) + (shape.bf16 ? PairFloats(rows, in) : 0);
}

}  // namespace

int64_t CpuTrainScratchBytes(const CpuShape& shape, int threads) {
  const int64_t rows = shape.rows, slots = rows * shape.active, width = shape.width;
  const int64_t widest = std::max({width, shape.query_width, shape.kv_width, shape.dense_width, shape.experts});
  const int64_t steps = std::min(shape.vocab, kSweepIds);
  const int64_t memory =
      std::max({3 * MatrixFloats(rows, width), 2 * MatrixFloats(rows, width) + MatrixFloats(rows, shape.experts),
                3 * MatrixFloats(rows, shape.dense_width),
                MatrixFloats(rows, shape.query_width) + 4 * MatrixFloats(rows, shape.kv_width),
                ExpertsBackwardFloats(slots, width, shape.expert_width, shape.grouped || shape.bf16),
                CrossEntropyFloats(shape.head_rows, width)});
  // What a product reads beside a delta, and its gradient, of up to three weights; of both matrices of experts.
  const int64_t deltas = std::max(shape.rank > 0 ? 6 * MatrixFloats(rows, shape.rank) : 0,
                                  shape.expert_rank > 0 ? 4 * MatrixFloats(slots, shape.expert_rank) : 0);
  const int64_t columns = std::max({MatrixFloats(widest, rows), MatrixFloats(width, slots),
                                    MatrixFloats(shape.expert_width, slots), MatrixFloats(width, shape.head_rows),
                                    MatrixFloats(shape.rank, rows), MatrixFloats(shape.expert_rank, slots)});
  const int64_t panels = std::max({PanelsFloats(rows, widest), PanelsFloats(slots, width),
                                   PanelsFloats(slots, 2 * shape.expert_width), PanelsFloats(shape.head_rows, steps),
                                   PanelsFloats(rows, shape.rank), PanelsFloats(slots, shape.expert_rank)});
  const int64_t codes =
      std::max({InputFloats(shape, rows, width), InputFloats(shape, slots, std::max(width, shape.expert_width)),
                InputFloats(shape, shape.head_rows, width)});
  const int64_t each_thread = std::max(kBackwardFloats, AttendBackwardFloats(shape.head_size, shape.group));
  return (memory + columns + panels + codes + deltas + each_thread * std::max(threads, 1)) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace dgemma
