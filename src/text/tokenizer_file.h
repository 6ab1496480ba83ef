// Reads tokenizer.json into plain structures and refuses, by field and value, everything this tokenizer does not do.
// Nothing is ignored silently. The only caller is Tokenizer::FromJson.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "dgemma/status.h"
#include "text/added_tokens.h"
#include "text/token_table.h"

namespace dgemma {

/// What a tokenizer file may cost; a breach refuses the file.
struct TokenizerLimits {
  uint64_t file_bytes = 64 << 20;    ///< length of tokenizer.json
  uint32_t vocabulary = 1'000'000;   ///< entries, and one more than the largest id
  uint32_t merges = 4'000'000;       ///< merge rules
  uint32_t token_bytes = 1024;       ///< content of one token
  uint32_t added_token_bytes = 256;  ///< content of one added token: bounds the work per byte of text
};

/// Contents of tokenizer.json. The views point into `document`.
struct TokenizerFile {
  boost::json::value document;
  std::vector<VocabularyEntry> vocabulary;
  std::vector<std::pair<std::string_view, std::string_view>> merges;  ///< in rank order
  std::vector<AddedToken> added;
  std::string_view unknown_token;  ///< empty when there is none
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
  bool replace_space = false;   ///< normaliser: U+0020 becomes U+2581
  bool split_at_space = false;  ///< pre-tokeniser: a piece ends behind each space
};

/// Parses and checks. kInvalidFile for what breaks the format, kUnsupported for what is valid elsewhere but not done
/// here, kResourceExhausted beyond a limit. Linear time.
Result<TokenizerFile> ReadTokenizerFile(std::string_view tokenizer_json, const TokenizerLimits& limits);

}  // namespace dgemma
