// A loaded model behind the public Engine: everything a session needs, built once by load.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "engine/answering.h"
#include "engine/loaded_model.h"
#include "engine/pass_runner.h"
#include "files/checkpoint_files.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace dgemma {

class EngineImpl final : public Engine {
 public:
  /// Checks, plans, packs. `name` is what errors and facts say.
  static Result<std::unique_ptr<Engine>> Build(std::string name, const CheckpointFiles& files,
                                               const EngineOptions& options);

  const ModelFacts& facts() const override { return facts_; }
  const MemoryPlan& plan() const override { return plan_; }
  GenerateOptions Defaults() const override { return defaults_; }
  std::vector<int32_t> Tokenize(std::string_view text) const override;
  std::vector<int32_t> TokenizeMarkup(std::string_view text) const override;
  std::string Detokenize(std::span<const int32_t> ids) const override;
  std::string TokenText(int32_t id) const override;
  bool IsSpecial(int32_t id) const override { return tokenizer_->IsSpecial(id); }
  Result<std::vector<int32_t>> PromptTokens(const Request& request) const override;
  Result<std::unique_ptr<Session>> NewSession() override;

  const Model& model() const { return *loaded_.model; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  PassRunner& runner() { return *runner_; }
  const EngineOptions& options() const { return options_; }
  /// What answers are written with; valid while the engine is.
  AnswerParts answer_parts() const;

 private:
  EngineImpl() = default;

  EngineOptions options_;  // with defaults filled in
  ModelFacts facts_;
  MemoryPlan plan_;
  GenerateOptions defaults_;
  std::optional<Tokenizer> tokenizer_;
  LoadedModel loaded_;
  std::unique_ptr<PassRunner> runner_;
};

/// Ranges of every field; the error names the field. kInvalidArgument.
Result<void> CheckOptions(const GenerateOptions& options, const Config& config);

/// Options from generation_config.json and config.json over the built-in defaults.
GenerateOptions DefaultOptions(const Config& config, const GenerationConfig& file);

}  // namespace dgemma
