// A Story is an answer being written, as a coroutine: it reads top to bottom, and stops wherever it needs a pass of the
// network. Whoever drives it may run one story alone or several together in the same passes; the story does not notice.
// Which stories share the next pass is decided in one place, ChoosePass.
#pragma once

#include <coroutine>
#include <utility>

#include "engine/pass_runner.h"

namespace dgemma {

class Story {
 public:
  struct promise_type {
    PassJob* job = nullptr;    // what the story waits for
    Result<void> pass_result;  // how the pass went, read when the story goes on
    Result<void> outcome;      // how the story ended

    Story get_return_object() { return Story(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_value(Result<void> result) { outcome = std::move(result); }
    void unhandled_exception() noexcept { outcome = Fail(StatusCode::kResourceExhausted, "out of memory"); }

    /// `co_await job` hands the job to the driver and continues with how the pass went.
    auto await_transform(PassJob& wanted) {
      struct Await {
        promise_type& promise;
        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<>) noexcept {}
        Result<void> await_resume() { return std::move(promise.pass_result); }
      };
      job = &wanted;
      return Await{*this};
    }
  };
  using Handle = std::coroutine_handle<promise_type>;

  Story(Story&& other) noexcept : handle_(std::exchange(other.handle_, {})), missed_passes_(other.missed_passes_) {}
  Story& operator=(Story&&) = delete;
  ~Story() {
    if (handle_) handle_.destroy();
  }

  /// Runs until the next pass is needed or the story has ended. `pass_result` answers the last co_await.
  void Continue(Result<void> pass_result) {
    handle_.promise().job = nullptr;
    handle_.promise().pass_result = std::move(pass_result);
    handle_.resume();
  }
  bool ended() const { return handle_.done(); }
  PassJob* job() const { return handle_.promise().job; }
  const Result<void>& outcome() const { return handle_.promise().outcome; }
  /// Passes in a row that went without this story although it had a job.
  int64_t missed_passes() const { return missed_passes_; }

 private:
  friend std::vector<Story*> ChoosePass(const PassExecutor& executor, std::span<Story* const> stories);

  explicit Story(Handle handle) : handle_(handle) {}
  Handle handle_;
  int64_t missed_passes_ = 0;
};

/// DG_CHECK_OK for the inside of a Story.
#define DG_CO_CHECK_OK(expression)                                           \
  do {                                                                       \
    Result<void> dg_status = (expression);                                   \
    if (!dg_status) co_return std::unexpected(std::move(dg_status).error()); \
  } while (false)

/// The stories of the next pass: those that missed most passes first, among equals those with a canvas, then as given;
/// each goes in that still fits into the executor's rows and canvases, the first in any case. So none of n stories
/// misses more than n - 1 passes in a row. Stories that have ended are passed over.
std::vector<Story*> ChoosePass(const PassExecutor& executor, std::span<Story* const> stories);

/// Runs a pass for its members and lets each go on with how it went, those whose numbers are none with kNonFinite; that of
/// the pass is returned. Exceptions become kInternal, and kResourceExhausted where memory ran out.
Result<void> RunPass(PassExecutor& executor, std::span<Story* const> members, std::stop_token stop);

/// Starts stories and runs them to their ends. Each story's failure stays its own, except that a failed pass fails
/// every story in it.
void Drive(PassExecutor& executor, std::span<Story> stories, std::stop_token stop);

}  // namespace dgemma
