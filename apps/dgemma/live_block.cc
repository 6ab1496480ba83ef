// Each frame is one string, so that one write shows it: up to the first row, every row anew, the rest of the screen
// erased.
#include "live_block.h"

#include <algorithm>
#include <cstddef>
#include <string>

namespace dgemma {

// A terminal that became narrower has broken the rows it shows; count where the first one is now.
std::string LiveBlock::ToFirstRow(TerminalSize size) const {
  int up = -1;
  for (const int width : widths_) up += std::max(1, (width + size.columns - 1) / size.columns);
  up = std::min(up, size.rows - 1);
  return up > 0 ? "\r\x1b[" + std::to_string(up) + "A" : "\r";
}

std::string LiveBlock::Redraw(std::vector<Row> rows, TerminalSize size) {
  const auto shown = static_cast<size_t>(std::max(1, size.rows - 1));
  if (rows.size() > shown) rows.erase(rows.begin(), rows.end() - static_cast<std::ptrdiff_t>(shown));
  std::string bytes = ToFirstRow(size);
  widths_.clear();
  // Erased before it is written: erasing behind a full row would take its last character.
  for (const Row& row : rows) {
    if (!widths_.empty()) bytes += "\r\n";
    bytes += widths_.size() + 1 == rows.size() ? "\x1b[J" : "\x1b[K";
    bytes += row.bytes;
    widths_.push_back(row.width);
  }
  return bytes;
}

std::string LiveBlock::Erase(TerminalSize size) {
  if (widths_.empty()) return "";
  std::string bytes = ToFirstRow(size) + "\x1b[J";
  widths_.clear();
  return bytes;
}

std::string LiveBlock::Keep() {
  if (widths_.empty()) return "";
  widths_.clear();
  return "\r\n";
}

}  // namespace dgemma
