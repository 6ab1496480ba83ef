// Tokens, types and merges against Gemma's tokenizer.json. Texts are written piece by piece, because the released
// vocabulary as a tree would take far more memory than its text.
#include "model/gguf_tokenizer.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <vector>

#include "files/messages.h"
#include "model/gguf_keys.h"
#include "model/gguf_tokenizer_form.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::string Quote(std::string_view text) {
  return json::serialize(json::string(json::string_view(text.data(), text.size())));
}

std::string AddedToken(size_t id, std::string_view token, bool special) {
  return R"({"id":)" + std::to_string(id) + R"(,"content":)" + Quote(token) +
         R"(,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":)" +
         (special ? "true}" : "false}");
}

/// Types of all tokens, checked.
std::vector<int64_t> ReadTypes(GgufKeys& keys, size_t tokens) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  std::vector<int64_t> types = keys.Integers(kKey);
  if (types.size() != tokens) {
    keys.Refuse(kKey, "has " + std::to_string(types.size()) + " entries for " + std::to_string(tokens) + " tokens");
  }
  types.resize(tokens, kNormalToken);
  if (std::ranges::any_of(types, [](int64_t type) { return type < kNormalToken || type > kByteToken; })) {
    keys.Refuse(kKey, "holds a type beyond 1..6");
  }
  return types;
}

}  // namespace

Result<std::string> TokenizerFromGguf(const GgufTable& table) {
  GgufKeys keys(table);
  // Some files call Gemma's byte pair encoding "llama"; their merges tell it from sentencepiece.
  if (const auto model = keys.Text("tokenizer.ggml.model", ""); model != "gemma4" && model != "llama") {
    keys.Refuse("tokenizer.ggml.model", Quoted(model) + " is not supported (gemma4)", StatusCode::kUnsupported);
  }
  const std::vector<std::string_view> tokens = keys.Texts("tokenizer.ggml.tokens");
  const std::vector<std::string_view> merges = keys.Texts("tokenizer.ggml.merges");
  const std::vector<int64_t> types = ReadTypes(keys, tokens.size());
  const int64_t unknown = keys.Integer("tokenizer.ggml.unknown_token_id", 3);
  if (keys.failure()) return std::unexpected(*keys.failure());

  std::string added, vocabulary, rules;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (types[id] == kUnusedToken && tokens[id] == PlaceholderToken(id)) continue;
    if (types[id] == kControlToken || types[id] == kUnknownToken || types[id] == kUserToken) {
      added +=
          (added.empty() ? "" : ",") + AddedToken(id, tokens[id], types[id] != kUserToken || IsShownToken(tokens[id]));
    }
    vocabulary += (vocabulary.empty() ? "" : ",") + Quote(tokens[id]) + ":" + std::to_string(id);
  }
  for (const std::string_view rule : merges) rules += (rules.empty() ? "" : ",") + Quote(rule);
  const bool has_unknown = unknown >= 0 && unknown < std::ssize(tokens);
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added + R"(],"normalizer":)" +
         std::string(kGemmaNormalizer) + R"(,"pre_tokenizer":)" + std::string(kGemmaPreTokenizer) +
         R"(,"post_processor":null,"decoder":)" + std::string(kGemmaDecoder) +
         R"(,"model":{"type":"BPE","dropout":null,"unk_token":)" +
         (has_unknown ? Quote(tokens[static_cast<size_t>(unknown)]) : "null") +
         R"(,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":true,)"
         R"("ignore_merges":false,"vocab":{)" +
         vocabulary + R"(},"merges":[)" + rules + "]}}";
}

Result<std::string> TokenizerConfigFromGguf(const GgufTable& table) {
  GgufKeys keys(table);
  json::object out = {{"tokenizer_class", "GemmaTokenizer"}, {"add_bos_token", false}};
  const std::vector<std::string_view> tokens = keys.Texts("tokenizer.ggml.tokens");
  for (const auto& [key, field] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token"),
                                   {"tokenizer.ggml.eos_token_id", "eos_token"},
                                   {"tokenizer.ggml.padding_token_id", "pad_token"},
                                   {"tokenizer.ggml.unknown_token_id", "unk_token"},
                                   {"tokenizer.ggml.mask_token_id", "mask_token"}}) {
    const int64_t id = keys.Integer(key, -1);
    if (id < 0 || id >= std::ssize(tokens)) continue;
    const std::string_view text = tokens[static_cast<size_t>(id)];
    out[field] = json::string(json::string_view(text.data(), text.size()));
  }
  const std::string_view chat_template = keys.Text("tokenizer.chat_template", "");
  if (!chat_template.empty())
    out["chat_template"] = json::string(json::string_view(chat_template.data(), chat_template.size()));
  if (keys.failure()) return std::unexpected(*keys.failure());
  return json::serialize(out);
}

}  // namespace dgemma
