// The test's terminal.
#include "screen.h"

#include <algorithm>
#include <cstdlib>
#include <cwchar>

#include "text/utf8.h"

namespace dgemma {
namespace {

std::string Trimmed(const std::vector<StyledCell>& cells) {
  std::string line;
  for (const StyledCell& cell : cells) line += cell.text;
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

size_t LengthOf(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace

void Screen::Write(std::string_view bytes) {
  pending_ += bytes;
  size_t at = 0;
  while (at < pending_.size()) {
    const char byte = pending_[at];
    if (byte == '\x1b') {
      if (at + 1 >= pending_.size()) break;
      if (pending_[at + 1] != '[') {
        unknown_.push_back(pending_.substr(at, 2));
        at += 2;
        continue;
      }
      const size_t end = pending_.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", at + 2);
      if (end == std::string::npos) break;
      Sequence(std::string_view(pending_).substr(at + 2, end - at - 2), pending_[end]);
      at = end + 1;
    } else if (byte == '\r') {
      column_ = 0;
      ++at;
    } else if (byte == '\n') {
      NewLine();
      ++at;
    } else if (byte == '\b') {
      column_ = std::max(0, std::min(column_, columns_ - 1) - 1);
      ++at;
    } else if (static_cast<unsigned char>(byte) < 0x20 || byte == '\x7f') {
      if (byte != '\a') unknown_.push_back(std::string(1, byte));
      ++at;
    } else {
      const size_t length = LengthOf(byte);
      if (at + length > pending_.size()) break;
      Put(std::string_view(pending_).substr(at, length));
      at += length;
    }
  }
  pending_.erase(0, at);
}

void Screen::Put(std::string_view character) {
  size_t position = 0;
  const int width = ::wcwidth(static_cast<wchar_t>(NextCodePoint(character, position)));
  if (width == 0) {
    if (column_ > 0) Current().cells[static_cast<size_t>(column_ - 1)].text += character;
    return;
  }
  if (column_ + std::max(width, 1) > columns_) NewLine();
  auto& cells = Current().cells;
  if (cells.size() < static_cast<size_t>(column_ + width)) cells.resize(static_cast<size_t>(column_ + width));
  cells[static_cast<size_t>(column_)] = {.text = std::string(character), .style = style_};
  if (width == 2) cells[static_cast<size_t>(column_) + 1] = {.text = "", .style = style_};
  column_ += width;
}

void Screen::NewLine() {
  column_ = 0;
  if (++row_ < rows_) return;
  row_ = rows_ - 1;
  scrolled_.push_back(lines_.front());
  lines_.erase(lines_.begin());
  lines_.emplace_back();
}

void Screen::Sequence(std::string_view parameters, char final) {
  const int count = std::max(1, std::atoi(std::string(parameters).c_str()));
  auto& cells = Current().cells;
  const auto here = static_cast<size_t>(std::min(column_, columns_ - 1));
  if (final == 'A') {
    row_ = std::max(0, row_ - count);
    column_ = std::min(column_, columns_ - 1);
  } else if (final == 'C') {
    column_ = std::min(columns_ - 1, column_ + count);
  } else if (final == 'D') {
    column_ = std::max(0, std::min(column_, columns_ - 1) - count);
  } else if (final == 'K' && parameters.empty()) {
    cells.resize(std::min(cells.size(), here));
  } else if (final == 'J' && parameters.empty()) {
    cells.resize(std::min(cells.size(), here));
    for (size_t below = static_cast<size_t>(row_) + 1; below < lines_.size(); ++below) lines_[below].cells.clear();
  } else if (final == 'm') {
    ++attributes_;
    style_ = parameters == "0" ? "" : std::string(parameters);
  } else if (parameters == "?25" && (final == 'l' || final == 'h')) {
    cursor_shown_ = final == 'h';
  } else {
    unknown_.push_back("CSI " + std::string(parameters) + final);
  }
}

std::vector<std::string> Screen::Lines() const {
  std::vector<std::string> lines;
  for (const Line& line : lines_) lines.push_back(Trimmed(line.cells));
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

std::vector<std::vector<StyledCell>> Screen::Cells() const {
  std::vector<std::vector<StyledCell>> cells;
  for (const Line& line : lines_) cells.push_back(line.cells);
  return cells;
}

std::string Screen::Text() const {
  std::string text;
  for (const Line& line : scrolled_) text += Trimmed(line.cells) + "\n";
  for (const std::string& line : Lines()) text += line + "\n";
  return text;
}

}  // namespace dgemma
