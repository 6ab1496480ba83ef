// A compiler to a list of steps (Thompson's construction) and its simulation: all places in the pattern at once, byte
// by byte.
#include "model/adapter_pattern.h"

#include <algorithm>
#include <utility>

#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

using Bytes = std::bitset<256>;

constexpr int kDeepest = 16;

Bytes Range(char first, char last) {
  Bytes bytes;
  for (int byte = static_cast<uint8_t>(first); byte <= static_cast<uint8_t>(last); ++byte)
    bytes.set(static_cast<size_t>(byte));
  return bytes;
}

Bytes One(char byte) { return Range(byte, byte); }

Bytes AnyByte() { return ~One('\n'); }

std::unexpected<Status> Broken(std::string_view pattern, const char* rule) {
  return Fail(StatusCode::kInvalidFile, "pattern " + Quoted(pattern) + ": " + rule);
}

std::unexpected<Status> Beyond(std::string_view pattern, const char* what) {
  return Fail(StatusCode::kUnsupported, "pattern " + Quoted(pattern) + ": " + what + " is not supported");
}

}  // namespace

/// Recursive descent: alternatives of sequences of repeated atoms.
class PatternCompiler {
 public:
  explicit PatternCompiler(std::string_view pattern) : pattern_(pattern) {}

  Result<NamePattern> Compile() {
    DG_CHECK_OK(Alternatives());
    if (at_ < pattern_.size()) return Broken(pattern_, "a ) without (");
    NamePattern compiled;
    const bool plain =
        std::ranges::all_of(program_, [](const Step& step) { return step.op == NamePattern::Op::kByte; });
    if (plain) {
      for (const Step& step : program_) compiled.plain_.push_back(step.bytes);
      return compiled;
    }
    program_.push_back({.op = NamePattern::Op::kMatch});
    compiled.program_ = std::move(program_);
    return compiled;
  }

 private:
  using Step = NamePattern::Step;

  bool Has(char byte) const { return at_ < pattern_.size() && pattern_[at_] == byte; }

  /// Puts a step in front of those from `begin` on, whose own targets move along.
  void Insert(size_t begin, Step step) {
    for (size_t i = begin; i < program_.size(); ++i) {
      for (size_t& next : program_[i].next) next += next >= begin ? 1 : 0;
    }
    program_.insert(program_.begin() + static_cast<int64_t>(begin), step);
  }

  Result<void> Alternatives() {
    size_t begin = program_.size();
    DG_CHECK_OK(Sequence());
    std::vector<size_t> ends;
    while (Has('|')) {
      ++at_;
      Insert(begin, {.op = NamePattern::Op::kSplit});
      ends.push_back(program_.size());
      program_.push_back({.op = NamePattern::Op::kJump});
      program_[begin].next = {begin + 1, program_.size()};
      begin = program_.size();
      DG_CHECK_OK(Sequence());
    }
    for (const size_t end : ends) program_[end].next[0] = program_.size();
    return {};
  }

  Result<void> Sequence() {
    while (at_ < pattern_.size() && pattern_[at_] != '|' && pattern_[at_] != ')') {
      const size_t begin = program_.size();
      DG_CHECK_OK(Atom());
      if (Has('*') || Has('+') || Has('?')) Repeat(begin, pattern_[at_++]);
      if (Has('*') || Has('+') || Has('{')) return Beyond(pattern_, "repetition by count or of a repetition");
    }
    return {};
  }

  void Repeat(size_t begin, char how) {
    if (how == '+') {
      program_.push_back({.op = NamePattern::Op::kSplit, .next = {begin, program_.size() + 1}});
    } else {
      Insert(begin, {.op = NamePattern::Op::kSplit});
      if (how == '*') program_.push_back({.op = NamePattern::Op::kJump, .next = {begin, 0}});
      program_[begin].next = {begin + 1, program_.size()};
    }
    if (Has('?')) ++at_;  // lazy: the same names match
  }

  Result<void> Atom() {
    const char byte = pattern_[at_++];
    switch (byte) {
      case '(':
        return Group();
      case '[': {
        DG_TRY(const Bytes bytes, Class());
        program_.push_back({.op = NamePattern::Op::kByte, .bytes = bytes});
        return {};
      }
      case '^':
      case '$':
        program_.push_back({.op = byte == '^' ? NamePattern::Op::kBegin : NamePattern::Op::kEnd});
        return {};
      case '*':
      case '+':
      case '?':
        return Broken(pattern_, "nothing to repeat");
      case '{':
        return Beyond(pattern_, "repetition by count or of a repetition");
      case '\\': {
        DG_TRY(const Bytes bytes, Escape());
        program_.push_back({.op = NamePattern::Op::kByte, .bytes = bytes});
        return {};
      }
      default:
        program_.push_back({.op = NamePattern::Op::kByte, .bytes = byte == '.' ? AnyByte() : One(byte)});
        return {};
    }
  }

