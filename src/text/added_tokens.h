// Finds added tokens (control tokens such as <|turn>, and others the file lists) in raw text before anything else
// happens to it. At each place the longest one counts, places go from left to right, matches do not overlap.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// One added token as listed by the tokenizer file.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;  ///< left out of decoded text on request

  /// Whether text that a user wrote must not become this token: special ones, and all that look like the chat format's
  /// markup whatever their flag says.
  bool IsControl() const { return special || content.starts_with("<|") || content.ends_with("|>"); }
};

/// Bytes [begin, end) of a text.
struct ByteSpan {
  size_t begin = 0;
  size_t end = 0;
};

class AddedTokens {
 public:
  /// Fails when a content is empty or listed twice.
  static Result<AddedTokens> Build(std::vector<AddedToken> tokens);

  /// All tokens, ordered by content.
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  friend class AddedTokenScanner;
  std::vector<AddedToken> tokens_;          // sorted by content, so those with a common prefix are neighbours
  std::array<uint32_t, 257> first_byte_{};  // tokens_[first_byte_[b]] .. tokens_[first_byte_[b + 1]] begin with byte b
};

/// One pass over a text. Control tokens are not matched inside or across `literal` spans (text that a user wrote); as
/// in Hugging Face's `encode_special_tokens`, a control token spelled there hides shorter ones that begin at the same
/// place.
class AddedTokenScanner {
 public:
  struct Match {
    size_t begin, end;  // bytes of the text
    int32_t id;
  };

  /// `literal` is sorted and does not overlap. All arguments must outlive the scanner.
  AddedTokenScanner(const AddedTokens& added, std::string_view text, std::span<const ByteSpan> literal)
      : added_(added), text_(text), literal_(literal) {}
  /// The next match from left to right; nothing at the end of the text. Time per byte is bounded by the longest token.
  std::optional<Match> Next();

 private:
  struct Candidates {
    const AddedToken* longest = nullptr;
    const AddedToken* allowed = nullptr;  // longest one that may match here
  };
  Candidates MatchesAt(size_t markup_end) const;

  const AddedTokens& added_;
  std::string_view text_;
  std::span<const ByteSpan> literal_;
  size_t position_ = 0;
};

}  // namespace dgemma
