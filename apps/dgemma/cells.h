// Text as a terminal shows it: cells of one or two columns, wrapped into rows. Knows nothing of drafts or escape
// sequences' effects beyond colours; used by the live views, tested with wide, combining and control characters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "terminal.h"

namespace dgemma {

/// How a cell stands out. kHeat0.. are backgrounds from certain to uncertain.
enum class Look : uint8_t { kPlain, kDim, kBold, kHeat0, kHeat1, kHeat2, kHeat3, kHeat4 };

constexpr int kHeatLevels = 5;

/// What fills one place of a row: a character with its combining marks, or the end of a line.
struct Cell {
  std::string text;  ///< printable UTF-8; empty for the end of a line
  int width = 1;     ///< columns, 1 or 2
  bool ends_line = false;
  Look look = Look::kPlain;
  bool operator==(const Cell&) const = default;
};

/// One line on the screen, attributes set and reset within it.
struct Row {
  std::string bytes;
  int width = 0;
};

/// Makes wcwidth know Unicode, whatever the user's locale. Called once, first thing in main.
void UseUnicodeWidths();

/// Cells of a text: made printable first (control characters become U+FFFD), tabs become four spaces, marks of no width
/// join the cell before them.
std::vector<Cell> CellsOf(std::string_view text, Look look = Look::kPlain);

/// Columns of a text in one line; ends of lines count nothing.
int WidthOf(std::string_view text);

/// Rows as a terminal of that width wraps them: full rows, wide characters never split. There is always at least one
/// row.
std::vector<std::vector<Cell>> Wrap(std::span<const Cell> cells, int columns);

/// A row with its attributes; none at all when colors is kNone.
Row RowOf(std::span<const Cell> cells, Colors colors);

/// At most `columns` columns of a text in one look; "…" marks what was cut.
Row LineOf(std::string_view text, Look look, Colors colors, int columns);

}  // namespace dgemma
