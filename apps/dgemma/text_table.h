// Tables of text: aligned for a terminal, or markdown. `dgemma bench` and `dgemma inspect` print them.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace dgemma {

class TextTable {
 public:
  /// Columns in `left` are aligned to the left, the others, which hold numbers, to the right.
  explicit TextTable(std::vector<std::string> header, std::set<size_t> left = {0})
      : left_(std::move(left)), rows_{std::move(header)} {}

  /// A row with a cell for each column.
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Columns two spaces apart, every line indented by two.
  std::string Aligned() const;
  std::string Markdown() const;

 private:
  std::set<size_t> left_;
  std::vector<std::vector<std::string>> rows_;  // the header first
};

}  // namespace dgemma
