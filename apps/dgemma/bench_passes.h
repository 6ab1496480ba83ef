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
#include "model/kv_cache.h"
#include "model_source.h"

namespace dgemma {

enum class PassKind {
  kPrefill,           ///< a prompt into an empty cache, in chunks
  kDenoise,           ///< a step of a canvas, not its first, with acceptance and sampling
  kSkip,              ///< the same, computing only some rows; the others keep keys and values of the step before
  kCommit,            ///< a finished canvas into the cache
  kCommitAndDenoise,  ///< the same together with the first step of the next canvas
  kToken,             ///< an autoregressive step
};

struct PassToTime {
  PassKind kind = PassKind::kPrefill;
  int64_t tokens = 0;  ///< of a prompt
  int64_t rows = 0;    ///< of the canvas that are computed, where some may be left out
};

/// "prefill 128", "denoise", "denoise 64 rows", "commit", "commit + denoise", "token"
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
  /// From now on Passes() also has steps that leave out none, a quarter, a half and three quarters of a canvas's rows,
  /// as those of an answer with SkipOptions do. Allocates the keys and values that stay between them. kInvalidArgument
  /// for a model without canvases.
  Result<void> AddSkipping();
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
  Canvas NewCanvas(const SkipRule& skip);
  /// A canvas whose next pass is that of `pass`, after its first step, which has no self-conditioning.
  Result<void> PrepareCanvas(const PassToTime& pass, const std::stop_token& stop);

  std::unique_ptr<EngineImpl> engine_;
  std::vector<PlannedWeight> weights_;
  KvCache cache_;
  Buffer soft_memory_;
  std::optional<CanvasStore> store_;  // where rows are left out
  SeededNoise noise_;
  std::vector<int32_t> prompt_;  // ordinary words, as many as the context has
  std::optional<Canvas> canvas_;
  std::optional<int64_t> unsettled_rows_;  // of canvas_ where the others are to be left out
  int64_t prompt_tokens_;
  double load_ms_ = 0;
};

}  // namespace dgemma
