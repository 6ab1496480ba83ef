// The vectorised backend for float32, bfloat16 and float16 weights: what the engine needs to construct it and to plan its memory.
// Activations are float32 and are rounded only where they enter a product (kernels.h); sums are float32. The instruction set is chosen when a backend is made.
#pragma once

#include <memory>

#include "kernels/kernels.h"

namespace dgemma {

struct CpuOptions {
  int threads = 1;         ///< the calling thread included; values below 1 mean 1
  float norm_eps = 1e-6f;  ///< added to the mean square by every norm
};

/// A backend with its own threads. One caller at a time. Results are the same bits for every number of threads.
std::unique_ptr<Kernels> MakeCpuKernels(const CpuOptions& options);

/// The largest values that a model and its passes have; what the backend's own memory depends on. Letters as in kernels.h.
struct CpuShape {
  int64_t rows = 0;          ///< R of the largest pass
  int64_t width = 0;         ///< D
  int64_t kv_width = 0;      ///< largest K * Q of a layer
  int64_t query_width = 0;   ///< largest H * Q of a layer
  int64_t head_size = 0;     ///< largest Q
  int64_t group = 1;         ///< largest H / K
  int64_t dense_width = 0;   ///< F
  int64_t experts = 0;       ///< E
  int64_t active = 0;        ///< A
  int64_t expert_width = 0;  ///< X
  int64_t vocab = 0;         ///< V
  bool grouped = false;      ///< any weight is in groups
  bool bf16 = false;         ///< any weight is bfloat16
  int64_t head_rows = 0;     ///< rows of the largest Denoise or SoftEmbed
  int64_t rank = 0;  ///< largest rank of deltas of a weight, experts' aside; every such weight counts as having it
  int64_t expert_rank = 0;  ///< largest rank of deltas of experts
};

/// Bytes the backend holds besides what Allocate and Pack gave out, once passes of this shape have run; buffers only grow, to
/// exactly these sizes; to smaller ones where only some weights have deltas. Includes the HeadScratch of one Denoise (without Denoise, pass head_rows = 0).
int64_t CpuScratchBytes(const CpuShape& shape, int threads);

}  // namespace dgemma
