// See text_table.h. Widths count bytes: cells are ASCII, or names whose other letters cost some alignment.
#include "text_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace dgemma {

std::string TextTable::Aligned() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], row[column].size());
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      line += left_.contains(column) ? fmt::format("  {:<{}}", row[column], widths[column])
                                     : fmt::format("  {:>{}}", row[column], widths[column]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string TextTable::Markdown() const {
  std::string text;
  for (const auto& row : rows_) {
    text += fmt::format("| {} |\n", fmt::join(row, " | "));
    if (&row != &rows_.front()) continue;
    for (size_t column = 0; column < row.size(); ++column) text += left_.contains(column) ? "|---" : "|---:";
    text += "|\n";
  }
  return text;
}

}  // namespace dgemma
