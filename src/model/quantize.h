// Quantising a checkpoint: which tensor becomes what, and the packed panels of each on their way into a file, with the error made.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "model/config.h"
#include "model/importance.h"
#include "model/stored_tensors.h"

namespace dgemma {

/// A format for each kind of matrix. Norms, scalars, routers and the vision tower stay as they are stored: they are small, and a
/// router's rounding would change which experts run.
struct Recipe {
  WeightFormat experts;
  WeightFormat matrices;
  WeightFormat embedding;
};

/// "int8": int8-row throughout. "int4": experts int4-32-row, the rest int8-row. Or a format's name (tensor/format.h) for all.
Result<Recipe> ParseRecipe(std::string_view name);

/// The format of a tensor under a recipe; nothing where it stays as it is.
std::optional<WeightFormat> FormatFor(const Recipe& recipe, const TensorSpec& spec);

/// What quantising one tensor did.
struct QuantizedTensor {
  std::string name;
  WeightFormat format;
  int64_t bytes = 0;
  double relative_rms_error = 0;  ///< sqrt(sum (w - w')^2 / sum w^2)
  double largest_error = 0;       ///< max |w - w'|
};

struct QuantizeOptions {
  Recipe recipe;
  Importance importance;
  int threads = 1;
  /// Called with bytes written so far and in total; false stops with kCancelled.
  std::function<bool(int64_t done_bytes, int64_t total_bytes)> progress;
};

/// Writes a model folder: model.safetensors and the JSON texts of `files`. Complete or not at all (SaveModelFolder).
/// kInvalidFile names a tensor whose values no group can hold.
Result<std::vector<QuantizedTensor>> WriteQuantized(const CheckpointFiles& files, const Config& config,
                                                    const std::filesystem::path& folder,
                                                    const QuantizeOptions& options);

}  // namespace dgemma
