// A session: finds what its cache already holds of a prompt, runs the story, turns tokens into text for the listener.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <optional>

#include "base/try.h"
#include "engine/engine_impl.h"
#include "engine/generate.h"
#include "engine/guard.h"
#include "text/answer.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Passes what the story shows on to the listener, as text, and keeps the times.
class Reporter final : public GenerationObserver {
 public:
  Reporter(const Tokenizer& tokenizer, const GenerateOptions& options, Listener* listener)
      : parser_(tokenizer, AnswerStart::kAnswer), options_(options), listener_(listener), start_(Clock::now()) {}

  void OnPrefill(int64_t done, int64_t total) override {
    figures.prefill_seconds = SecondsSince(start_);
    if (listener_) listener_->OnPrefill(done, total);
  }
  void OnStep(const Canvas& canvas) override {
    if (figures.first_draft_seconds == 0) figures.first_draft_seconds = SecondsSince(start_);
    if (!listener_) return;
    Draft draft;
    draft.canvas = canvas.number();
    draft.step = canvas.steps_done();
    draft.steps = options_.steps;
    draft.temperature = static_cast<double>(
        TemperatureSchedule{options_.t_min, options_.t_max, options_.steps}.At(canvas.steps_done() - 1));
    draft.mean_entropy = canvas.mean_entropy();
    draft.tokens = canvas.argmax();
    draft.accepted = canvas.accepted();
    draft.entropy = canvas.entropy();
    draft.computed_rows = canvas.last_pass_rows();
    listener_->OnDraft(draft);
  }
  void OnTokens(std::span<const int32_t>, std::span<const int32_t> kept) override {
    parser_.Push(kept, events_);
    PassOn();
  }
  void Finish() {
    parser_.Finish(events_);
    PassOn();
    figures.total_seconds = SecondsSince(start_);
  }

  Answer answer;
  Figures figures;

 private:
  void PassOn() {
    for (const AnswerEvent& event : events_) std::visit([this](const auto& what) { Take(what); }, event);
    events_.clear();
  }
  void Take(const AnswerText& event) {
    MarkFirstText();
    answer.text += event.text;
    if (listener_) listener_->OnText(event.text);
  }
  void Take(const ThoughtText& event) {
    MarkFirstText();
    answer.thought += event.text;
    if (listener_) listener_->OnThought(event.text);
  }
  void Take(const ParsedToolCall& event) {
    answer.tool_calls.push_back({event.name, boost::json::serialize(event.arguments)});
  }
  void Take(const BrokenToolCall& event) { Take(AnswerText{event.text}); }  // shown as what it is: text
  void MarkFirstText() {
    if (figures.first_text_seconds == 0) figures.first_text_seconds = SecondsSince(start_);
  }

  AnswerParser parser_;
  std::vector<AnswerEvent> events_;
  const GenerateOptions& options_;
  Listener* listener_;
  Clock::time_point start_;
};

class SessionImpl final : public Session {
 public:
  SessionImpl(EngineImpl& engine, KvCache cache, Buffer soft)
      : engine_(engine), cache_(std::move(cache)), soft_(std::move(soft)) {}

  Result<Answer> Generate(const Request& request, Listener* listener) override {
    return Guarded([&] { return Write(request, listener); });
  }
  void Reset() override {
    cache_.Reset();
    tokens_.clear();
  }

 private:
  Result<Answer> Write(const Request& request, Listener* listener);
  /// Keeps the longest prefix of `prompt` that the cache holds.
  void KeepCommonPrefix(std::span<const int32_t> prompt, DecodeMode mode);
  Result<void> CheckRequest(const Request& request, std::span<const int32_t> prompt) const;

  EngineImpl& engine_;
  KvCache cache_;
  Buffer soft_;                       // [C, D] self-conditioning of the canvas at hand
  std::optional<CanvasStore> store_;  // made by the first request that skips settled rows
  std::vector<int32_t> tokens_;       // what the cache holds
};

void SessionImpl::KeepCommonPrefix(std::span<const int32_t> prompt, DecodeMode mode) {
  auto common = std::mismatch(tokens_.begin(), tokens_.end(), prompt.begin(), prompt.end()).first - tokens_.begin();
  // An autoregressive answer starts from the logits of the last prompt token, which therefore has to be computed.
  if (mode == DecodeMode::kAutoregressive && common == std::ssize(prompt) && common > 0) --common;
  if (!cache_.Truncate(common)) Reset();
  tokens_.resize(static_cast<size_t>(cache_.end()));
}

