// Token ids to text, one id at a time, never half a character. Tokenizer::Decode is this over a whole sequence.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace dgemma {

/// Emits text as soon as it is certain: at once for ordinary tokens; a run of byte tokens waits until it ends, because
/// whether its bytes are characters is decided for the run as a whole. What is appended is always valid UTF-8, and all
/// of it together equals Tokenizer::Decode of all ids.
class StreamDecoder {
 public:
  /// The tokenizer must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, SpecialText special) : tokenizer_(&tokenizer), special_(special) {}

  /// Appends what this id makes certain to `out`.
  void Push(int32_t id, std::string& out);
  /// Ends the text: a dangling tail of bytes becomes U+FFFD. The decoder may then be used for another text.
  void Finish(std::string& out);

 private:
  const Tokenizer* tokenizer_;
  SpecialText special_;
  std::string run_;  // bytes of the current run of byte tokens
};

}  // namespace dgemma
