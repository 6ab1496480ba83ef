// A few rows at the bottom of the output that are redrawn in place: the canvas, the sudoku grid. Not the alternate
// screen, so what was written above stays in the scroll-back. Returns bytes to write; touches no terminal itself.
#pragma once

#include <string>
#include <vector>

#include "cells.h"
#include "terminal.h"

namespace dgemma {

class LiveBlock {
 public:
  /// Replaces the rows drawn before. When there are more rows than the screen has, the last ones are shown.
  /// Rows must not be wider than size.columns. The cursor stays at the end of the last row.
  std::string Redraw(std::vector<Row> rows, TerminalSize size);

  /// Removes the block; the cursor is then where its first row began. Empty when nothing is drawn.
  std::string Erase(TerminalSize size);

  /// Leaves the rows on the screen and goes to the next line; the next Redraw begins there. Empty when nothing is
  /// drawn.
  std::string Keep();

 private:
  std::string ToFirstRow(TerminalSize size) const;

  std::vector<int> widths_;  // of the rows on the screen
};

}  // namespace dgemma
