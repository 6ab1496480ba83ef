// An engine without a model: replays drafts, texts and answers that a test wrote down.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {

/// A draft as a test writes it: texts of tokens; undecided ones begin with "?".
struct ScriptedDraft {
  int32_t canvas = 0;
  std::vector<std::string> tokens;
  float entropy = 0.05F;  ///< of every undecided position; decided ones have 0
};

class ScriptedEngine final : public Engine {
 public:
  ScriptedEngine() { facts_.name = "scripted"; }

  const ModelFacts& facts() const override { return facts_; }
  const MemoryPlan& plan() const override { return plan_; }
  GenerateOptions Defaults() const override { return {}; }
  std::vector<int32_t> Tokenize(std::string_view) const override { return {}; }
  std::vector<int32_t> TokenizeMarkup(std::string_view) const override { return {}; }
  std::string Detokenize(std::span<const int32_t>) const override { return {}; }
  std::string TokenText(int32_t id) const override { return texts_[static_cast<size_t>(id)]; }
  bool IsSpecial(int32_t id) const override { return TokenText(id).starts_with('<') && TokenText(id).ends_with('>'); }
  Result<std::vector<int32_t>> PromptTokens(const Request&) const override { return std::vector<int32_t>(); }
  Result<std::unique_ptr<Session>> NewSession() override { return std::make_unique<ScriptedSession>(*this); }

  /// What every session answers.
  std::function<Result<Answer>(const Request&)> answer = [](const Request&) {
    return Fail(StatusCode::kUnsupported, "scripted");
  };

  /// Id of a token with this text, made when it is asked for.
  int32_t Id(const std::string& text) {
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (texts_[id] == text) return static_cast<int32_t>(id);
    }
    texts_.push_back(text);
    return static_cast<int32_t>(texts_.size()) - 1;
  }

  /// Shows a draft to a listener (or to any function) as Generate would.
  void Play(const ScriptedDraft& scripted, int32_t step, const std::function<void(const Draft&)>& show) {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> accepted;
    std::vector<float> entropy;
    for (const std::string& token : scripted.tokens) {
      const bool undecided = token.starts_with('?');
      tokens.push_back(Id(undecided ? token.substr(1) : token));
      accepted.push_back(undecided ? 0 : 1);
      entropy.push_back(undecided ? scripted.entropy : 0);
    }
    show({.canvas = scripted.canvas,
          .step = step,
          .steps = 48,
          .temperature = 0.8,
          .mean_entropy = 0.5,
          .tokens = tokens,
          .accepted = accepted,
          .entropy = entropy});
  }

 private:
  class ScriptedSession final : public Session {
   public:
    explicit ScriptedSession(const ScriptedEngine& engine) : engine_(engine) {}
    Result<Answer> Generate(const Request& request, Listener*) override { return engine_.answer(request); }
    void Reset() override {}

   private:
    const ScriptedEngine& engine_;
  };

  ModelFacts facts_;
  MemoryPlan plan_;
  std::vector<std::string> texts_;
};

}  // namespace dgemma
