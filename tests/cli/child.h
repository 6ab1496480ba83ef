// The real program as a child process: with pipes, or on a pseudo-terminal whose screen a test can read and type at.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "screen.h"
#include "terminal.h"

namespace dgemma {

using Environment = std::vector<std::pair<std::string, std::string>>;

/// How a child ended. code is the exit code, or -1 - signal.
struct Ran {
  int code = 0;
  std::string out;
  std::string err;
};

/// Runs the program to its end (60 s at most) with this standard input. TERM, NO_COLOR and XDG_STATE_HOME are fixed.
Ran RunProgram(const std::vector<std::string>& arguments, const std::string& input = "",
               const Environment& environment = {});

/// The same with a standard output that nobody reads.
Ran RunIntoClosedPipe(const std::vector<std::string>& arguments);

class TerminalChild {
 public:
  explicit TerminalChild(const std::vector<std::string>& arguments, const Environment& environment = {},
                         TerminalSize window = {});
  ~TerminalChild();
  TerminalChild(const TerminalChild&) = delete;
  TerminalChild& operator=(const TerminalChild&) = delete;

  /// Types.
  void Send(std::string_view keys);
  /// Reads until the screen (with scroll-back) contains the text; false after twenty seconds.
  bool Shows(std::string_view text);
  /// Reads until these bytes come, behind those that the last call found; false after twenty seconds.
  bool Writes(std::string_view bytes);
  /// Reads what has come, waiting for it at most so long; false when the program has closed its side.
  bool Read(std::chrono::milliseconds patience);
  /// Waits for the end; the exit code, or -1 - signal. Kills it after twenty seconds (-10).
  int Wait();
  void Signal(int number);
  /// The most memory the program had, once it has ended.
  int64_t peak_bytes() const { return peak_bytes_; }

  const Screen& screen() const { return screen_; }
  const std::string& bytes() const { return bytes_; }

 private:
  pid_t child_ = -1;
  int terminal_ = -1;
  Screen screen_{80, 24};
  std::string bytes_;
  size_t mark_ = 0;
  std::optional<int> code_;
  int64_t peak_bytes_ = 0;
};

}  // namespace dgemma
