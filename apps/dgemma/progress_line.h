// "loading 45% (3.0 of 6.7 GB)" on the last line of a terminal, in place; nothing at all where there is no terminal.
// Appears only when something takes long enough to be missed, and is erased before anything else is written.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/units.h"
#include "dgemma/dgemma.h"
#include "program.h"

namespace dgemma {

class ProgressLine {
 public:
  /// Writes to program.err unless the program is quiet.
  explicit ProgressLine(Program& program);
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// Shows a state of the task, at most ten times a second.
  void Show(const Progress& progress);
  /// Shows a text, at most ten times a second.
  void Show(std::string_view text);
  /// Erases the line, if one is shown.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;

  Program& program_;
  bool active_;
  bool shown_ = false;
  std::string phase_;
  Clock::time_point begin_{};
  Clock::time_point last_{};
};

}  // namespace dgemma
