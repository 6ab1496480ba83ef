// From checkpoint files to a Model with its backend: the part of loading that engines, `dgemma dump` and tests share.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "dgemma/dgemma.h"
#include "files/checkpoint_files.h"
#include "model/forward.h"
#include "text/tokenizer.h"

namespace dgemma {

/// Parses config.json and compares the tensors with it. Errors name file, field or tensor, and rule.
Result<Config> ReadConfig(const CheckpointFiles& files);

/// Parses tokenizer.json. kInvalidFile when it has ids that the model's vocabulary has not.
Result<Tokenizer> ReadTokenizer(const CheckpointFiles& files, const Config& config);

/// The same result; a failure's message begins with the path of the folder or file at hand, which errors of reading have
/// already.
template <typename T>
Result<T> AtPath(const std::string& path, Result<T> result) {
  if (result) return result;
  const std::string_view message = result.error().message;
  const bool named =
      message.starts_with(path) && (path.ends_with('/') || message.substr(path.size()).find_first_of("/:") == 0);
  return named ? std::move(result) : std::unexpected(result.error().At(path));
}

/// A model and the backend that its weights are packed for.
struct LoadedModel {
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<Model> model;
};

/// Packs the weights for the backend that the options name, and attaches the options' adapters.
Result<LoadedModel> LoadModel(const CheckpointFiles& files, Config config, const EngineOptions& options);

/// The same with a backend that exists already.
Result<LoadedModel> LoadModel(const CheckpointFiles& files, Config config, std::unique_ptr<Kernels> kernels,
                              const LoadProgress& progress = {}, const FormatChoice& format = ComputeFormat);

}  // namespace dgemma
