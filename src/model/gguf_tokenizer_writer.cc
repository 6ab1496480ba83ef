// tokenizer.json as tokens, types and merges. Everything that GGUF cannot say is refused.
#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <span>
#include <vector>

#include "base/try.h"
#include "files/json.h"
#include "files/limits.h"
#include "files/messages.h"
#include "model/gguf_tokenizer.h"
#include "model/gguf_tokenizer_form.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::unexpected<Status> NotGemmas(const std::string& field) {
  return Fail(StatusCode::kUnsupported,
              "tokenizer.json: " + field + ": differs from Gemma's, which is all that GGUF can say");
}

const json::value& Member(const json::object& object, const char* key) {
  static const json::value kNull;
  const json::value* value = object.if_contains(key);
  return value == nullptr ? kNull : *value;
}

/// value is `expected`, or a sequence of that alone.
bool Is(const json::value& value, std::string_view expected, const char* list) {
  const json::value wanted = json::parse(json::string_view(expected.data(), expected.size()));
  return value == wanted || value == json::value{{"type", "Sequence"}, {list, json::array{wanted}}};
}

Result<void> RequireGemmas(const json::object& root, const json::object& model) {
  if (!Is(Member(root, "normalizer"), kGemmaNormalizer, "normalizers")) return NotGemmas("normalizer");
  const json::value& pre = Member(root, "pre_tokenizer");  // never splits once spaces are replaced
  if (!pre.is_null() && !Is(pre, kGemmaPreTokenizer, "pretokenizers")) return NotGemmas("pre_tokenizer");
  if (!Is(Member(root, "decoder"), kGemmaDecoder, "decoders")) return NotGemmas("decoder");
  for (const auto& [key, expected] :
       {std::pair("type", json::value("BPE")), {"fuse_unk", true}, {"byte_fallback", true}}) {
    if (Member(model, key) != expected) return NotGemmas(std::string("model.") + key);
  }
  const json::value& ignore = Member(model, "ignore_merges");
  if (!ignore.is_null() && ignore != json::value(false)) return NotGemmas("model.ignore_merges");
  return {};
}

std::string Text(const json::value& value) {
  const json::string* text = value.if_string();
  return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

/// Tokens by id with their types.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
};

Result<void> Place(Vocabulary& vocabulary, std::string token, const json::value& id, int32_t type) {
  const int64_t* number = id.if_int64();
  if (number == nullptr || *number < 0 || *number >= std::ssize(vocabulary.tokens)) {
    return Fail(StatusCode::kInvalidFile, "tokenizer.json: " + Quoted(token) +
                                              ": id is not in the model's vocabulary of " +
                                              std::to_string(vocabulary.tokens.size()));
  }
  const auto place = static_cast<size_t>(*number);
  if (vocabulary.types[place] != kUnusedToken && vocabulary.tokens[place] != token) {
    return Fail(StatusCode::kInvalidFile, "tokenizer.json: id " + std::to_string(place) + ": names two tokens");
  }
  vocabulary.tokens[place] = std::move(token);
  vocabulary.types[place] = type;
  return {};
}

Result<Vocabulary> ReadVocabulary(const json::object& root, const json::object& model, const Config& config) {
  Vocabulary out;
  const auto size = static_cast<size_t>(config.vocab);
  out.tokens.resize(size);
  out.types.assign(size, kUnusedToken);
  for (size_t id = 0; id < size; ++id) out.tokens[id] = PlaceholderToken(id);
  const json::object* vocabulary = Member(model, "vocab").if_object();
  if (vocabulary == nullptr) return Fail(StatusCode::kInvalidFile, "tokenizer.json: model.vocab: not an object");
  for (const auto& item : *vocabulary) {
    std::string token(item.key().data(), item.key().size());
    const int32_t type = IsByteToken(token) ? kByteToken : kNormalToken;
    DG_CHECK_OK(Place(out, std::move(token), item.value(), type));
  }
  if (const json::array* added = Member(root, "added_tokens").if_array()) {
    for (const json::value& item : *added) {
      const json::object* object = item.if_object();
      if (object == nullptr)
        return Fail(StatusCode::kInvalidFile, "tokenizer.json: added_tokens: an entry is not an object");
      std::string token = Text(Member(*object, "content"));
      const bool special = Member(*object, "special") == json::value(true);
      const int32_t type = special && !IsShownToken(token) ? kControlToken : kUserToken;
      DG_CHECK_OK(Place(out, std::move(token), Member(*object, "id"), type));
    }
  }
  return out;
}

