// Any bytes as text: decoding gives it back, parts equal the whole, streaming equals decoding, content holds no control
// token.
#include <cstdint>

#include "small_tokenizer.h"
#include "text/stream_decoder.h"
#include "text/utf8.h"

using dgemma::Expect;
using dgemma::SpecialText;
using dgemma::SpecialTokens;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const dgemma::Tokenizer& tokenizer = dgemma::SmallTokenizer();
  const std::string_view raw(reinterpret_cast<const char*>(bytes), size);
  const std::string text = dgemma::ReplaceInvalidUtf8(raw);
  Expect(dgemma::IsValidUtf8(text), "replaced text is valid");
  Expect(dgemma::IsValidUtf8(raw) == (text == raw), "valid text is left as it is");
  Expect(dgemma::IsValidUtf8(dgemma::PrintableText(raw)), "printable text is valid");

  std::string spaced = text;  // the lower block spells a space
  for (size_t at = spaced.find("\xE2\x96\x81"); at != std::string::npos; at = spaced.find("\xE2\x96\x81", at))
    spaced.replace(at, 3, " ");
  const std::vector<int32_t> parsed = tokenizer.Encode(raw, SpecialTokens::kParse);
  const std::vector<int32_t> literal = tokenizer.Encode(raw, SpecialTokens::kAsText);
  Expect(tokenizer.Decode(parsed, SpecialText::kKeep) == spaced, "decoding gives the text back");
  Expect(tokenizer.Decode(literal, SpecialText::kSkip) == spaced, "decoding gives literal text back");
  for (int32_t id : literal) Expect(!tokenizer.IsControl(id), "literal text gives no control token");

  for (const auto special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
    std::vector<dgemma::TextPart> parts;
    for (size_t begin = 0, step = size; begin < text.size(); step = step * 7 + 3) {
      size_t end = begin;
      for (size_t characters = 1 + step % 5; characters > 0 && end < text.size(); --characters)
        dgemma::NextCodePoint(text, end);
      parts.push_back({std::string_view(text).substr(begin, end - begin), special});
      begin = end;
    }
    Expect(tokenizer.EncodeParts(parts) == (special == SpecialTokens::kParse ? parsed : literal),
           "parts equal the whole");
  }

  // Bytes as ids: broken runs of byte tokens and everything else.
  dgemma::StreamDecoder decoder(tokenizer, SpecialText::kSkip);
  std::vector<int32_t> ids;
  std::string streamed;
  for (size_t i = 0; i < size; ++i) {
    ids.push_back(i % 3 == 2 ? bytes[i] : 17 + bytes[i]);
    std::string piece;
    decoder.Push(ids.back(), piece);
    Expect(dgemma::IsValidUtf8(piece), "streamed pieces are valid");
    streamed += piece;
  }
  decoder.Finish(streamed);
  Expect(streamed == tokenizer.Decode(ids, SpecialText::kSkip), "streaming equals decoding");
  return 0;
}
