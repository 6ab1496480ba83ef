// Lines from a person at a terminal: libedit with a history file. Ctrl-C gives up the line, Ctrl-D leaves.
// The history ($XDG_STATE_HOME/dgemma/history) is readable by its owner only; trouble with it never disturbs the chat.
#pragma once

#include <memory>
#include <string>

#include "signals.h"

namespace dgemma {

struct Line {
  enum class End { kEnter, kInterrupted, kEndOfInput };
  std::string text;  ///< without the newline
  End end = End::kEnter;
};

class LineEditor {
 public:
  explicit LineEditor(Signals& signals);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// Shows the prompt and edits a line until Enter, Ctrl-C or Ctrl-D. SIGTERM ends it as the end of input.
  Line Read(const std::string& prompt);
  /// Puts a line into the history, in memory and in the file.
  void Remember(const std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dgemma
