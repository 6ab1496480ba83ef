// What any thread may call: submitting and refusing, cancelling, draining, figures. Nothing here waits for a pass, but
// for Drain and Stop.
#include <fmt/format.h>

#include <cmath>

#include "engine/engine_impl.h"
#include "engine/guard.h"
#include "engine/scheduler.h"
#include "engine/scheduler_ticket.h"

namespace dgemma {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::unexpected<Refusal> Refuse(Refusal refusal) { return std::unexpected(std::move(refusal)); }

/// A refusal for what can never be answered.
Refusal Never(RefusalReason reason, Status status) { return {reason, std::move(status), seconds(0)}; }

SteadyTime After(SteadyTime from, milliseconds wish, milliseconds otherwise) {
  const milliseconds limit = wish > milliseconds(0) ? wish : otherwise;
  const auto room = SteadyTime::max() - from;
  return limit < std::chrono::duration_cast<milliseconds>(room) ? from + limit : SteadyTime::max();
}

}  // namespace

int64_t CostInRows(const GenerateOptions& options, int64_t prompt_tokens, const Config& config, int64_t context) {
  const int64_t room = std::max<int64_t>(0, context - prompt_tokens);
  const int64_t tokens = options.max_new_tokens < 0 ? room : std::min(options.max_new_tokens, room);
  if (options.mode == DecodeMode::kAutoregressive) return prompt_tokens + tokens;
  const int64_t canvases = (tokens + config.canvas - 1) / config.canvas;
  return prompt_tokens + canvases * options.steps * config.canvas;
}

Scheduler::~Scheduler() { Stop(); }

void Scheduler::Start() {
  const std::lock_guard lock(thread_mutex_);
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

std::expected<RequestId, Refusal> Scheduler::Submit(RequestSpec spec) {
  std::expected<RequestId, Refusal> result = Refuse({});
  const Result<void> enough_memory = Guarded([&]() -> Result<void> {
    {
      const std::lock_guard lock(mutex_);
      if (auto refusal = RefusalNow(spec.salt, 0)) {  // before any work
        result = Refuse(*std::move(refusal));
        return {};
      }
    }
    Result<std::vector<int32_t>> prompt = TokensOfPrompt(spec.request, *parts_.answers.tokenizer);
    result = prompt ? Queue(std::move(spec), *std::move(prompt))
                    : Refuse(Never(RefusalReason::kInvalid, std::move(prompt).error()));
    return {};
  });
  if (!enough_memory) result = Refuse({RefusalReason::kQueueFull, enough_memory.error(), seconds(1)});
  if (!result) {
    const std::lock_guard lock(mutex_);
    ++stats_.refused;
  }
  return result;
}

std::optional<Refusal> Scheduler::WouldRefuse(const std::string& salt) {
  const std::lock_guard lock(mutex_);
  std::optional<Refusal> refusal = RefusalNow(salt, 0);
  stats_.refused += refusal.has_value();
  return refusal;
}

std::expected<RequestId, Refusal> Scheduler::Queue(RequestSpec spec, std::vector<int32_t> prompt) {
  const Config& config = parts_.answers.model->config;
  const Request& request = spec.request;
  if (Result<void> fine = CheckRequest(request, prompt, config, parts_.context_tokens); !fine) {
    Status status = std::move(fine).error();
    if (status.code != StatusCode::kResourceExhausted) return Refuse(Never(RefusalReason::kInvalid, std::move(status)));
    status.code = StatusCode::kInvalidArgument;
    return Refuse(Never(RefusalReason::kTooLong, std::move(status)));
  }
  if (request.options.skip.settled_steps > 0 && !options_.skipping) {
    return Refuse(Never(RefusalReason::kInvalid, {StatusCode::kUnsupported, "skip.settled_steps: not allowed here"}));
  }
  auto ticket = std::make_unique<Ticket>();
  ticket->cost = CostInRows(request.options, std::ssize(prompt), config, parts_.context_tokens);
  ticket->prompt = std::move(prompt);
  ticket->submitted = parts_.answers.now();
  ticket->queue_deadline = After(ticket->submitted, spec.queue_timeout, options_.queue_timeout);
  ticket->deadline = After(ticket->submitted, spec.timeout, options_.timeout);
  ticket->spec = std::move(spec);

  const std::lock_guard lock(mutex_);
  if (auto refusal = RefusalNow(ticket->spec.salt, ticket->cost)) return Refuse(*std::move(refusal));
  const RequestId id = ticket->id = next_id_;
  const int64_t cost = ticket->cost;
  if (open_.empty()) last_progress_ = ticket->submitted;
  open_.emplace(id, false);
  try {
    const std::string salt = ticket->spec.salt;
    waiting_.Push(salt, std::move(ticket));
  } catch (...) {
    open_.erase(id);
    throw;
  }
  ++next_id_;
  stats_.queued_rows += cost;
  ++stats_.submitted;
  wake_.notify_one();
  return id;
}

/// Why a request of this cost cannot wait here now. mutex_ is held.
std::optional<Refusal> Scheduler::RefusalNow(const std::string& salt, int64_t cost) const {
  const auto refusal = [](RefusalReason reason, std::string message, seconds retry_after) {
    return Refusal{reason, {StatusCode::kResourceExhausted, std::move(message)}, retry_after};
  };
  if (!accepting_) return refusal(RefusalReason::kStopping, "shutting down", seconds(0));
  if (waiting_.size() >= options_.queued_requests) {
    return refusal(RefusalReason::kQueueFull, fmt::format("queue: {} requests wait already", waiting_.size()),
                   RetryAfter());
  }
  if (!waiting_.empty() && cost > options_.queued_rows - stats_.queued_rows) {
    return refusal(RefusalReason::kQueueFull, "queue: too much work waits already", RetryAfter());
  }
  if (waiting_.size(salt) >= options_.queued_per_salt) {
    return refusal(RefusalReason::kShareFull,
                   fmt::format("queue: {} requests of this client wait already", waiting_.size(salt)), RetryAfter());
  }
  return std::nullopt;
}

/// When a place in the queue may be free, if answers go on to take as long as lately. mutex_ is held.
seconds Scheduler::RetryAfter() const {
  const double wait = mean_answer_seconds_ / static_cast<double>(std::max<int64_t>(1, stats_.slots));
  return seconds(static_cast<int64_t>(std::clamp(std::ceil(wait), 1.0, 60.0)));
}

void Scheduler::Cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto request = open_.find(id);
  if (request == open_.end()) return;
  request->second = true;
  if (std::find(in_pass_.begin(), in_pass_.end(), id) != in_pass_.end()) CancelPassIfUnwanted();
  wake_.notify_one();
}