/// "left right" for each rule.
Result<std::vector<std::string>> ReadMerges(const json::object& model) {
  const json::array* rules = Member(model, "merges").if_array();
  if (rules == nullptr) return Fail(StatusCode::kInvalidFile, "tokenizer.json: model.merges: not a list");
  std::vector<std::string> merges;
  for (const json::value& rule : *rules) {
    const json::array* pair = rule.if_array();
    std::string text = Text(rule);
    if (pair != nullptr && pair->size() == 2) text = Text((*pair)[0]) + " " + Text((*pair)[1]);
    if (std::ranges::count(text, ' ') != 1) {
      return Fail(StatusCode::kUnsupported, "tokenizer.json: model.merges: a rule is not two tokens without spaces");
    }
    merges.push_back(std::move(text));
  }
  return merges;
}

}  // namespace

Result<void> PutTokenizer(const TokenizerTexts& texts, const Config& config, GgufMetadata& metadata) {
  const FileLimits limits;
  DG_TRY(const json::value document,
         At("tokenizer.json", ParseJson(texts.tokenizer, {limits.tokenizer_bytes, 16, 16'000'000})));
  const json::object* root = document.if_object();
  const json::object* model = root == nullptr ? nullptr : Member(*root, "model").if_object();
  if (model == nullptr) return Fail(StatusCode::kInvalidFile, "tokenizer.json: model: not an object");
  DG_CHECK_OK(RequireGemmas(*root, *model));
  DG_TRY(const Vocabulary vocabulary, ReadVocabulary(*root, *model, config));
  DG_TRY(const std::vector<std::string> merges, ReadMerges(*model));
  metadata.Put("tokenizer.ggml.model", "gemma4");
  metadata.Put("tokenizer.ggml.tokens", std::span<const std::string>(vocabulary.tokens));
  // No scores in this kind of tokenizer; readers want the list.
  const std::vector<float> scores(vocabulary.tokens.size(), -1000.0f);
  metadata.Put("tokenizer.ggml.scores", std::span<const float>(scores));
  metadata.Put("tokenizer.ggml.token_type", std::span<const int32_t>(vocabulary.types));
  metadata.Put("tokenizer.ggml.merges", std::span<const std::string>(merges));
  metadata.Put("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(config.bos_token));
  metadata.Put("tokenizer.ggml.eos_token_id",
               static_cast<uint32_t>(config.eos_tokens.empty() ? 1 : config.eos_tokens.front()));
  metadata.Put("tokenizer.ggml.padding_token_id", static_cast<uint32_t>(config.pad_token));
  for (const auto& [key, token] : {std::pair("tokenizer.ggml.unknown_token_id", Text(Member(*model, "unk_token"))),
                                   {"tokenizer.ggml.mask_token_id", std::string("<mask>")}}) {
    const auto found = std::ranges::find(vocabulary.tokens, token);
    if (found != vocabulary.tokens.end()) metadata.Put(key, static_cast<uint32_t>(found - vocabulary.tokens.begin()));
  }
  metadata.Put("tokenizer.ggml.add_bos_token", true);
  metadata.Put("tokenizer.ggml.add_space_prefix", false);
  if (!texts.chat_template.empty()) metadata.Put("tokenizer.chat_template", std::string_view(texts.chat_template));
  return {};
}

Result<std::string> ChatTemplateOf(std::string_view tokenizer_config) {
  DG_TRY(const json::value document, ParseJson(tokenizer_config));
  const json::object* root = document.if_object();
  return root == nullptr ? std::string() : Text(Member(*root, "chat_template"));
}

}  // namespace dgemma
