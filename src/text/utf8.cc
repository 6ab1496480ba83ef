// The UTF-8 decoder (one state machine for validation and replacement) and the two character classes built on it.
#include "text/utf8.h"

#include <array>
#include <cstring>

namespace dgemma {
namespace {

struct Step {
  size_t length;  // bytes to move on, at least 1
  bool valid;     // whether they are one well-formed character
};

constexpr bool IsContinuation(unsigned char byte) { return (byte & 0xC0U) == 0x80U; }

/// The character, or the maximal ill-formed part, at the start of `text` (not empty).
Step StepAt(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range is what excludes overlong forms, surrogates and values above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (text.size() < 2 || byte(1) < low || byte(1) > high) return {1, false};
  for (size_t i = 2; i < length; ++i) {
    if (i >= text.size() || !IsContinuation(byte(i))) return {i, false};
  }
  return {length, true};
}

/// Length of the run of ASCII at the start of `text`, in steps of eight bytes: what makes validation cheap for most
/// text.
size_t AsciiPrefix(std::string_view text) {
  size_t length = 0;
  for (; length + 8 <= text.size(); length += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + length, 8);
    if ((word & 0x8080808080808080U) != 0) break;
  }
  return length;
}

struct Range {
  char32_t first, last;
};

template <size_t N>
constexpr bool InRanges(char32_t code_point, const std::array<Range, N>& ranges) {
  for (const Range& range : ranges) {
    if (code_point >= range.first && code_point <= range.last) return true;
  }
  return false;
}

constexpr std::array<Range, 10> kWhitespace = {{{0x09, 0x0D},
                                                {0x1C, 0x20},
                                                {0x85, 0x85},
                                                {0xA0, 0xA0},
                                                {0x1680, 0x1680},
                                                {0x2000, 0x200A},
                                                {0x2028, 0x2029},
                                                {0x202F, 0x202F},
                                                {0x205F, 0x205F},
                                                {0x3000, 0x3000}}};

constexpr std::array<Range, 15> kUnprintable = {{{0x00, 0x08},
                                                 {0x0B, 0x1F},
                                                 {0x7F, 0x9F},
                                                 {0xAD, 0xAD},
                                                 {0x61C, 0x61C},
                                                 {0x180E, 0x180E},
                                                 {0x200B, 0x200B},
                                                 {0x200E, 0x200F},
                                                 {0x2028, 0x202E},
                                                 {0x2060, 0x206F},
                                                 {0xFEFF, 0xFEFF},
                                                 {0xFFF0, 0xFFFB},
                                                 {0x1BCA0, 0x1BCA3},
                                                 {0x1D173, 0x1D17A},
                                                 {0xE0000, 0xE0FFF}}};

}  // namespace

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    text.remove_prefix(AsciiPrefix(text));
    if (text.empty()) break;
    const Step step = StepAt(text);
    if (!step.valid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Step step = StepAt(text);
    out += step.valid ? text.substr(0, step.length) : kReplacementCharacter;
    text.remove_prefix(step.length);
  }
  return out;
}

char32_t NextCodePoint(std::string_view text, size_t& position) {
  const auto next = [&]() -> char32_t {
    return position < text.size() ? static_cast<unsigned char>(text[position++]) & 0x3FU : 0U;
  };
  const unsigned char lead = static_cast<unsigned char>(text[position++]);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return ((lead & 0x1FU) << 6) | next();
  char32_t code_point = lead < 0xF0 ? lead & 0x0FU : lead & 0x07U;
  for (int i = lead < 0xF0 ? 2 : 3; i > 0; --i) code_point = (code_point << 6) | next();
  return code_point;
}

void AppendUtf8(char32_t code_point, std::string& out) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::string_view StripWhitespace(std::string_view text) {
  while (!text.empty()) {
    const Step step = StepAt(text);
    size_t position = 0;
    if (!step.valid || !InRanges(NextCodePoint(text, position), kWhitespace)) break;
    text.remove_prefix(step.length);
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && IsContinuation(static_cast<unsigned char>(text[start]))) --start;
    const std::string_view last = text.substr(start);
    const Step step = StepAt(last);
    size_t position = 0;
    if (!step.valid || step.length != last.size() || !InRanges(NextCodePoint(last, position), kWhitespace)) break;
    text.remove_suffix(step.length);
  }
  return text;
}

std::string PrintableText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Step step = StepAt(text);
    size_t position = 0;
    const bool safe = step.valid && !InRanges(NextCodePoint(text, position), kUnprintable);
    out += safe ? text.substr(0, step.length) : kReplacementCharacter;
    text.remove_prefix(step.length);
  }
  return out;
}

std::string QuotedText(std::string_view text) {
  std::string line(text.substr(0, 80));
  for (char& c : line) {
    if (c == '\n' || c == '\t') c = '\x7F';  // a control character that PrintableText replaces
  }
  return "\"" + PrintableText(line) + (text.size() > 80 ? "...\"" : "\"");
}

}  // namespace dgemma
