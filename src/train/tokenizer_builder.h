// Makes a tokenizer.json for a small model: byte-pair merges learnt from texts, in the Gemma form that tokenizer.h
// reads (spaces become U+2581, then merges, bytes as a fallback). The same texts give the same bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "dgemma/status.h"

namespace dgemma {

struct TokenizerPlan {
  int32_t vocabulary = 1024;                   ///< entries, control tokens included
  std::span<const std::string_view> keywords;  ///< kept whole wherever they stand (added tokens that are not special)
};

/// Bounds of TokenizerPlan::vocabulary; the keywords have to fit too.
inline constexpr int32_t kFewestTokens = 640;
inline constexpr int32_t kMostTokens = 65'536;

/// A tokenizer.json. Ids: control tokens where the released tokenizer has them (0 pad, 1 eos, 2 bos, 105 and 106
/// turns; images and audio at 250 to 255), printable ASCII in 5 to 112, bytes in 256 to 511, everything else in the
/// gaps and above: keywords, U+2581 with each letter, learnt pieces, <unusedN> if the texts do not give enough.
///
/// What may merge: a space with the letters behind it, from the left ("▁w", "▁wh", "▁wha"), and punctuation around a
/// quote. A digit is always a token of its own, so is a bracket or a dot without a quote, and so is a letter that no
/// space precedes: behind a keyword, a quote or an equals sign words are spelt, which tasks on letters and copying
/// need. Of these merges the most frequent one comes next, as in byte-pair encoding; ties go by spelling.
///
/// `texts` may hold the markup of the chat format; control tokens and keywords are skipped. kInvalidArgument for a
/// vocabulary out of range or a keyword that is empty, listed twice, not ASCII or markup. Time: merges x different
/// words.
Result<std::string> BuildTokenizer(std::span<const std::string> texts, const TokenizerPlan& plan);

}  // namespace dgemma
