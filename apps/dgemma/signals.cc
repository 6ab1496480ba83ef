// The waiting thread. It runs ordinary code, so it may take locks and write; nothing here runs inside a signal handler.
#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>
#include <utility>

namespace dgemma {
namespace {

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGUSR2}) sigaddset(&set, number);
  return set;
}

// Harmless when the cursor was never hidden.
void RestoreTerminal() {
  constexpr std::string_view kRestore = "\x1b[?25h";
  if (::isatty(STDOUT_FILENO) != 1) return;
  [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, kRestore.data(), kRestore.size());
}

}  // namespace

Signals::Signals() {
  const sigset_t set = Watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is like a full disk
  waiter_ = std::thread([this] { Wait(); });
}

Signals::~Signals() {
  finished_ = true;
  pthread_kill(waiter_.native_handle(), SIGUSR2);
  waiter_.join();
}

Signals::Scope::Scope(Signals& signals, std::function<void()> on_interrupt) : signals_(signals) {
  const std::scoped_lock lock(signals_.mutex_);
  signals_.on_interrupt_ = std::move(on_interrupt);
  signals_.pending_ = 0;
}

Signals::Scope::~Scope() {
  const std::scoped_lock lock(signals_.mutex_);
  signals_.on_interrupt_ = nullptr;
}

void Signals::Forget() {
  if (!terminating_) exit_code_ = 0;
}

void Signals::Wait() {
  const sigset_t set = Watched();
  while (true) {
    int number = 0;
    if (sigwait(&set, &number) != 0) continue;
    if (number == SIGUSR2 && finished_) return;
    if (number == SIGTSTP) Suspend();
    if (number == SIGINT || number == SIGTERM || number == SIGHUP) Interrupt(number);
  }
}

void Signals::Interrupt(int number) {
  const std::scoped_lock lock(mutex_);
  exit_code_ = 128 + number;
  if (number != SIGINT) terminating_ = true;
  if (on_interrupt_ && ++pending_ == 1) {
    on_interrupt_();
    return;
  }
  RestoreTerminal();
  std::_Exit(exit_code_);
}

// The cursor may be hidden by a live view; the shell should not inherit that.
void Signals::Suspend() {
  RestoreTerminal();
  ::kill(::getpid(), SIGSTOP);
}

}  // namespace dgemma
