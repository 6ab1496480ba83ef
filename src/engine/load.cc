// From files to an Engine: parse, check, plan, pack. Nothing large is allocated before everything small has been checked.
#include <fmt/format.h>

#include <filesystem>

#include "base/try.h"
#include "engine/adapters.h"
#include "engine/backend.h"
#include "engine/engine_impl.h"
#include "engine/guard.h"
#include "engine/memory_plan.h"
#include "files/messages.h"
#include "model/gguf_model.h"

namespace dgemma {
namespace {

/// Leaves the packing of weights when loading is to stop. Caught below, never outside.
struct LoadingStopped {};

Result<LoadedModel> LoadUnlessStopped(const CheckpointFiles& files, Config config, std::unique_ptr<Kernels> kernels,
                                      const EngineOptions& options) {
  try {
    return LoadModel(files, std::move(config), std::move(kernels), [&](int64_t done, int64_t total) {
      if (options.progress) options.progress({"loading", done, total});
      if (options.stop.stop_requested()) throw LoadingStopped();
    });
  } catch (const LoadingStopped&) {
    return Fail(StatusCode::kCancelled, "cancelled while loading");
  }
}

Result<GenerationConfig> ReadGenerationConfig(const CheckpointFiles& files, const Config& config) {
  const auto text = files.Text("generation_config.json");
  if (!text)
    return text.error().code == StatusCode::kNotFound ? Result<GenerationConfig>(GenerationConfig{})
                                                      : std::unexpected(text.error());
  return At("generation_config.json", ParseGenerationConfig(*text, config.vocab));
}

ModelFacts FactsOf(std::string name, std::span<const PlannedWeight> weights, const Config& config,
                   const Kernels& kernels, int64_t context) {
  ModelFacts facts;
  facts.name = std::move(name);
  facts.dtype = FormatNames(weights);
  facts.backend = kernels.Description();
  facts.parameters = ParameterCount(config);
  facts.layers = std::ssize(config.layers);
  facts.width = config.width;
  facts.vocabulary = config.vocab;
  facts.experts = config.experts;
  facts.active_experts = config.active_experts;
  facts.canvas_tokens = config.canvas;
  facts.context_tokens = context;
  facts.has_vision = config.vision.has_value();
  return facts;
}

}  // namespace

Result<std::unique_ptr<Engine>> EngineImpl::Build(std::string name, const CheckpointFiles& files,
                                                  const EngineOptions& wish) {
  DG_TRY(Config config, ReadConfig(files));
  DG_TRY(const GenerationConfig generation, ReadGenerationConfig(files, config));

  std::unique_ptr<EngineImpl> engine(new EngineImpl);
  DG_TRY(engine->options_, FillOptions(wish, config));
  engine->defaults_ = DefaultOptions(config, generation);
  DG_CHECK_OK(At("generation_config.json", CheckOptions(engine->defaults_, config)));
  DG_TRY(engine->tokenizer_, ReadTokenizer(files, config));

  const EngineOptions& options = engine->options_;
  const int64_t rows = LargestPassRows(options, config);
  auto kernels = MakeKernels(options, config);
  std::vector<PlannedWeight> weights = PlanWeights(files, config, *kernels);
  DG_TRY(const LoadedAdapters adapters, LoadAdapters(options, config));
  const std::vector<AppliedAdapter> applied = adapters.Applied();
  const int64_t adapter_bytes = PlanAdapters(applied, *kernels, weights);
  engine->plan_ = PlanMemory(weights, config, engine->tokenizer_->vocab_size(), options);
  engine->plan_.adapters = adapter_bytes;
  DG_CHECK_OK(CheckMemory(engine->plan_));
  engine->facts_ = FactsOf(std::move(name), weights, config, *kernels, options.context_tokens);
  engine->facts_.adapters = adapters.facts;

  DG_TRY(engine->loaded_, LoadUnlessStopped(files, std::move(config), std::move(kernels), options));
  Model& model = *engine->loaded_.model;
  DG_CHECK_OK(AttachAdapters(applied, model.config, model.weights, model.kernels));
  DG_TRY(engine->runner_, PassRunner::Create(engine->model(), rows, options.sessions));
  return engine;
}

Result<std::unique_ptr<Engine>> Engine::Load(const std::string& folder, const EngineOptions& options) {
  return Guarded([&]() -> Result<std::unique_ptr<Engine>> {
    DG_TRY(const CheckpointFiles files, OpenModel(folder));
    std::filesystem::path path(folder);
    if (!path.has_filename()) path = path.parent_path();  // "models/starter/"
    return AtPath(folder, EngineImpl::Build(path.filename().string(), files, options));
  });
}

Result<std::unique_ptr<Engine>> Engine::FromMemory(std::string name, std::span<const MemoryFile> files,
                                                   const EngineOptions& options) {
  return Guarded([&]() -> Result<std::unique_ptr<Engine>> {
    std::vector<Blob> blobs;
    for (const MemoryFile& file : files) blobs.push_back(StaticBlob(std::string(file.name), file.bytes));
    DG_TRY(const CheckpointFiles checkpoint, CheckpointFromMemory(std::move(blobs)));
    return At(name, EngineImpl::Build(name, checkpoint, options));
  });
}

std::vector<int32_t> EngineImpl::Tokenize(std::string_view text) const {
  return tokenizer_->Encode(text, SpecialTokens::kAsText);
}

std::vector<int32_t> EngineImpl::TokenizeMarkup(std::string_view text) const {
  return tokenizer_->Encode(text, SpecialTokens::kParse);
}

std::string EngineImpl::Detokenize(std::span<const int32_t> ids) const {
  return tokenizer_->Decode(ids, SpecialText::kKeep);
}

std::string EngineImpl::TokenText(int32_t id) const {
  return std::string(tokenizer_->IsSpecial(id) ? tokenizer_->TokenContent(id) : tokenizer_->TokenBytes(id));
}

const char* Version() { return DGEMMA_VERSION; }

const char* Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContext:
      return "context";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kTimeout:
      return "timeout";
  }
  return "unknown";
}

}  // namespace dgemma
