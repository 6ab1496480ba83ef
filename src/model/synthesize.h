// Checkpoints of random weights in a given shape, for measuring speed and memory without the released weights.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "model/model_folder.h"
#include "model/quantize.h"

namespace dgemma {

/// Names of the shapes: "26b" is the released model without its vision tower, "mid" a 407 M model in the same proportions.
std::vector<std::string_view> SyntheticShapes();

/// config.json of a shape; kInvalidArgument lists the names.
Result<std::string> SyntheticConfig(std::string_view shape);

struct SynthesizeOptions {
  WeightFormat plain = kBfloat16Weights;  ///< of matrices that the recipe leaves alone: float32 or bfloat16
  std::optional<Recipe> recipe;           ///< groups, filled with random codes
  uint64_t seed = 0;
  int threads = 1;
  std::function<bool(int64_t done_bytes, int64_t total_bytes)> progress;  ///< false stops with kCancelled
};

/// Writes `folder`/model.safetensors, `texts` (file name -> content) and config.json. Matrices have deviation 1 / sqrt(in), which
/// keeps activations in size; the embedding 8 / sqrt(D), so that logits have a deviation of 8; vectors and scalars are 1. The
/// same seed gives the same file, whatever the threads. Complete or not at all (SaveModelFolder).
Result<void> WriteSynthetic(std::string_view shape, const std::filesystem::path& folder, const ModelTexts& texts,
                            const SynthesizeOptions& options);

}  // namespace dgemma
