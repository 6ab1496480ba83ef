// See loaded_model.h.
#include "engine/loaded_model.h"

#include <fmt/format.h>

#include "base/try.h"
#include "engine/adapters.h"
#include "engine/backend.h"
#include "files/messages.h"
#include "model/stored_tensors.h"

namespace dgemma {

Result<Config> ReadConfig(const CheckpointFiles& files) {
  DG_TRY(const std::string text, files.Text("config.json"));
  DG_TRY(Config config, At("config.json", ParseConfig(text)));
  DG_CHECK_OK(CheckTensors(files, config));
  return config;
}

Result<Tokenizer> ReadTokenizer(const CheckpointFiles& files, const Config& config) {
  DG_TRY(const std::string text, files.Text("tokenizer.json"));
  DG_TRY(Tokenizer tokenizer, At("tokenizer.json", Tokenizer::FromJson(text)));
  if (tokenizer.vocab_size() > config.vocab) {
    return Fail(StatusCode::kInvalidFile, fmt::format("tokenizer.json: has ids up to {}, the model's vocabulary is {}",
                                                      tokenizer.vocab_size() - 1, config.vocab));
  }
  return tokenizer;
}

Result<LoadedModel> LoadModel(const CheckpointFiles& files, Config config, const EngineOptions& options) {
  DG_TRY(const LoadedAdapters adapters, LoadAdapters(options, config));
  auto kernels = MakeKernels(options, config);
  DG_TRY(LoadedModel loaded, LoadModel(files, std::move(config), std::move(kernels)));
  Model& model = *loaded.model;
  DG_CHECK_OK(AttachAdapters(adapters.Applied(), model.config, model.weights, model.kernels));
  return loaded;
}

Result<LoadedModel> LoadModel(const CheckpointFiles& files, Config config, std::unique_ptr<Kernels> kernels,
                              const LoadProgress& progress, const FormatChoice& format) {
  LoadedModel loaded;
  loaded.kernels = std::move(kernels);
  DG_TRY(Weights weights, LoadWeights(files, config, *loaded.kernels, progress, format));
  loaded.model = std::make_unique<Model>(MakeModel(std::move(config), std::move(weights), *loaded.kernels));
  return loaded;
}

}  // namespace dgemma