  Result<void> Group() {
    if (Has('?')) {
      if (!pattern_.substr(at_).starts_with("?:")) return Beyond(pattern_, "(? other than (?:");
      at_ += 2;
    }
    if (++depth_ > kDeepest) return Beyond(pattern_, "nesting deeper than 16");
    DG_CHECK_OK(Alternatives());
    --depth_;
    if (!Has(')')) return Broken(pattern_, "a ( without )");
    ++at_;
    return {};
  }

  Result<Bytes> Escape() {
    if (at_ == pattern_.size()) return Broken(pattern_, "ends in a backslash");
    const char byte = pattern_[at_++];
    const Bytes digits = Range('0', '9'), spaces = Range('\t', '\r') | One(' '),
                words = digits | Range('a', 'z') | Range('A', 'Z') | One('_');
    switch (byte) {
      case 'd':
        return digits;
      case 'D':
        return ~digits;
      case 's':
        return spaces;
      case 'S':
        return ~spaces;
      case 'w':
        return words;
      case 'W':
        return ~words;
      default:
        if (words.test(static_cast<uint8_t>(byte))) return Beyond(pattern_, "this escape");
        return One(byte);
    }
  }

  Result<Bytes> Class() {
    const bool inverted = Has('^');
    at_ += inverted ? 1 : 0;
    Bytes bytes;
    for (bool first = true; !Has(']') || first; first = false) {
      if (at_ == pattern_.size()) return Broken(pattern_, "a [ without ]");
      const char byte = pattern_[at_++];
      if (byte == '\\') {
        DG_TRY(const Bytes escaped, Escape());
        bytes |= escaped;
      } else if (Has('-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']') {
        bytes |= Range(byte, pattern_[at_ + 1]);
        at_ += 2;
      } else {
        bytes |= One(byte);
      }
    }
    ++at_;
    return inverted ? ~bytes : bytes;
  }

  std::string_view pattern_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<Step> program_;
};

Result<NamePattern> NamePattern::Parse(std::string_view pattern) { return PatternCompiler(pattern).Compile(); }

bool NamePattern::Matches(std::string_view name) const {
  if (!has_operators()) {
    if (plain_.size() > name.size()) return false;
    const size_t begin = name.size() - plain_.size();
    if (begin > 0 && name[begin - 1] != '.') return false;
    for (size_t i = 0; i < plain_.size(); ++i) {
      if (!plain_[i].test(static_cast<uint8_t>(name[begin + i]))) return false;
    }
    return true;
  }
  std::vector<size_t> now, next;              // steps that read the next byte
  std::vector<size_t> seen(program_.size());  // the round in which a step was entered last
  size_t round = 0;
  bool matched = false;
  const auto enter = [&](size_t first, size_t place, std::vector<size_t>& into) {
    std::vector<size_t> open = {first};
    while (!open.empty()) {
      const size_t at = open.back();
      open.pop_back();
      if (std::exchange(seen[at], round) == round) continue;
      const Step& step = program_[at];
      switch (step.op) {
        case Op::kByte:
          into.push_back(at);
          break;
        case Op::kBegin:
          if (place == 0) open.push_back(at + 1);
          break;
        case Op::kEnd:
          if (place == name.size()) open.push_back(at + 1);
          break;
        case Op::kSplit:
          open.push_back(step.next[1]);
          open.push_back(step.next[0]);
          break;
        case Op::kJump:
          open.push_back(step.next[0]);
          break;
        case Op::kMatch:
          matched = matched || place == name.size();
          break;
      }
    }
  };
  ++round;
  enter(0, 0, now);
  for (size_t place = 0; place < name.size(); ++place) {
    ++round;
    next.clear();
    for (const size_t at : now) {
      if (program_[at].bytes.test(static_cast<uint8_t>(name[place]))) enter(at + 1, place + 1, next);
    }
    if (name[place] == '.') enter(0, place + 1, next);
    std::swap(now, next);
  }
  return matched;
}

}  // namespace dgemma
