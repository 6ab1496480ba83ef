// The names that an adapter's rank_pattern and alpha_pattern mean: regular expressions of Python, the part of them that
// says which module is meant, matched in time that no file can blow up.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// Matches as PEFT does: re.match(r"(.*\.)?(PATTERN)$", name), so a pattern is the whole name or what follows one of
/// its dots. Understood: letters, `.`, escapes (\. \d \w \s and capitals), [classes], groups, |, * + ? and their lazy
/// forms, ^ and $. Time: the product of both lengths; a pattern without operators, one comparison.
class NamePattern {
 public:
  /// kUnsupported for counted repetition, back references, look-around and nesting deeper than 16; kInvalidFile for
  /// broken syntax.
  static Result<NamePattern> Parse(std::string_view pattern);
  bool Matches(std::string_view name) const;
  /// False for a pattern that is a plain name (its dots stand for any byte, as everywhere).
  bool has_operators() const { return !program_.empty(); }

 private:
  friend class PatternCompiler;
  enum class Op : uint8_t { kByte, kBegin, kEnd, kSplit, kJump, kMatch };
  struct Step {
    Op op = Op::kMatch;
    std::bitset<256> bytes{};             ///< kByte
    std::array<size_t, 2> next = {0, 0};  ///< kSplit: both; kJump: the first
  };

  std::vector<std::bitset<256>> plain_;  ///< one byte each, where the pattern has no operators
  std::vector<Step> program_;            ///< otherwise
};

}  // namespace dgemma
