// The Scheduler writes many answers at once on one loaded model: continuous batching, one pass after the other. It owns
// one engine thread and S slots (Timelines), all allocated before the first request. A round (Step) reads as: end what
// was cancelled or is late, admit from the queue, run one pass. Which answers a pass holds is RunPass in story.h; which
// slot a request gets is slots.h. A server stands on this interface; nothing here knows of HTTP.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "dgemma/dgemma.h"
#include "engine/answering.h"
#include "engine/fair_queue.h"
#include "engine/slots.h"

namespace dgemma {

using RequestId = uint64_t;  ///< from 1, never used twice by a Scheduler

/// What happens to one request. All calls come from the engine thread, one at a time, with no lock held: Submit, Cancel
/// and stats() may be called inside, Drain and Stop may not. They must not throw and should not wait, since every other
/// answer waits with them.
class RequestListener : public Listener {
 public:
  /// The request left the queue; of its prompt so many tokens need not be computed. Not called for a request that ends
  /// in the queue.
  virtual void OnStart(int64_t /*prompt_tokens*/, int64_t /*cached_tokens*/) {}
  /// The last call, exactly once for every request that Submit accepted. An Answer, also when it was cut short:
  ///   finish kCancelled: Cancel, Request::stop or Stop;  kTimeout: RequestSpec::timeout; both keep the text so far.
  /// Or an error: kResourceExhausted: waited longer than queue_timeout, or memory ran out; kNonFinite: NaN or
  /// infinity in this answer's rows of a pass; its slot is zeroed; kInternal and others: the pass failed.
  virtual void OnEnd(Result<Answer> /*answer*/) {}
};

struct RequestSpec {
  Request request;  ///< request.stop is looked at before every pass; Cancel is quicker
  /// Whose request this is: other salts never see or reuse its text, and share the machine with it evenly.
  std::string salt;
  std::chrono::milliseconds timeout{0};        ///< from Submit to the end; 0: SchedulerOptions::timeout
  std::chrono::milliseconds queue_timeout{0};  ///< from Submit to OnStart; 0: SchedulerOptions::queue_timeout
  std::shared_ptr<RequestListener> listener;   ///< may be null; let go after OnEnd
};

enum class RefusalReason : uint8_t {
  kInvalid,    ///< an option or token is out of range; status says which. Sending it again does not help
  kTooLong,    ///< prompt and one canvas exceed the context; the message has both figures
  kQueueFull,  ///< too many requests, or too much work, wait already
  kShareFull,  ///< of this salt (SchedulerOptions::queued_per_salt)
  kStopping,   ///< Drain or Stop was called
};

/// Why Submit did not take a request.
struct Refusal {
  RefusalReason reason = RefusalReason::kInvalid;
  Status status;  ///< kInvalidArgument or kUnsupported for what can never be answered, kResourceExhausted for the rest
  std::chrono::seconds retry_after{0};  ///< an estimate, 1..60, for kQueueFull and kShareFull; 0: do not try again
};

struct SchedulerOptions {
  int64_t queued_requests = 64;  ///< in the queue, without those being answered; >= 1
  int64_t queued_per_salt = 0;   ///< the same for one salt; 0: as many as queued_requests
  int64_t queued_rows = 0;       ///< sum of CostInRows over the queue; 0: 16 answers of a whole context with 48 steps
  std::chrono::milliseconds timeout{600'000};  ///< of a request that names none
  std::chrono::milliseconds queue_timeout{60'000};
  /// Memory for SkipOptions in every slot; without it requests that ask for skipping are refused (kInvalid).
  bool skipping = true;
};

/// Figures for health and metrics. Counters only grow; averages are the reader's to take (denoise_passes / canvases,
/// ...).
struct SchedulerStats {
  // now
  int64_t slots = 0, active = 0, queued = 0, queued_rows = 0;
  bool accepting = true;             ///< false after Drain or Stop
  double stalled_seconds = 0;        ///< work was there, and no pass has finished for so long; 0 without work
  double last_pass_age_seconds = 0;  ///< since the last pass finished; since the start before the first
  // the last pass
  int64_t pass_rows = 0, pass_answers = 0;
  double pass_seconds = 0;
  // since the start
  double longest_pass_seconds = 0, pass_seconds_total = 0;
  int64_t passes = 0, rows = 0, failed_passes = 0;
  int64_t submitted = 0, refused = 0, answered = 0, cancelled = 0, timed_out = 0, expired_in_queue = 0, failed = 0;
  int64_t canvases = 0, denoise_passes = 0;  ///< of answers that have ended
  int64_t accepted_rows = 0, full_rows = 0;  ///< over the denoising passes of these
  int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  int64_t prefix_hits = 0, prefix_misses = 0;  ///< requests that found some of their prompt in a slot, or none
  int64_t cleared_slots = 0;                   ///< slots zeroed because another salt took them
};

/// Upper bound on the rows that a request makes the network compute: prompt + canvases * steps * C, or prompt + tokens
/// one by one.
int64_t CostInRows(const GenerateOptions& options, int64_t prompt_tokens, const Config& config, int64_t context);

/// What a Scheduler works with; a test replaces clock and passes.
struct SchedulerParts {
  AnswerParts answers;               ///< model, tokenizer, clock, how prompts are cut
  PassExecutor* executor = nullptr;  ///< runs the passes
  int64_t slots = 1;                 ///< answers at once
  int64_t context_tokens = 0;        ///< of a slot
  int64_t rewind_tokens = 0;         ///< EngineOptions::rewind_tokens
};

class Scheduler {
 public:
  /// For an engine loaded with EngineOptions::sessions = S; allocates S slots. While it lives, no Session of the engine
  /// may generate. kUnsupported for an Engine that is not dgemma's own, kResourceExhausted without memory.
  static Result<std::unique_ptr<Scheduler>> Create(Engine& engine, const SchedulerOptions& options);
  /// The same from parts; they outlive the Scheduler.
  static Result<std::unique_ptr<Scheduler>> Create(const SchedulerParts& parts, const SchedulerOptions& options);
  /// Stops.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // ---- any thread ---------------------------------------------------------------------------------------------------

  /// Starts the engine thread. Without it nothing happens until Step is called.
  void Start();
  /// Checks and queues a request. Never waits for a pass; tokenizes on the calling thread, unless the queue is full.
  std::expected<RequestId, Refusal> Submit(RequestSpec spec);
  /// Why Submit would refuse a request of this salt now, whatever it asks; nothing when it might take it. Costs next to
  /// nothing, and counts as a refusal when it is one.
  std::optional<Refusal> WouldRefuse(const std::string& salt);
  /// Ends a request: before the next pass, or within a layer when no other answer is in the pass at hand. Ids that are
  /// unknown or have ended are ignored. OnEnd still comes, from the engine thread.
  void Cancel(RequestId id);
  /// Refuses new requests, and ends those in the queue before the next pass, as if cancelled. Those being answered go
  /// on.
  void CloseQueue();
  /// Refuses new requests, waits until all have ended or `limit` has passed, then stops. True when all ended by
  /// themselves. Another thread may call Stop to cut it short.
  bool Drain(std::chrono::milliseconds limit);
  /// Refuses new requests, cancels all others, and waits until they have ended and the engine thread has. Repeatable.
  void Stop();
  /// A snapshot; never waits for a pass.
  SchedulerStats stats() const;

  // ---- engine thread, or a test in its place ------------------------------------------------------------------------

  /// One round. False when there was nothing to do.
  bool Step();

 private:
  /// A request from Submit to OnEnd; in the queue or with a slot.
  struct Ticket;

  Scheduler(const SchedulerParts& parts, const SchedulerOptions& options, Slots slots);

  std::expected<RequestId, Refusal> Queue(RequestSpec spec, std::vector<int32_t> prompt);
  std::optional<Refusal> RefusalNow(const std::string& salt, int64_t cost) const;
  std::chrono::seconds RetryAfter() const;

  // The parts of Step; each says whether it did something.
  bool EndWaiting();
  bool EndActive();
  bool Admit();
  bool RunOnePass();

  bool WaitsForOpening(const Ticket& ticket, SteadyTime now) const;
  void Loop();
  void BeginAnswer(Ticket& ticket);
  std::optional<FinishReason> Interruption(const Ticket& ticket, SteadyTime now) const;
  void CancelPassIfUnwanted();
  void End(Ticket& ticket, Result<Answer> answer);
  void Count(const Ticket& ticket, const Result<Answer>& answer);

  const SchedulerParts parts_;
  const SchedulerOptions options_;

  // Touched by the engine thread only.
  Slots slots_;
  std::vector<std::unique_ptr<Ticket>> active_;  // in order of admission

  // Shared, under mutex_, which is never held during a pass or a listener's call.
  mutable std::mutex mutex_;
  std::condition_variable wake_;  // work for the engine thread
  std::condition_variable idle_;  // no request is left
  FairQueue<std::unique_ptr<Ticket>> waiting_;
  std::map<RequestId, bool> open_;  // every request from Submit to OnEnd; true: to be cancelled
  std::vector<RequestId> in_pass_;  // of the pass at hand
  std::stop_source pass_stop_;      // stops the pass at hand
  SchedulerStats stats_;
  SteadyTime last_progress_;          // end of the last pass, or when work came after a time without
  SteadyTime last_pass_;              // end of the last pass
  double mean_answer_seconds_ = 1.0;  // recent ones count more; from OnStart to OnEnd
  RequestId next_id_ = 1;
  bool accepting_ = true, queue_closed_ = false, stopping_ = false;

  std::mutex thread_mutex_;  // Start and Stop
  std::thread thread_;
};

}  // namespace dgemma