void Scheduler::CloseQueue() {
  const std::lock_guard lock(mutex_);
  accepting_ = false;
  queue_closed_ = true;
  wake_.notify_one();
}

bool Scheduler::Drain(milliseconds limit) {
  bool threaded = false;
  {
    const std::lock_guard lock(thread_mutex_);
    threaded = thread_.joinable();
  }
  bool all_ended = false;
  {
    std::unique_lock lock(mutex_);
    accepting_ = false;
    if (threaded) {
      idle_.wait_for(lock, limit, [&] { return open_.empty() || stopping_; });
      all_ended = open_.empty() && !stopping_;
    }
  }
  if (!threaded) {
    const SteadyTime end = After(parts_.answers.now(), limit, milliseconds(0));
    while (parts_.answers.now() < end && Step()) {
    }
    const std::lock_guard lock(mutex_);
    all_ended = open_.empty();
  }
  Stop();
  return all_ended;
}

void Scheduler::Stop() {
  {
    const std::lock_guard lock(mutex_);
    accepting_ = false;
    stopping_ = true;
    pass_stop_.request_stop();
    wake_.notify_all();
    idle_.notify_all();
  }
  const std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) {
    thread_.join();
  } else {
    while (Step()) {
    }
  }
}

SchedulerStats Scheduler::stats() const {
  const SteadyTime now = parts_.answers.now();
  const auto since = [&](SteadyTime then) { return std::max(0.0, std::chrono::duration<double>(now - then).count()); };
  const std::lock_guard lock(mutex_);
  SchedulerStats stats = stats_;
  stats.queued = waiting_.size();
  stats.accepting = accepting_;
  stats.last_pass_age_seconds = since(last_pass_);
  stats.stalled_seconds = open_.empty() ? 0 : since(last_progress_);
  return stats;
}

}  // namespace dgemma
