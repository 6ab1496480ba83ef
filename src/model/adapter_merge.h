// Adapters put into the weights for good: a new model folder in which W' = W + sum of scale up down. Possible only
// where the two roles of a tensor change alike, since they share one weight.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "model/adapter.h"
#include "model/config.h"
#include "model/tensor_stream.h"

namespace dgemma {

/// A tensor that was changed.
struct MergedTensor {
  std::string name;
  DType dtype = DType::kF32;
  double relative_change = 0;  ///< sqrt(sum (w' - w)^2 / sum w^2), before rounding to the type
};

/// Writes a model folder (SaveModelFolder). Changed values are summed in float64 and rounded once, to
/// nearest even, to the type that the tensor has; all other tensors and the texts are copied byte by byte (tied copies
/// are left out, as in SaveFolder). kInvalidArgument, naming the tensor: encoder and decoder change it differently;
/// CheckDelta's. kUnsupported: the checkpoint holds quantised weights (rounding the sum anew would lose the delta).
/// kInvalidFile: a sum that the type cannot hold.
Result<std::vector<MergedTensor>> MergeAdapters(const CheckpointFiles& files, const Config& config,
                                                std::span<const AppliedAdapter> adapters,
                                                const std::filesystem::path& target, const StreamOptions& options,
                                                ThreadPool& pool);

}  // namespace dgemma
