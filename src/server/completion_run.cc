// Engine's thread in, client's stream out. Everything happens under one lock of the completion.
#include "server/completion_run.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

namespace dgemma {
namespace {

constexpr int64_t kPingMs = 10'000;
constexpr int kShutdownRetrySeconds = 10;

HttpError Error(int status, std::string message, std::string code) {
  HttpError error;
  error.status = status;
  error.message = std::move(message);
  error.code = std::move(code);
  return error;
}

HttpError ShuttingDown() {
  HttpError error = Error(503, "The server is shutting down.", "shutdown");
  error.retry_after_s = kShutdownRetrySeconds;
  return error;
}

}  // namespace

HttpError ErrorOf(const Refusal& refusal) {
  if (refusal.reason == RefusalReason::kStopping) return ShuttingDown();
  HttpError error = ErrorOf(refusal.status);
  error.retry_after_s = static_cast<int>(refusal.retry_after.count());
  switch (refusal.reason) {
    case RefusalReason::kInvalid:
    case RefusalReason::kStopping:
      break;
    case RefusalReason::kTooLong:
      error.status = 400;
      error.code = "context_length_exceeded";
      break;
    case RefusalReason::kQueueFull:
    case RefusalReason::kShareFull:
      error.status = 429;
      error.code = "queue_full";
      break;
  }
  return error;
}

/// The Scheduler's view of one answer.
class RunningCompletion::AnswerListener final : public RequestListener {
 public:
  AnswerListener(std::shared_ptr<RunningCompletion> run, int32_t answer) : run_(std::move(run)), answer_(answer) {}

  void OnStart(int64_t prompt_tokens, int64_t cached_tokens) override {
    Tell([&] { run_->OnStart(answer_, prompt_tokens, cached_tokens); });
  }
  void OnPrefill(int64_t done, int64_t total) override {
    Tell([&] { run_->OnPrefill(answer_, done, total); });
  }
  void OnDraft(const Draft& draft) override {
    Tell([&] { run_->OnDraft(answer_, draft); });
  }
  void OnThought(std::string_view text) override {
    Tell([&] { run_->OnThought(answer_, text); });
  }
  void OnText(std::string_view text) override {
    Tell([&] { run_->OnText(answer_, text); });
  }
  void OnToolCall(const FunctionCall& call) override {
    Tell([&] { run_->OnToolCall(answer_, call); });
  }
  void OnEnd(Result<Answer> answer) override {
    Tell([&] { run_->OnEnd(answer_, std::move(answer)); });
  }

 private:
  /// Nothing may be thrown at the engine's thread.
  template <typename Event>
  void Tell(const Event& event) {
    try {
      event();
    } catch (const std::exception&) {
      run_->GiveUp();
    }
  }

