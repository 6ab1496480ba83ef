// A tokenizer made of a few hundred tokens for the targets of src/text: the chat format's control tokens, all bytes,
// some letters, spaces, and rules that join them.
#pragma once

#include <cstdio>
#include <string>

#include "expect.h"
#include "text/tokenizer.h"

namespace dgemma {

inline std::string SmallTokenizerJson() {
  std::string vocabulary, added, merges;
  int next = 0;
  const auto token = [&](const std::string& content) {
    vocabulary += (next == 0 ? "\"" : ",\"") + content + "\":" + std::to_string(next);
    return next++;
  };
  for (const char* control :
       {"<pad>", "<eos>", "<bos>", "<unk>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>",
        "<tool_response|>", "<|\\\"|>", "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>", "<|image|>"}) {
    added += (next == 0 ? "" : ",") + std::string("{\"id\":") + std::to_string(next) + ",\"content\":\"" + control +
             "\",\"special\":true}";
    token(control);
  }
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    token(name);
  }
  for (const char* piece :
       {"\xE2\x96\x81", "\\n", "a", "b", "c", "l", "t", "h", "o", "u", "g", ":", "{", "}", ",", "<", "|", ">", "1"})
    token(piece);
  for (const char* rule : {"a a", "aa a", "aa aa", "a b", "b a", "\xE2\x96\x81 a", "\\n \\n", "t h", "o u", "th ou",
                           "\xE2\x96\x81 \xE2\x96\x81", "< |"}) {
    std::string joined(rule);
    joined.erase(joined.find(' '), 1);
    token(joined);
    merges += (merges.empty() ? "\"" : ",\"") + std::string(rule) + "\"";
  }
  return "{\"added_tokens\":[" + added +
         "],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}," +
         "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"
         "\"\xE2\x96\x81\"},\"content\":\" \"}," +
         "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_"
         "unk\":true," +
         "\"byte_fallback\":true,\"vocab\":{" + vocabulary + "},\"merges\":[" + merges + "]}}";
}

inline const Tokenizer& SmallTokenizer() {
  static const Result<Tokenizer> tokenizer = Tokenizer::FromJson(SmallTokenizerJson());
  Expect(tokenizer.has_value(), "the small tokenizer loads");
  return *tokenizer;
}

}  // namespace dgemma
