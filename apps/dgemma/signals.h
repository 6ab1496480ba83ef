// Signals without signal handlers: one thread waits for them and asks the running work to stop. A second Ctrl-C, or one
// with nothing to stop, ends the program at once with the cursor shown. Made once, in main, before any other thread.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace dgemma {

class Signals {
 public:
  /// Blocks SIGINT, SIGTERM, SIGHUP and SIGTSTP for this thread and those it starts, ignores SIGPIPE and SIGXFSZ: both show as errors of
  /// writing.
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Registers what an interruption does while the returned object lives: the work's stop source is set, or (at a
  /// prompt) a function is called on the waiting thread. Scopes do not nest.
  class Scope {
   public:
    Scope(Signals& signals, std::function<void()> on_interrupt);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Signals& signals_;
  };

  /// The exit code that the last SIGINT, SIGTERM or SIGHUP asks for (128 + its number), 0 when none came.
  int exit_code() const { return exit_code_; }
  /// True when the program has to end (SIGTERM, SIGHUP), not only the answer.
  bool terminating() const { return terminating_; }
  /// Forgets a Ctrl-C that stopped an answer of a chat.
  void Forget();

 private:
  void Wait();
  void Interrupt(int number);
  void Suspend();

  std::mutex mutex_;
  std::function<void()> on_interrupt_;  // empty: nothing to stop
  int pending_ = 0;                     // interruptions since the scope began
  std::atomic<int> exit_code_{0};
  std::atomic<bool> terminating_{false};
  std::atomic<bool> finished_{false};
  std::thread waiter_;
};

/// What work under a stop source registers: `Signals::Scope scope(signals, Stopping(source));`
inline std::function<void()> Stopping(std::stop_source source) {
  return [source]() mutable { source.request_stop(); };
}

}  // namespace dgemma
