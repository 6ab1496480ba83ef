// A terminal for tests: interprets what the program writes and keeps the screen, the scroll-back and the cursor. Knows
// the few sequences a careful program needs; any other one is recorded, so that a test can insist there was none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dgemma {

/// A column of the screen and how it is shown: the parameters of the last SGR sequence, such as "2" (dim), or nothing.
struct StyledCell {
  std::string text = " ";
  std::string style{};
  bool operator==(const StyledCell&) const = default;
};

class Screen {
 public:
  Screen(int columns, int rows) : columns_(columns), rows_(rows), lines_(static_cast<size_t>(rows)) {}

  /// Interprets bytes; sequences and characters may be split between calls. "\n" alone goes down and to the left, as a
  /// terminal's output processing makes it.
  void Write(std::string_view bytes);

  /// Lines of the screen without trailing spaces, then without trailing empty lines.
  std::vector<std::string> Lines() const;
  /// The same with styles, one entry a row of the screen.
  std::vector<std::vector<StyledCell>> Cells() const;
  /// Scroll-back and screen together as one text.
  std::string Text() const;
  bool cursor_shown() const { return cursor_shown_; }
  int row() const { return row_; }
  int column() const { return column_; }
  /// Number of SGR sequences seen.
  int attributes() const { return attributes_; }
  /// Sequences and control characters that are not understood.
  const std::vector<std::string>& unknown() const { return unknown_; }

 private:
  struct Line {
    std::vector<StyledCell> cells;  // one entry a column; the right half of a wide character is empty
  };
  void Put(std::string_view character);
  void NewLine();
  void Sequence(std::string_view parameters, char final);
  Line& Current() { return lines_[static_cast<size_t>(row_)]; }

  int columns_, rows_;
  std::vector<Line> scrolled_;
  std::vector<Line> lines_;
  int row_ = 0, column_ = 0;  // column_ == columns_: the next character wraps
  bool cursor_shown_ = true;
  int attributes_ = 0;
  std::string style_;
  std::vector<std::string> unknown_;
  std::string pending_;
};

}  // namespace dgemma
