// The vectorised backend of gradients, losses and the optimiser: what a trainer needs to construct it and to plan its memory.
#pragma once

#include <memory>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/train_kernels.h"

namespace dgemma {

/// Gradients beside a backend of MakeCpuKernels, whose threads and products they use and whose packed weights they read. `forward`
/// outlives the result, and the two never run at the same time. Results are the same bits for every number of threads.
std::unique_ptr<TrainKernels> MakeCpuTrainKernels(Kernels& forward);

/// Bytes that it holds at most besides what MakeGradient gave out, once passes of this shape have run backward. In `shape`, head_rows
/// are the rows of the largest CrossEntropy or SoftEmbedBackward.
int64_t CpuTrainScratchBytes(const CpuShape& shape, int threads);

}  // namespace dgemma
