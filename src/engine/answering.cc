// From a request to its plan, and from tokens to the listener's text.
#include "engine/answering.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/try.h"
#include "engine/engine_impl.h"
#include "engine/guard.h"
#include "text/answer.h"

namespace dgemma {

/// Passes what the story shows on to the listener, as text, and keeps the times.
class Reporter final : public GenerationObserver {
 public:
  Reporter(const AnswerParts& parts, const GenerateOptions& options, Listener* listener, SteadyTime asked)
      : parser_(*parts.tokenizer, AnswerStart::kAnswer),
        parts_(parts),
        options_(options),
        listener_(listener),
        asked_(asked) {}

  void OnPrefill(int64_t done, int64_t total) override {
    figures.prefill_seconds = SecondsSinceAsked();
    if (listener_) listener_->OnPrefill(done, total);
  }
  void OnStep(const Canvas& canvas) override {
    if (figures.first_draft_seconds == 0) figures.first_draft_seconds = SecondsSinceAsked();
    accepted_rows += std::count(canvas.accepted().begin(), canvas.accepted().end(), 1);
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
    draft.last = canvas.done();
    listener_->OnDraft(draft);
  }
  void OnTokens(std::span<const int32_t>, std::span<const int32_t> kept) override {
    parser_.Push(kept, events_);
    PassOn();
  }
  void Finish() {
    parser_.Finish(events_);
    PassOn();
    figures.total_seconds = SecondsSinceAsked();
  }

  Answer answer;
  Figures figures;
  int64_t accepted_rows = 0;

 private:
  double SecondsSinceAsked() const { return std::chrono::duration<double>(parts_.now() - asked_).count(); }
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
    if (listener_) listener_->OnToolCall(answer.tool_calls.back());
  }
  void Take(const BrokenToolCall& event) { Take(AnswerText{event.text}); }  // shown as what it is: text
  void MarkFirstText() {
    if (figures.first_text_seconds == 0) figures.first_text_seconds = SecondsSinceAsked();
  }

  AnswerParser parser_;
  std::vector<AnswerEvent> events_;
  const AnswerParts& parts_;
  const GenerateOptions& options_;
  Listener* listener_;
  SteadyTime asked_;
};

Result<void> CheckRequest(const Request& request, std::span<const int32_t> prompt, const Config& config,
                          int64_t context) {
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
  if (std::ssize(prompt) + room > context) {
    return Fail(
        StatusCode::kResourceExhausted,
        fmt::format("prompt: {} tokens and {} for the answer exceed the context of {}", prompt.size(), room, context));
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

Answering::Answering(const AnswerParts& parts, Timeline& timeline, const Request& request, Prompt prompt,
                     Listener* listener)
    : parts_(parts),
      timeline_(timeline),
      prompt_(std::move(prompt.tokens)),
      options_(request.options),
      start_canvas_(request.start_canvas),
      noise_(request.options.seed, parts.model->config.vocab),
      reporter_(std::make_unique<Reporter>(parts, options_, listener, prompt.asked)) {}

Answering::~Answering() = default;

const Figures& Answering::figures() const { return reporter_->figures; }

int64_t Answering::accepted_rows() const { return reporter_->accepted_rows; }

Result<std::unique_ptr<Answering>> Answering::Begin(const AnswerParts& parts, Timeline& timeline,
                                                    const Request& request, Prompt prompt, Listener* listener) {
  return Guarded([&]() -> Result<std::unique_ptr<Answering>> {
    std::unique_ptr<Answering> answering(new Answering(parts, timeline, request, std::move(prompt), listener));
    const Model& model = *parts.model;
    const GenerateOptions& options = answering->options_;
    GenerationPlan plan;
    if (options.mode == DecodeMode::kDiffusion && options.skip.settled_steps > 0) {
      DG_TRY(plan.store, timeline.Store(model.config, model.kernels));
    }
    timeline.KeepCommonPrefix(answering->prompt_, options.mode);
    Figures& figures = answering->reporter_->figures;
    figures.prompt_tokens = std::ssize(answering->prompt_);
    figures.cached_tokens = timeline.cache().end();
    figures.seed = options.seed;

    plan.model = &model;
    plan.cache = &timeline.cache();
    plan.prompt = answering->prompt_;
    plan.noise = &answering->noise_;
    plan.observer = answering->reporter_.get();
    plan.options = options;
    plan.commit = parts.commit;
    plan.chunk_rows = parts.chunk_rows;
    plan.soft_memory = timeline.soft_memory(model.config);
    if (answering->start_canvas_) plan.start_canvas = *answering->start_canvas_;
    answering->story_.emplace(options.mode == DecodeMode::kDiffusion
                                  ? GenerateByDiffusion(plan, answering->result_)
                                  : GenerateAutoregressively(plan, answering->result_));
    return answering;
  });
}

void Answering::ShareTokens() {
  if (std::ssize(result_.sequence) >= timeline_.cache().end()) timeline_.SetTokens(result_.sequence);
}

Result<Answer> Answering::End(FinishReason interrupted) {
  return Guarded([&]() -> Result<Answer> {
    const Result<void>& outcome = story_->outcome();
    if (!outcome && outcome.error().code == StatusCode::kNonFinite) {  // nothing of it may meet the next one
      timeline_.Clear(parts_.model->kernels);
    }
    timeline_.SetTokens(result_.sequence);
    if (!outcome && outcome.error().code != StatusCode::kCancelled) return std::unexpected(outcome.error());
    reporter_->Finish();
    Answer answer = std::move(reporter_->answer);
    answer.tokens = std::move(result_.tokens);
    answer.finish = outcome ? result_.finish : interrupted;
    answer.figures = reporter_->figures;
    answer.figures.answer_tokens = std::ssize(answer.tokens);
    answer.figures.canvases = result_.canvases;
    answer.figures.denoise_passes = result_.denoise_passes;
    answer.figures.denoise_rows = result_.denoise_rows;
    answer.figures.full_rows = result_.denoise_passes * parts_.model->config.canvas;
    answer.figures.commit_passes = result_.commit_passes;
    return answer;
  });
}

}  // namespace dgemma
