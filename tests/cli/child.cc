// fork, pipes and pseudo-terminals for the tests of the program.
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{20};
constexpr std::chrono::seconds kLongest{60};

[[noreturn]] void Execute(const std::vector<std::string>& arguments, const Environment& environment) {
  for (const char* name : {"NO_COLOR", "COLORTERM", "LC_ALL", "LC_CTYPE"}) ::unsetenv(name);
  ::setenv("TERM", "xterm-256color", 1);
  ::setenv("LANG", "C.UTF-8", 1);
  ::setenv("XDG_STATE_HOME", "/nonexistent", 1);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> values;
  std::string program = DGEMMA_PROGRAM;
  values.push_back(program.data());
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) values.push_back(argument.data());
  values.push_back(nullptr);
  ::execv(DGEMMA_PROGRAM, values.data());
  ::_exit(127);
}

int CodeOf(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1 - WTERMSIG(status); }

// Reads both pipes to their ends and feeds the input meanwhile.
void Converse(Ran& ran, int in, std::string input, int out, int err, pid_t child) {
  const auto deadline = Clock::now() + kLongest;
  ::fcntl(in, F_SETFL, O_NONBLOCK);
  bool out_open = true;
  bool err_open = true;
  while (out_open || err_open) {
    if (Clock::now() > deadline) ::kill(child, SIGKILL);
    std::array<pollfd, 3> ready = {pollfd{out_open ? out : -1, POLLIN, 0}, pollfd{err_open ? err : -1, POLLIN, 0},
                                   pollfd{in, POLLOUT, 0}};
    ::poll(ready.data(), ready.size(), 1000);
    if (ready[2].revents != 0) {
      const ssize_t count = ::write(in, input.data(), input.size());
      if (count > 0) input.erase(0, static_cast<size_t>(count));
      if (count < 0 || input.empty()) {
        ::close(in);
        in = -1;
      }
    }
    std::array<char, 65536> part{};
    const auto take = [&](const pollfd& source, std::string& text, bool& open) {
      if (source.revents == 0) return;
      const ssize_t count = ::read(source.fd, part.data(), part.size());
      if (count > 0) text.append(part.data(), static_cast<size_t>(count));
      if (count <= 0) open = false;
    };
    take(ready[0], ran.out, out_open);
    take(ready[1], ran.err, err_open);
  }
  if (in >= 0) ::close(in);
}

}  // namespace

Ran RunProgram(const std::vector<std::string>& arguments, const std::string& input, const Environment& environment) {
  std::array<int, 2> in{}, out{}, err{};
  if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0)
    return {.code = -1, .out = {}, .err = {}};
  ::signal(SIGPIPE, SIG_IGN);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    Execute(arguments, environment);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  Ran ran;
  Converse(ran, in[1], input, out[0], err[0], child);
  ::close(out[0]);
  ::close(err[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ran.code = CodeOf(status);
  return ran;
}

Ran RunIntoClosedPipe(const std::vector<std::string>& arguments) {
  std::array<int, 2> out{}, err{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0)
    return {.code = -1, .out = {}, .err = {}};
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::close(0);
    ::open("/dev/null", O_RDONLY);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::close(out[0]);
    Execute(arguments, {});
  }
  ::close(out[0]);
  ::close(out[1]);
  ::close(err[1]);
  Ran ran;
  std::array<char, 4096> part{};
  for (ssize_t count = 0; (count = ::read(err[0], part.data(), part.size())) > 0;)
    ran.err.append(part.data(), static_cast<size_t>(count));
  ::close(err[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  ran.code = CodeOf(status);
  return ran;
}

TerminalChild::TerminalChild(const std::vector<std::string>& arguments, const Environment& environment,
                             TerminalSize window) {
  const winsize size{.ws_row = static_cast<unsigned short>(window.rows),
                     .ws_col = static_cast<unsigned short>(window.columns),
                     .ws_xpixel = 0,
                     .ws_ypixel = 0};
  child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (child_ == 0) Execute(arguments, environment);
}

TerminalChild::~TerminalChild() {
  if (!code_) ::kill(child_, SIGKILL);
  Wait();
  ::close(terminal_);
}

void TerminalChild::Send(std::string_view keys) {
  [[maybe_unused]] const ssize_t count = ::write(terminal_, keys.data(), keys.size());
}

bool TerminalChild::Read(std::chrono::milliseconds patience) {
  pollfd ready{terminal_, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) return true;
  std::array<char, 65536> part{};
  const ssize_t count = ::read(terminal_, part.data(), part.size());
  if (count <= 0) return false;
  const std::string_view bytes(part.data(), static_cast<size_t>(count));
  screen_.Write(bytes);
  bytes_ += bytes;
  return true;
}

bool TerminalChild::Shows(std::string_view text) {
  const auto deadline = Clock::now() + kPatience;
  while (screen_.Text().find(text) == std::string::npos) {
    if (Clock::now() > deadline || !Read(std::chrono::milliseconds(100)))
      return screen_.Text().find(text) != std::string::npos;
  }
  return true;
}

bool TerminalChild::Writes(std::string_view bytes) {
  const auto deadline = Clock::now() + kPatience;
  bool open = true;
  while (true) {
    const size_t found = bytes_.find(bytes, mark_);
    if (found != std::string::npos) {
      mark_ = found + bytes.size();
      return true;
    }
    if (!open || Clock::now() > deadline) return false;
    open = Read(std::chrono::milliseconds(100));
  }
}

int TerminalChild::Wait() {
  const auto deadline = Clock::now() + kPatience;
  while (!code_) {
    const bool open = Read(std::chrono::milliseconds(20));
    int status = 0;
    rusage usage{};
    if (::wait4(child_, &status, WNOHANG, &usage) == child_) {
      peak_bytes_ = usage.ru_maxrss * 1024;
      while (open && Read(std::chrono::milliseconds(0))) {
        pollfd ready{terminal_, POLLIN, 0};
        if (::poll(&ready, 1, 0) <= 0) break;
      }
      code_ = CodeOf(status);
    } else if (Clock::now() > deadline) {
      ::kill(child_, SIGKILL);
    }
  }
  return *code_;
}

void TerminalChild::Signal(int number) { ::kill(child_, number); }

}  // namespace dgemma
