// A round of the engine thread: end, admit, pass. What other threads do is in scheduler_requests.cc.
#include "engine/scheduler.h"

#include <fmt/format.h>

#include "base/try.h"
#include "engine/engine_impl.h"
#include "engine/guard.h"
#include "engine/scheduler_ticket.h"

namespace dgemma {
namespace {

double Seconds(SteadyTime::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// Of a request that never had a slot.
Answer EmptyAnswer(FinishReason finish, const Request& request) {
  Answer answer;
  answer.finish = finish;
  answer.figures.seed = request.options.seed;
  return answer;
}

}  // namespace

Scheduler::Scheduler(const SchedulerParts& parts, const SchedulerOptions& options, Slots slots)
    : parts_(parts), options_(options), slots_(std::move(slots)) {
  active_.reserve(static_cast<size_t>(slots_.size()));
  stats_.slots = slots_.size();
  last_progress_ = last_pass_ = parts_.answers.now();
}

Result<std::unique_ptr<Scheduler>> Scheduler::Create(Engine& engine, const SchedulerOptions& options) {
  auto* own = dynamic_cast<EngineImpl*>(&engine);
  if (own == nullptr) return Fail(StatusCode::kUnsupported, "scheduler: needs an engine of this library");
  SchedulerParts parts;
  parts.answers = own->answer_parts();
  parts.executor = &own->runner();
  parts.slots = own->options().sessions;
  parts.context_tokens = own->options().context_tokens;
  parts.rewind_tokens = own->options().rewind_tokens;
  return Create(parts, options);
}

Result<std::unique_ptr<Scheduler>> Scheduler::Create(const SchedulerParts& parts, const SchedulerOptions& wish) {
  return Guarded([&]() -> Result<std::unique_ptr<Scheduler>> {
    SchedulerOptions options = wish;
    if (options.queued_requests < 1) return Fail(StatusCode::kInvalidArgument, "queued_requests: must be at least 1");
    if (options.queued_per_salt == 0) options.queued_per_salt = options.queued_requests;
    if (options.queued_rows == 0) options.queued_rows = 16 * 48 * parts.context_tokens;
    const Model& model = *parts.answers.model;
    DG_TRY(Slots slots, Slots::Create(parts.slots, model.config, parts.context_tokens,
                                      parts.answers.chunk_rows + parts.rewind_tokens, model.kernels));
    if (options.skipping) DG_CHECK_OK(slots.AllocateStores());
    return std::unique_ptr<Scheduler>(new Scheduler(parts, options, std::move(slots)));
  });
}

bool Scheduler::Step() {
  bool worked = EndWaiting();
  worked |= EndActive();  // cancelled or late
  worked |= Admit();
  worked |= RunOnePass();
  worked |= EndActive();  // finished by the pass
  return worked;
}

/// Why a request has to end now, if it has. mutex_ is held.
std::optional<FinishReason> Scheduler::Interruption(const Ticket& ticket, SteadyTime now) const {
  if (stopping_ || open_.at(ticket.id) || ticket.spec.request.stop.stop_requested()) return FinishReason::kCancelled;
  if (now >= ticket.deadline) return FinishReason::kTimeout;
  return std::nullopt;
}

bool Scheduler::EndWaiting() {
  const SteadyTime now = parts_.answers.now();
  for (bool worked = false;; worked = true) {
    std::optional<FinishReason> why;
    std::optional<std::unique_ptr<Ticket>> over;
    {
      const std::lock_guard lock(mutex_);
      over = waiting_.Remove([&](const std::unique_ptr<Ticket>& ticket) {
        why = queue_closed_ ? FinishReason::kCancelled : Interruption(*ticket, now);
        return why || now >= ticket->queue_deadline;
      });
      if (!over) return worked;
      stats_.queued_rows -= (*over)->cost;
    }
    Ticket& ticket = **over;
    if (why) {
      End(ticket, EmptyAnswer(*why, ticket.spec.request));
    } else {
      End(ticket, Fail(StatusCode::kResourceExhausted, "queue: the request has waited too long"));
    }
  }
}

bool Scheduler::EndActive() {
  const SteadyTime now = parts_.answers.now();
  bool worked = false;
  for (size_t i = 0; i < active_.size();) {
    Ticket& ticket = *active_[i];
    if (ticket.story != nullptr && !ticket.story->ended()) {
      std::optional<FinishReason> why;
      {
        const std::lock_guard lock(mutex_);
        why = Interruption(ticket, now);
      }
      if (!why) {
        ++i;
        continue;
      }
      ticket.interrupted = *why;
      ticket.story->Continue(Fail(StatusCode::kCancelled, "cancelled"));
    }
    Result<Answer> answer = ticket.story != nullptr ? ticket.answering->End(ticket.interrupted)
                                                    : Result<Answer>(std::unexpected(ticket.failure));
    const std::unique_ptr<Ticket> ended = std::move(active_[i]);
    active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
    if (ended->slot != nullptr) slots_.GiveBack(*ended->slot);
    End(*ended, std::move(answer));
    worked = true;
  }
  return worked;
}

/// An answer of the same salt is about to read an opening that this request shares, a pass's worth or more: once it is read it can
/// be copied (slots.h). For at most half of the time that the request may wait.
bool Scheduler::WaitsForOpening(const Ticket& ticket, SteadyTime now) const {
  if (now >= ticket.submitted + (ticket.queue_deadline - ticket.submitted) / 2) return false;
  return std::ranges::any_of(active_, [&](const std::unique_ptr<Ticket>& other) {
    if (other->story == nullptr || other->story->ended() || other->spec.salt != ticket.spec.salt) return false;
    const auto prompt = other->answering->prompt();
    const auto common = std::ranges::mismatch(prompt, ticket.prompt).in1 - prompt.begin();
    return common - other->answering->prompt_read() >= parts_.answers.chunk_rows;
  });
}

bool Scheduler::Admit() {
  const SteadyTime now = parts_.answers.now();
  bool worked = false;
  while (slots_.idle() > 0 && std::ssize(active_) < slots_.size()) {
    {
      const std::lock_guard lock(mutex_);
      auto next = waiting_.Pop([&](const auto& ticket) { return !WaitsForOpening(*ticket, now); });
      if (!next) return worked;
      active_.push_back(*std::move(next));
      stats_.queued_rows -= active_.back()->cost;
      stats_.active = std::ssize(active_);
    }
    Ticket& ticket = *active_.back();
    const Result<void> begun = Guarded([&]() -> Result<void> {
      BeginAnswer(ticket);
      return {};
    });
    if (!begun) ticket.failure = begun.error();
    worked = true;
  }
  return worked;
}

/// Gives a request its slot and runs its story up to the first pass it needs. A failure stays in the ticket.
void Scheduler::BeginAnswer(Ticket& ticket) {
  const Request& request = ticket.spec.request;
  bool cleared = false;
  for (const auto& other : active_) {
    if (other->answering != nullptr) other->answering->ShareTokens();
  }
  ticket.slot = slots_.Take(ticket.spec.salt, ticket.prompt, request.options.mode, &cleared);
  auto answering = Answering::Begin(parts_.answers, ticket.slot->timeline, request,
                                    {std::move(ticket.prompt), ticket.submitted}, ticket.spec.listener.get());
  if (!answering) {
    ticket.failure = answering.error();
    return;
  }
  ticket.answering = std::move(*answering);
  ticket.started = parts_.answers.now();
  const Figures& figures = ticket.answering->figures();
  {
    const std::lock_guard lock(mutex_);
    stats_.cleared_slots += cleared;
    stats_.prompt_tokens += figures.prompt_tokens;
    stats_.cached_tokens += figures.cached_tokens;
    ++(figures.cached_tokens > 0 ? stats_.prefix_hits : stats_.prefix_misses);
  }
  if (ticket.spec.listener) ticket.spec.listener->OnStart(figures.prompt_tokens, figures.cached_tokens);
  ticket.story = &ticket.answering->story();
  ticket.story->Continue({});
}

bool Scheduler::RunOnePass() {
  std::vector<Story*> open;
  for (const auto& ticket : active_) {
    if (ticket->story != nullptr) open.push_back(ticket->story);
  }
  const std::vector<Story*> members = ChoosePass(*parts_.executor, open);
  if (members.empty()) return false;
  int64_t rows = 0;
  for (const Story* story : members) rows += story->job()->rows();
  std::stop_token stop;
  {
    const std::lock_guard lock(mutex_);
    in_pass_.clear();
    for (const auto& ticket : active_) {
      if (std::find(members.begin(), members.end(), ticket->story) != members.end()) in_pass_.push_back(ticket->id);
    }
    pass_stop_ = std::stop_source();
    stop = pass_stop_.get_token();
    CancelPassIfUnwanted();
  }
  const SteadyTime begin = parts_.answers.now();
  const Result<void> result = RunPass(*parts_.executor, members, stop);

  const std::lock_guard lock(mutex_);
  in_pass_.clear();
  last_pass_ = last_progress_ = parts_.answers.now();
  stats_.pass_rows = rows;
  stats_.pass_answers = std::ssize(members);
  stats_.pass_seconds = Seconds(last_pass_ - begin);
  stats_.pass_seconds_total += stats_.pass_seconds;
  stats_.longest_pass_seconds = std::max(stats_.longest_pass_seconds, stats_.pass_seconds);
  stats_.rows += rows;
  ++stats_.passes;
  stats_.failed_passes += !result && result.error().code != StatusCode::kCancelled;
  return true;
}

/// Stops the pass at hand when nobody wants it any more. mutex_ is held.
void Scheduler::CancelPassIfUnwanted() {
  const bool wanted =
      !stopping_ && std::any_of(in_pass_.begin(), in_pass_.end(), [&](RequestId id) { return !open_.at(id); });
  if (!wanted) pass_stop_.request_stop();
}

/// Hands the answer over and forgets the request.
void Scheduler::End(Ticket& ticket, Result<Answer> answer) {
  Count(ticket, answer);
  if (ticket.spec.listener) ticket.spec.listener->OnEnd(std::move(answer));
  ticket.spec.listener.reset();
  const std::lock_guard lock(mutex_);
  stats_.active = std::ssize(active_);
  open_.erase(ticket.id);
  if (open_.empty()) idle_.notify_all();
}

void Scheduler::Count(const Ticket& ticket, const Result<Answer>& answer) {
  const std::lock_guard lock(mutex_);
  if (!answer) {
    ++(ticket.slot == nullptr && ticket.failure.message.empty() ? stats_.expired_in_queue : stats_.failed);
    return;
  }
  ++(answer->finish == FinishReason::kCancelled ? stats_.cancelled
     : answer->finish == FinishReason::kTimeout ? stats_.timed_out
                                                : stats_.answered);
  if (ticket.answering == nullptr) return;
  stats_.canvases += answer->figures.canvases;
  stats_.denoise_passes += answer->figures.denoise_passes;
  stats_.full_rows += answer->figures.full_rows;
  stats_.accepted_rows += ticket.answering->accepted_rows();
  stats_.answer_tokens += answer->figures.answer_tokens;
  constexpr double kWeight = 0.2;
  mean_answer_seconds_ += kWeight * (Seconds(parts_.answers.now() - ticket.started) - mean_answer_seconds_);
}

void Scheduler::Loop() {
  while (true) {
    bool worked = true;
    try {
      worked = Step();
    } catch (const std::bad_alloc&) {  // between passes; every request is still in its place, so the next round goes on
    }
    if (worked) continue;
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stopping_ || !open_.empty(); });
    if (stopping_ && open_.empty()) return;
  }
}

}  // namespace dgemma
