// The answer on a terminal while it forms: final text above, the current canvas below it in place, a status line under
// it. Makes the bytes of each frame; when to draw and where to write is decided by live_answer.h.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cells.h"
#include "live_block.h"

namespace dgemma {

class CanvasView {
 public:
  explicit CanvasView(Colors colors) : colors_(colors) {}

  /// A frame: the last line of the final text, continued by the draft, and the status line.
  std::string Frame(std::span<const Cell> draft, std::string_view status, TerminalSize size);

  /// Replaces the canvas by final text. The terminal wraps it, so that it can be copied without line breaks of ours.
  std::string Commit(std::span<const Cell> text, TerminalSize size);

  /// Removes what is not final and ends the line.
  std::string Finish(TerminalSize size);

 private:
  Colors colors_;
  LiveBlock block_;
  std::vector<Cell> tail_;  // the last row of the final text, which the block covers
};

}  // namespace dgemma
