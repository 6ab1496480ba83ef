// Any bytes as tokenizer.json: refused in one line, or a tokenizer whose ids name tokens and whose output is valid
// UTF-8.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using dgemma::Expect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(bytes), size);
  const auto tokenizer = dgemma::Tokenizer::FromJson(json, {.vocabulary = 4096, .merges = 4096});
  if (!tokenizer) {
    const std::string& message = tokenizer.error().message;
    Expect(!message.empty() && message.size() < 600 && message.find('\n') == std::string::npos, "one short line");
    Expect(dgemma::IsValidUtf8(message), "a message is text");
    return 0;
  }
  const std::string text =
      "aab a  <|turn>ab\n\n<turn|>\xF0\x9F\x98\x80\xFF" + std::string(100, 'a') + std::string(json.substr(0, 200));
  for (const auto special : {dgemma::SpecialTokens::kParse, dgemma::SpecialTokens::kAsText}) {
    const std::vector<int32_t> ids = tokenizer->Encode(text, special);
    for (int32_t id : ids) {
      Expect(tokenizer->Has(id), "an id names a token");
      Expect(special == dgemma::SpecialTokens::kParse || !tokenizer->IsControl(id) ||
                 tokenizer->TokenContent(id) == "<unk>" || json.find("unk_token") != std::string_view::npos,
             "literal text gives no control token");
    }
    Expect(dgemma::IsValidUtf8(tokenizer->Decode(ids, dgemma::SpecialText::kKeep)), "decoded text is valid");
  }
  return 0;
}