  const std::shared_ptr<RunningCompletion> run_;
  const int32_t answer_;
};

RunningCompletion::RunningCompletion(const RunParts& parts, const WireFamily& family, CompletionRequest request,
                                     const RunIdentity& identity, const Reply& reply)
    : parts_(parts), family_(family), request_(std::move(request)), identity_(identity), reply_(reply) {
  const CompletionHead head{
      .id = identity_.id, .model = parts_.engine.facts().name, .created = identity_.created, .request = &request_};
  if (request_.delivery == Delivery::kStream) {
    writer_ = family_.stream(head);
  } else {
    whole_.emplace(request_.answers());
  }
  answers_.resize(static_cast<size_t>(request_.answers()));
  ends_.resize(answers_.size());
  const std::string unique = identity_.id.substr(family_.id_prefix.size());
  for (size_t answer = 0; answer < answers_.size(); ++answer) {
    const std::string infix = answer == 0 ? "" : fmt::format("{}_", answer);
    answers_[answer].filter = std::make_unique<AnswerFilter>(
        request_, static_cast<int32_t>(answer), fmt::format("{}{}_{}", family_.call_prefix, unique, infix), Sink());
  }
}

CompletionSink& RunningCompletion::Sink() {
  return writer_ ? static_cast<CompletionSink&>(*writer_) : static_cast<CompletionSink&>(*whole_);
}

void RunningCompletion::Start(const RunParts& parts, const WireFamily& family, CompletionRequest request,
                              std::vector<Request> requests, const RunIdentity& identity, const Reply& reply) {
  const auto run = std::make_shared<RunningCompletion>(parts, family, std::move(request), identity, reply);
  try {
    run->Submit(std::move(requests));
  } catch (const std::exception&) {
    run->GiveUp();
    throw;
  }
}

void RunningCompletion::Submit(std::vector<Request> requests) {
  const std::scoped_lock lock(mutex_);  // the engine's thread waits here until the stream has begun
  const std::vector<int32_t> stop_tokens = requests.front().options.stop_tokens;
  submitted_ = std::chrono::steady_clock::now();
  const auto prompt_tokens = std::ssize(requests.front().prompt_tokens);
  parts_.watch.Begin(identity_.id, identity_.caller, request_.answers(), stop_tokens);
  for (size_t answer = 0; answer < answers_.size(); ++answer) {
    if (request_.frames) answers_[answer].frames.emplace(parts_.engine, *request_.frames, stop_tokens);
    RequestSpec spec;
    spec.request = std::move(requests[answer]);
    spec.salt = identity_.caller;
    spec.timeout = std::chrono::milliseconds(parts_.request_ms);
    spec.queue_timeout = std::chrono::milliseconds(parts_.queue_wait_ms);
    spec.listener = std::make_shared<AnswerListener>(shared_from_this(), static_cast<int32_t>(answer));
    const auto id = parts_.scheduler.Submit(std::move(spec));
    if (!id) {
      HttpError error = ErrorOf(id.error());
      if (id.error().reason == RefusalReason::kTooLong) error.param = request_.prompts.empty() ? "messages" : "prompt";
      return FailAll(error);
    }
    answers_[answer].id = *id;
  }
  if (writer_) {
    stream_ = reply_.Stream({.status = 200,
                             .content_type = std::string(family_.stream_type),
                             .fields = {{"Cache-Control", "no-cache"}, {"X-Diffusion-Id", identity_.id}},
                             .ping_ms = family_.ping.empty() ? 0 : kPingMs,
                             .ping = std::string(family_.ping)});
    writer_->OnBegin(prompt_tokens);
    Flush();
  }
  on_stop_.emplace(reply_.stop(), [this] { CancelAll(); });
  silent_ = false;  // last, so that nobody finishes what could not begin
}

void RunningCompletion::OnStart(int32_t answer, int64_t prompt_tokens, int64_t cached_tokens) {
  const std::scoped_lock lock(mutex_);
  At(answer).cached_tokens = cached_tokens;
  if (parts_.metrics != nullptr) {
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - submitted_;
    parts_.metrics->Observe(Metric::kQueueSeconds, waited.count());
  }
  if (silent_) return;
  Sink().OnPrefill(answer, cached_tokens, prompt_tokens, cached_tokens);
  Flush();
}

void RunningCompletion::OnPrefill(int32_t answer, int64_t done, int64_t total) {
  const std::scoped_lock lock(mutex_);
  if (silent_) return;
  Sink().OnPrefill(answer, done, total, At(answer).cached_tokens);
  Flush();
}

void RunningCompletion::OnDraft(int32_t answer, const Draft& draft) {
  const std::scoped_lock lock(mutex_);
  Running& running = At(answer);
  for (const uint8_t accepted : draft.accepted) running.accepted += accepted;
  ++running.passes;
  if (draft.last && draft.step == draft.steps) running.converged = false;
  if (silent_ || running.filter->satisfied()) return;
  const StoredDraft stored = Store(draft);
  parts_.watch.Add(identity_.id, answer, stored);
  if (!running.frames) return;
  if (stream_ && stream_->behind()) return running.frames->Skip(stored);  // frames give way to text
  if (const auto frame = running.frames->Take(stored, FrameMaker::Clock::now())) Sink().OnFrame(answer, *frame);
  Flush();
}

void RunningCompletion::OnThought(int32_t answer, std::string_view text) {
  const std::scoped_lock lock(mutex_);
  if (!silent_) Heed(answer, At(answer).filter->Thought(text));
}

void RunningCompletion::OnText(int32_t answer, std::string_view text) {
  const std::scoped_lock lock(mutex_);
  if (!silent_) Heed(answer, At(answer).filter->Text(text));
}

void RunningCompletion::OnToolCall(int32_t answer, const FunctionCall& call) {
  const std::scoped_lock lock(mutex_);
  if (!silent_) Heed(answer, At(answer).filter->Call(call));
}

/// Sends what came of an event; ends the engine's work when nothing more will be passed on.
void RunningCompletion::Heed(int32_t answer, AnswerState state) {
  Flush();
  if (state == AnswerState::kSatisfied) parts_.scheduler.Cancel(At(answer).id);
}

void RunningCompletion::OnEnd(int32_t answer, Result<Answer> ended) {
  const std::scoped_lock lock(mutex_);
  Running& running = At(answer);
  running.ended = true;
  if (ended) Count(*ended, running);
  if (silent_) return;
  if (!ended) return FailAll(ErrorOf(ended.error()));
  FinishReason reason = ended->finish;
  if (reason == FinishReason::kCancelled && !running.filter->satisfied()) {
    switch (reply_.reason()) {
      case StopReason::kDeadline:
        reason = FinishReason::kTimeout;
        break;
      case StopReason::kClientGone:
      case StopReason::kTooSlow:
        return FailAll(Error(499, "The client went away.", ""));  // nobody hears it
      case StopReason::kNone:
      case StopReason::kShutdown:
        return FailAll(ShuttingDown());
    }
  }
  const auto kind = running.filter->Finish(reason);
  if (!kind) {
    return FailAll(
        Error(422, "tool_choice: a call was demanded, and the model made none.", "tool_choice_not_followed"));
  }
  EndOfAnswer& end = ends_[static_cast<size_t>(answer)];
  end = EndOf(running, *kind, *ended);
  Sink().OnAnswerEnd(answer, end);
  Flush();
  if (++ended_ == answers_.size()) Finish();
}

EndOfAnswer RunningCompletion::EndOf(const Running& running, EndKind kind, const Answer& answer) const {
  const Engine& engine = parts_.engine;
  EndOfAnswer end;
  end.kind = kind;
  end.stop_string = running.filter->stop_string();
  end.figures = answer.figures;
  const std::string& thought = running.filter->thought();
  if (!thought.empty()) end.thought_tokens = std::ssize(engine.Tokenize(thought));
  // What lies behind a stop string was written but not sent.
  if (kind == EndKind::kStopString)
    end.figures.answer_tokens = end.thought_tokens + std::ssize(engine.Tokenize(running.filter->text()));
  end.canvas_tokens = answer.figures.canvases * engine.facts().canvas_tokens;
  if (running.passes > 0)
    end.accepted_per_pass = static_cast<double>(running.accepted) / static_cast<double>(running.passes);
  end.converged = running.converged;
  return end;
}

void RunningCompletion::Finish() {
  parts_.watch.End(identity_.id);
  silent_ = true;
  if (writer_) {
    writer_->OnFinish(ends_);
    stream_->Write(writer_->Take());
    stream_->End();
    return;
  }
  const CompletionHead head{
      .id = identity_.id, .model = parts_.engine.facts().name, .created = identity_.created, .request = &request_};
  HttpResponse response;
  response.body = family_.whole(head, whole_->result());
  response.fields = {{"X-Diffusion-Id", identity_.id}};
  reply_.Send(std::move(response));
}

void RunningCompletion::FailAll(const HttpError& error) {
  parts_.watch.End(identity_.id);
  silent_ = true;
  CancelAll();
  if (!stream_) return reply_.Send(ErrorResponse(family_.errors, error, identity_.id));
  writer_->OnFailure(error);
  stream_->Write(writer_->Take());
  stream_->End();
}

/// Memory ran out in the middle of something. Without an end from here the client gets 500, or its stream is cut.
void RunningCompletion::GiveUp() {
  const std::scoped_lock lock(mutex_);
  silent_ = true;
  CancelAll();
  try {
    parts_.watch.End(identity_.id);
  } catch (const std::bad_alloc&) {  // the log of drafts stays until the server ends
  }
}

/// Also from the network's thread, while another holds the lock: ids do not change any more.
void RunningCompletion::CancelAll() {
  for (const Running& running : answers_) {
    if (running.id != 0) parts_.scheduler.Cancel(running.id);
  }
}

void RunningCompletion::Flush() {
  if (!stream_) return;
  const std::string bytes = writer_->Take();
  if (!bytes.empty() && !stream_->Write(bytes)) CancelAll();
}

void RunningCompletion::Count(const Answer& answer, const Running& running) const {
  if (parts_.metrics == nullptr) return;
  Metrics& metrics = *parts_.metrics;
  const Figures& figures = answer.figures;
  const auto number = [](int64_t count) { return static_cast<double>(count); };
  metrics.Observe(Metric::kAnswerSeconds, figures.total_seconds);
  if (figures.first_text_seconds > 0) metrics.Observe(Metric::kFirstTextSeconds, figures.first_text_seconds);
  if (figures.canvases > 0) {
    const int64_t canvas_tokens = figures.canvases * parts_.engine.facts().canvas_tokens;
    metrics.Observe(Metric::kPassesPerCanvas, number(figures.denoise_passes) / number(figures.canvases));
    metrics.Observe(Metric::kCanvasFill, number(figures.answer_tokens) / number(canvas_tokens));
  }
  if (running.passes > 0) metrics.Observe(Metric::kAcceptedPerPass, number(running.accepted) / number(running.passes));
}

}  // namespace dgemma
