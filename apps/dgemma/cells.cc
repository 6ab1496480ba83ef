// Splitting, measuring and wrapping of text for terminals. Widths come from the C library's tables.
#include "cells.h"

#include <clocale>
#include <cwchar>
#include <utility>

#include "text/utf8.h"

namespace dgemma {
namespace {

int ColumnsOf(char32_t code_point) {
  const int columns = ::wcwidth(static_cast<wchar_t>(code_point));
  return columns < 0 ? 1 : columns;
}

std::string_view Attribute(Look look, Colors colors) {
  if (colors == Colors::kNone) return "";
  const bool many = colors == Colors::k256;
  switch (look) {
    case Look::kPlain:
      return "";
    case Look::kDim:
      return "\x1b[2m";
    case Look::kBold:
      return "\x1b[1m";
    case Look::kHeat0:
      return many ? "\x1b[38;5;255;48;5;17m" : "\x1b[44m";
    case Look::kHeat1:
      return many ? "\x1b[38;5;255;48;5;24m" : "\x1b[46m";
    case Look::kHeat2:
      return many ? "\x1b[38;5;255;48;5;58m" : "\x1b[43m";
    case Look::kHeat3:
      return many ? "\x1b[38;5;255;48;5;130m" : "\x1b[45m";
    case Look::kHeat4:
      return many ? "\x1b[38;5;255;48;5;124m" : "\x1b[41m";
  }
  return "";
}

}  // namespace

void UseUnicodeWidths() {
  for (const char* name : {"C.UTF-8", "C.utf8", "en_US.UTF-8"}) {
    if (std::setlocale(LC_CTYPE, name) != nullptr) return;
  }
}

std::vector<Cell> CellsOf(std::string_view text, Look look) {
  const std::string printable = PrintableText(text);
  std::vector<Cell> cells;
  size_t position = 0;
  while (position < printable.size()) {
    const size_t begin = position;
    const char32_t code_point = NextCodePoint(printable, position);
    if (code_point == U'\n') {
      cells.push_back({.text = "", .width = 0, .ends_line = true, .look = look});
    } else if (code_point == U'\t') {
      for (int space = 0; space < 4; ++space) cells.push_back({.text = " ", .width = 1, .look = look});
    } else if (const int width = ColumnsOf(code_point); width > 0) {
      cells.push_back({.text = printable.substr(begin, position - begin), .width = width, .look = look});
    } else if (!cells.empty() && !cells.back().ends_line) {
      cells.back().text += printable.substr(begin, position - begin);
    }
  }
  return cells;
}

int WidthOf(std::string_view text) {
  int width = 0;
  for (const Cell& cell : CellsOf(text)) width += cell.width;
  return width;
}

std::vector<std::vector<Cell>> Wrap(std::span<const Cell> cells, int columns) {
  std::vector<std::vector<Cell>> rows(1);
  int width = 0;
  for (const Cell& cell : cells) {
    if (cell.ends_line || (width + cell.width > columns && width > 0)) {
      rows.emplace_back();
      width = 0;
    }
    if (cell.ends_line) continue;
    rows.back().push_back(cell);
    width += cell.width;
  }
  return rows;
}

Row RowOf(std::span<const Cell> cells, Colors colors) {
  Row row;
  std::string_view current;
  for (const Cell& cell : cells) {
    const std::string_view wanted = Attribute(cell.look, colors);
    if (wanted != current) {
      if (!current.empty()) row.bytes += "\x1b[0m";
      row.bytes += wanted;
      current = wanted;
    }
    row.bytes += cell.text;
    row.width += cell.width;
  }
  if (!current.empty()) row.bytes += "\x1b[0m";
  return row;
}

Row LineOf(std::string_view text, Look look, Colors colors, int columns) {
  std::vector<Cell> cells = CellsOf(text, look);
  std::erase_if(cells, [](const Cell& cell) { return cell.ends_line; });
  int width = 0;
  size_t kept = 0;
  while (kept < cells.size() && width + cells[kept].width <= columns) width += cells[kept++].width;
  if (kept < cells.size()) {
    while (kept > 0 && width + 1 > columns) width -= cells[--kept].width;
    cells.resize(kept);
    cells.push_back({.text = "…", .width = 1, .look = look});
  }
  return RowOf(cells, colors);
}

}  // namespace dgemma
