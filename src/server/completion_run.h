// One completion while it runs: its answers in the Scheduler on one side, the client's stream on the other. Created by
// CompletionService; kept alive by the Scheduler's listeners until the last answer has ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "server/completion_answer.h"
#include "server/completion_wire.h"
#include "server/frames_watch.h"
#include "server/metrics.h"
#include "server/reply.h"

namespace dgemma {

/// A refusal as the client hears it.
HttpError ErrorOf(const Refusal& refusal);

/// What a completion works with.
struct RunParts {
  const Engine& engine;
  Scheduler& scheduler;
  Metrics* metrics;  ///< may be null
  FramesWatch& watch;
  int64_t request_ms;
  int64_t queue_wait_ms;
};

/// Who asked, and under which name it is answered.
struct RunIdentity {
  std::string id;       ///< of the completion, with the family's prefix
  std::string caller;   ///< name of the key, Caller::key_name
  int64_t created = 0;  ///< seconds since 1970
};

class RunningCompletion : public std::enable_shared_from_this<RunningCompletion> {
 public:
  /// Submits one request for each answer and begins the stream; or answers with why not.
  static void Start(const RunParts& parts, const WireFamily& family, CompletionRequest request,
                    std::vector<Request> requests, const RunIdentity& identity, const Reply& reply);

  RunningCompletion(const RunParts& parts, const WireFamily& family, CompletionRequest request,
                    const RunIdentity& identity, const Reply& reply);

 private:
  class AnswerListener;

  /// What is known of one answer.
  struct Running {
    std::unique_ptr<AnswerFilter> filter;
    std::optional<FrameMaker> frames;
    RequestId id = 0;
    int64_t cached_tokens = 0;
    int64_t accepted = 0, passes = 0;  // of drafts seen
    bool converged = true;
    bool ended = false;
  };

  void Submit(std::vector<Request> requests);
  // Called by the engine's thread.
  void OnStart(int32_t answer, int64_t prompt_tokens, int64_t cached_tokens);
  void OnPrefill(int32_t answer, int64_t done, int64_t total);
  void OnDraft(int32_t answer, const Draft& draft);
  void OnThought(int32_t answer, std::string_view text);
  void OnText(int32_t answer, std::string_view text);
  void OnToolCall(int32_t answer, const FunctionCall& call);
  void OnEnd(int32_t answer, Result<Answer> ended);

  CompletionSink& Sink();
  Running& At(int32_t answer) { return answers_[static_cast<size_t>(answer)]; }
  void Heed(int32_t answer, AnswerState state);
  void Flush();
  void Finish();
  void FailAll(const HttpError& error);
  void GiveUp();
  void CancelAll();
  EndOfAnswer EndOf(const Running& running, EndKind kind, const Answer& answer) const;
  void Count(const Answer& answer, const Running& running) const;

  const RunParts parts_;
  const WireFamily& family_;
  const CompletionRequest request_;
  const RunIdentity identity_;
  const Reply reply_;

  std::mutex mutex_;  // held during every call above; never while the Scheduler holds its own
  std::vector<Running> answers_;
  std::optional<CompletionCollector> whole_;  // one of the two
  std::unique_ptr<WireStream> writer_;
  std::optional<ResponseStream> stream_;
  std::vector<EndOfAnswer> ends_;
  std::chrono::steady_clock::time_point submitted_;
  size_t ended_ = 0;
  bool silent_ = true;  // the engine's events write nothing: before the stream has begun, and after the end
  std::optional<std::stop_callback<std::function<void()>>> on_stop_;
};

}  // namespace dgemma