Result<void> SessionImpl::CheckRequest(const Request& request, std::span<const int32_t> prompt) const {
  const Config& config = engine_.model().config;
  DG_CHECK_OK(CheckOptions(request.options, config));
  if (request.options.mode == DecodeMode::kDiffusion) DG_CHECK_OK(RequireCanvases(config));
  for (int32_t id : prompt) {
    if (id < 0 || id >= config.vocab) {
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("prompt: token {} is not in the vocabulary of {}", id, config.vocab));
    }
    if (id == config.image_token) return Fail(StatusCode::kUnsupported, "prompt: image input is not supported yet");
  }
  const int64_t room = request.options.mode == DecodeMode::kDiffusion ? config.canvas : 1;
  if (std::ssize(prompt) + room > cache_.context()) {
    return Fail(StatusCode::kResourceExhausted,
                fmt::format("prompt: {} tokens and {} for the answer exceed the context of {}", prompt.size(), room,
                            cache_.context()));
  }
  if (!request.start_canvas) return {};
  if (std::ssize(*request.start_canvas) != config.canvas) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("start_canvas: has {} tokens, a canvas has {}",
                                                          request.start_canvas->size(), config.canvas));
  }
  for (int32_t id : *request.start_canvas) {
    if (id < 0 || id >= config.vocab)
      return Fail(StatusCode::kInvalidArgument, fmt::format("start_canvas: token {} is not in the vocabulary", id));
  }
  return {};
}

Result<Answer> SessionImpl::Write(const Request& request, Listener* listener) {
  DG_TRY(const std::vector<int32_t> prompt, engine_.PromptTokens(request));
  DG_CHECK_OK(CheckRequest(request, prompt));
  const Config& config = engine_.model().config;
  Reporter reporter(engine_.tokenizer(), request.options, listener);
  KeepCommonPrefix(prompt, request.options.mode);
  reporter.figures.prompt_tokens = std::ssize(prompt);
  reporter.figures.cached_tokens = cache_.end();
  reporter.figures.seed = request.options.seed;

  const SeededNoise noise(request.options.seed, config.vocab);
  GenerationPlan plan;
  plan.model = &engine_.model();
  plan.cache = &cache_;
  plan.prompt = prompt;
  plan.noise = &noise;
  plan.observer = &reporter;
  plan.options = request.options;
  plan.commit = engine_.options().commit;
  plan.chunk_rows = engine_.options().prefill_chunk_tokens;
  plan.soft_memory = {soft_.Floats(), config.canvas, config.width, config.width};
  if (request.options.mode == DecodeMode::kDiffusion && request.options.skip.settled_steps > 0) {
    if (!store_) {
      DG_TRY(store_, CanvasStore::Create(config, engine_.model().kernels));
    }
    plan.store = &*store_;
  }
  if (request.start_canvas) plan.start_canvas = *request.start_canvas;
  GenerationResult result;
  Story story = request.options.mode == DecodeMode::kDiffusion ? GenerateByDiffusion(plan, result)
                                                               : GenerateAutoregressively(plan, result);
  Drive(engine_.runner(), std::span(&story, 1), request.stop);

  tokens_.assign(result.sequence.begin(), result.sequence.begin() + cache_.end());
  if (!story.outcome() && story.outcome().error().code != StatusCode::kCancelled)
    return std::unexpected(story.outcome().error());
  reporter.Finish();
  Answer answer = std::move(reporter.answer);
  answer.tokens = std::move(result.tokens);
  answer.finish = story.outcome() ? result.finish : FinishReason::kCancelled;
  answer.figures = reporter.figures;
  answer.figures.answer_tokens = std::ssize(answer.tokens);
  answer.figures.canvases = result.canvases;
  answer.figures.denoise_passes = result.denoise_passes;
  answer.figures.denoise_rows = result.denoise_rows;
  answer.figures.full_rows = result.denoise_passes * config.canvas;
  answer.figures.commit_passes = result.commit_passes;
  return answer;
}

}  // namespace

Result<std::unique_ptr<Session>> EngineImpl::NewSession() {
  return Guarded([&]() -> Result<std::unique_ptr<Session>> {
    const Config& config = model().config;
    DG_TRY(KvCache cache,
           KvCache::Create(config, options_.context_tokens, options_.prefill_chunk_tokens, *loaded_.kernels));
    DG_TRY(Buffer soft, loaded_.kernels->Allocate(SoftBytes(config)));
    return std::make_unique<SessionImpl>(*this, std::move(cache), std::move(soft));
  });
}

}  // namespace dgemma
