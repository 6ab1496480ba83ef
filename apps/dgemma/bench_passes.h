// One loaded model whose passes `dgemma bench` times one by one: the same passes, caches and canvases that an answer
// has, without the
// answer around them.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "diffusion/canvas.h"
#include "engine/engine_impl.h"
#include "engine/pass_cost.h"
#include "model_source.h"

namespace dgemma {

enum class PassKind {
  kPrefill,           ///< a prompt into an empty cache, in chunks
  kDenoise,           ///< a step of a canvas, not its first, with acceptance and sampling
  kCommit,            ///< a finished canvas into the cache
  kCommitAndDenoise,  ///< the same together with the first step of the next canvas
  kToken,             ///< an autoregressive step
};

struct PassToTime {
  PassKind kind = PassKind::kPrefill;
  int64_t tokens = 0;  ///< of a prompt
};

/// "prefill 128", "denoise", "commit", "commit + denoise", "token"
std::string Name(const PassToTime& pass);

class PassBench {
 public:
  /// Loads the model and reads a prompt of `prompt_tokens` as a first, untimed pass. kInvalidArgument when the context
  /// has no room
  /// for the prompt and two canvases.
  static Result<std::unique_ptr<PassBench>> Load(Program& program, const ModelSource& source, int64_t prompt_tokens);

  const Engine& engine() const { return *engine_; }
  double load_ms() const { return load_ms_; }
  int64_t prompt_tokens() const { return prompt_tokens_; }
  /// Prompts of these lengths, then what an answer is made of behind `prompt_tokens` cached ones.
  std::vector<PassToTime> Passes(const std::vector<int64_t>& prefill) const;
  PassCost Cost(const PassToTime& pass) const;
  /// Runs a pass once. kCancelled after `stop`.
  Result<double> Milliseconds(const PassToTime& pass, const std::stop_token& stop);

 private:
  PassBench(std::unique_ptr<Engine> engine, KvCache cache, Buffer soft, int64_t prompt_tokens);
  const Model& model() const { return engine_->model(); }
  const Config& config() const { return model().config; }
  Result<void> ReadPrompt(int64_t tokens, const std::stop_token& stop);
  /// Brings the cache back to the prompt.
  Result<void> BackToPrompt(const std::stop_token& stop);
  /// Writes causal tokens in chunks; the last chunk goes together with the canvas where `canvas` is not null.
  Result<void> Write(std::span<const int32_t> tokens, SegmentKind kind, Canvas* canvas, const std::stop_token& stop);
  Result<void> RunToken(const std::stop_token& stop);
  Canvas NewCanvas();

  std::unique_ptr<EngineImpl> engine_;
  std::vector<PlannedWeight> weights_;
  KvCache cache_;
  Buffer soft_memory_;
  SeededNoise noise_;
  std::vector<int32_t> prompt_;  // ordinary words, as many as the context has
  std::optional<Canvas> canvas_;
  int64_t prompt_tokens_;
  double load_ms_ = 0;
};

}  // namespace dgemma
