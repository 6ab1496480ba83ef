// The tokenizer: text to token ids and back, from a Hugging Face tokenizer.json of the Gemma kind. Same ids as Hugging
// Face `tokenizers` with add_special_tokens=False; never adds <bos> by itself. Immutable after loading, so any thread
// may use it. Streaming output is in stream_decoder.h, the chat format in chat.h.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/merge_table.h"
#include "text/token_table.h"
#include "text/tokenizer_file.h"

namespace dgemma {

/// Whether text that spells a control token (such as "<|turn>") becomes that token or stays ordinary text.
enum class SpecialTokens { kParse, kAsText };

/// Whether special tokens appear in decoded text.
enum class SpecialText { kKeep, kSkip };

/// A stretch of text and how control tokens in it are read.
struct TextPart {
  std::string_view text;
  SpecialTokens special = SpecialTokens::kAsText;
};

class Tokenizer {
 public:
  /// Loads a tokenizer.json. Errors name the field and the value; see ReadTokenizerFile. Also refused are a merge rule
  /// that builds a control token, since ordinary text could then forge it, and ids that disagree between the lists.
  static Result<Tokenizer> FromJson(std::string_view tokenizer_json, const TokenizerLimits& limits = {});

  /// Token ids of `text`. Invalid UTF-8 is first replaced as ReplaceInvalidUtf8 says. Time O(n log n) at worst.
  std::vector<int32_t> Encode(std::string_view text, SpecialTokens special) const;

  /// Token ids of the concatenation of `parts`. Merging crosses the borders of parts, so that this equals encoding the
  /// whole string at once, except that control tokens are found only inside kParse parts.
  std::vector<int32_t> EncodeParts(std::span<const TextPart> parts) const;

  /// Text of `ids`: valid UTF-8 whatever the ids. Ids that name no token are left out. A run of byte tokens that is not
  /// valid UTF-8 as a whole gives one U+FFFD for each byte, as Hugging Face does.
  std::string Decode(std::span<const int32_t> ids, SpecialText special) const;

  /// Id of the token with exactly this content, as the file spells it.
  std::optional<int32_t> TokenId(std::string_view content) const { return tokens_.Find(content); }
  /// Content as the file spells it ("▁the", "<0x41>"); empty when there is no such token.
  std::string_view TokenContent(int32_t id) const { return tokens_.Content(id); }
  /// Bytes a token adds to the output (" the", "A"); perhaps part of a character. Empty when there is no such token.
  std::string_view TokenBytes(int32_t id) const { return output_.Content(id); }
  /// Whether the file calls the token special: decoding with SpecialText::kSkip leaves it out.
  bool IsSpecial(int32_t id) const { return tokens_.Has(id) && kinds_[static_cast<size_t>(id)].special; }
  /// Whether the token is one that text never becomes unless SpecialTokens::kParse asks for it: special, or chat
  /// markup.
  bool IsControl(int32_t id) const { return tokens_.Has(id) && kinds_[static_cast<size_t>(id)].control; }
  /// Whether the token stands for one byte of UTF-8 ("<0x41>").
  bool IsByte(int32_t id) const { return tokens_.Has(id) && kinds_[static_cast<size_t>(id)].byte; }
  /// Whether there is a token with this id.
  bool Has(int32_t id) const { return tokens_.Has(id); }
  /// One more than the largest id.
  int32_t vocab_size() const { return tokens_.size(); }

 private:
  struct Kind {
    bool special = false;
    bool control = false;
    bool byte = false;
  };
  /// Texts by id without the reverse look-up: what each token adds to the output.
  class OutputTable {
   public:
    void Append(std::string_view bytes);
    std::string_view Content(int32_t id) const;

   private:
    std::string bytes_;
    std::vector<uint32_t> ends_;
  };

  Tokenizer() = default;
  Result<void> LoadTokens(TokenizerFile& file, const TokenizerLimits& limits);
  Result<void> LoadMerges(const TokenizerFile& file);
  Result<void> LoadStartSymbols(const TokenizerFile& file);
  int32_t StartSymbol(char32_t character) const;
  void EncodeText(std::string_view text, std::span<const ByteSpan> literal, std::vector<int32_t>& out) const;
  void EncodeSegment(std::string_view segment, std::vector<int32_t>& out) const;
  void EncodePiece(std::string_view piece, std::vector<int32_t>& out) const;

  TokenTable tokens_;
  OutputTable output_;
  std::vector<Kind> kinds_;  // by id
  AddedTokens added_;
  MergeTable merges_;
  JunctionSet junctions_;
  std::vector<std::array<int32_t, 256>>
      pages_;                            // ids of single characters, by the low 8 bits of the code point; -1 none
  std::vector<uint32_t> page_of_;        // index into pages_ by code point >> 8; page 0 is all -1
  std::array<int32_t, 256> byte_ids_{};  // -1 where there is no byte token
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
  bool replace_space_ = false;
  bool split_at_space_ = false;
};

}  // namespace dgemma
