// Matching by narrowing a sorted list byte by byte: no automaton to build, and only a handful of tokens share a prefix.
#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace dgemma {

Result<AddedTokens> AddedTokens::Build(std::vector<AddedToken> tokens) {
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.content < b.content; });
  AddedTokens added;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].content.empty()) return Fail(StatusCode::kInvalidFile, "added_tokens: empty content");
    if (i > 0 && tokens[i].content == tokens[i - 1].content) {
      return Fail(StatusCode::kInvalidFile, "added_tokens: " + QuotedText(tokens[i].content) + " is listed twice");
    }
    ++added.first_byte_[static_cast<unsigned char>(tokens[i].content[0]) + size_t{1}];
  }
  for (size_t byte = 0; byte < 256; ++byte) added.first_byte_[byte + 1] += added.first_byte_[byte];
  added.tokens_ = std::move(tokens);
  return added;
}

AddedTokenScanner::Candidates AddedTokenScanner::MatchesAt(size_t markup_end) const {
  const auto first = static_cast<unsigned char>(text_[position_]);
  auto low = added_.tokens_.begin() + added_.first_byte_[first];
  auto high = added_.tokens_.begin() + added_.first_byte_[first + size_t{1}];
  Candidates found;
  for (size_t length = 1; low != high; ++length) {
    if (low->content.size() == length) {  // the shortest of those with a common prefix sorts first
      found.longest = &*low;
      if (!low->IsControl() || position_ + length <= markup_end) found.allowed = &*low;
      ++low;
    }
    if (position_ + length >= text_.size()) break;
    const char next = text_[position_ + length];
    const auto less = [&](char a, char b) { return static_cast<unsigned char>(a) < static_cast<unsigned char>(b); };
    low = std::partition_point(low, high, [&](const auto& token) { return less(token.content[length], next); });
    high = std::partition_point(low, high, [&](const auto& token) { return !less(next, token.content[length]); });
  }
  return found;
}

std::optional<AddedTokenScanner::Match> AddedTokenScanner::Next() {
  for (; position_ < text_.size(); ++position_) {
    const auto first = static_cast<unsigned char>(text_[position_]);
    if (added_.first_byte_[first] == added_.first_byte_[first + size_t{1}]) continue;
    while (!literal_.empty() && literal_.front().end <= position_) literal_ = literal_.subspan(1);
    const bool in_literal = !literal_.empty() && literal_.front().begin <= position_;
    const Candidates found = MatchesAt(in_literal         ? position_
                                       : literal_.empty() ? text_.size()
                                                          : literal_.front().begin);
    if (found.longest == nullptr) continue;
    if (in_literal && found.longest != found.allowed) {
      position_ = std::min(position_ + found.longest->content.size(), literal_.front().end) - 1;
      continue;
    }
    if (found.allowed == nullptr) continue;
    const Match match{position_, position_ + found.allowed->content.size(), found.allowed->id};
    position_ = match.end;
    return match;
  }
  return std::nullopt;
}

}  // namespace dgemma
