// Field by field reading of tokenizer.json: each component is compared with the form that is supported.
#include "text/tokenizer_file.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <initializer_list>
#include <string>

#include "base/try.h"
#include "files/json.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr std::string_view kSpace = " ";
constexpr std::string_view kLowerBlock = "\xE2\x96\x81";  // U+2581, how the vocabulary spells a space

std::string_view View(const json::string& text) { return {text.data(), text.size()}; }

std::unexpected<Status> Unsupported(const std::string& field, const json::value& value) {
  std::string text = PrintableText(json::serialize(value));
  if (text.size() > 120) text = PrintableText(text.substr(0, 117)) + "...";
  return Fail(StatusCode::kUnsupported, field + ": " + text + " is not supported");
}

Result<const json::object*> AsObject(const json::value& value, const std::string& field) {
  if (!value.is_object()) return Fail(StatusCode::kInvalidFile, field + ": not an object");
  return &value.get_object();
}

Result<void> OnlyKeys(const json::object& object, std::initializer_list<std::string_view> known,
                      const std::string& field) {
  for (const auto& member : object) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Fail(StatusCode::kUnsupported, field + ": unknown field " + QuotedText(key));
    }
  }
  return {};
}

/// Member of an object; null when absent.
const json::value& Member(const json::object& object, std::string_view key) {
  static const json::value kNull;
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr ? kNull : *value;
}

Result<bool> Flag(const json::object& object, std::string_view key, const std::string& field) {
  const json::value& value = Member(object, key);
  if (value.is_null()) return false;
  if (!value.is_bool()) return Fail(StatusCode::kInvalidFile, field + "." + std::string(key) + ": not true or false");
  return value.get_bool();
}

bool IsText(const json::value& value, std::string_view text) {
  return value.is_string() && View(value.get_string()) == text;
}

bool IsStringPattern(const json::value& value, std::string_view text) {
  return value.is_object() && value.get_object().size() == 1 && IsText(Member(value.get_object(), "String"), text);
}

/// {"type": "Replace", "pattern": {"String": from}, "content": to} and nothing else.
bool IsReplace(const json::value& value, std::string_view from, std::string_view to) {
  if (!value.is_object() || value.get_object().size() != 3) return false;
  const json::object& object = value.get_object();
  return IsText(Member(object, "type"), "Replace") && IsStringPattern(Member(object, "pattern"), from) &&
         IsText(Member(object, "content"), to);
}

bool IsSplitAtSpace(const json::value& value) {
  if (!value.is_object() || value.get_object().size() != 4) return false;
  const json::object& object = value.get_object();
  const json::value& invert = Member(object, "invert");
  return IsText(Member(object, "type"), "Split") && IsStringPattern(Member(object, "pattern"), kSpace) &&
         IsText(Member(object, "behavior"), "MergedWithPrevious") && invert.is_bool() && !invert.get_bool();
}

bool IsBare(const json::value& value, std::string_view type) {
  return value.is_object() && value.get_object().size() == 1 && IsText(Member(value.get_object(), "type"), type);
}

/// Members of {"type": "Sequence", key: [...]}, or null when `value` is no such thing.
const json::array* AsSequence(const json::value& value, std::string_view key) {
  if (!value.is_object() || value.get_object().size() != 2) return nullptr;
  const json::object& object = value.get_object();
  return IsText(Member(object, "type"), "Sequence") ? Member(object, key).if_array() : nullptr;
}

/// Whether a component is null (false), `step` or a sequence of such steps (true); anything else is refused.
template <typename Step>
Result<bool> NullOrSteps(const json::value& value, std::string_view sequence_key, const std::string& field, Step step) {
  if (value.is_null()) return false;
  if (step(value)) return true;
  const json::array* steps = AsSequence(value, sequence_key);
  if (steps == nullptr) return Unsupported(field, value);
  for (const json::value& one : *steps) {
    if (!step(one)) return Unsupported(field, one);
  }
  return !steps->empty();
}

Result<void> ReadAddedTokens(const json::value& value, const TokenizerLimits& limits, TokenizerFile& file) {
  if (value.is_null()) return {};
  if (!value.is_array()) return Fail(StatusCode::kInvalidFile, "added_tokens: not a list");
  for (const json::value& item : value.get_array()) {
    const std::string field = "added_tokens[" + std::to_string(file.added.size()) + "]";
    DG_TRY(const json::object* object, AsObject(item, field));
    DG_CHECK_OK(
        OnlyKeys(*object, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}, field));
    for (const std::string_view key : {"single_word", "lstrip", "rstrip", "normalized"}) {
      DG_TRY(const bool set, Flag(*object, key, field));
      if (set) return Unsupported(field + "." + std::string(key), Member(*object, key));
    }
    DG_TRY(const bool special, Flag(*object, "special", field));
    const json::value& content = Member(*object, "content");
    const json::value& id = Member(*object, "id");
    if (!content.is_string()) return Fail(StatusCode::kInvalidFile, field + ".content: not a string");
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= limits.vocabulary) {
      return Fail(StatusCode::kInvalidFile, field + ".id: not an id below " + std::to_string(limits.vocabulary));
    }
    if (content.get_string().size() > limits.added_token_bytes) {
      return Fail(StatusCode::kResourceExhausted,
                  field + ".content: longer than " + std::to_string(limits.added_token_bytes) + " bytes");
    }
    file.added.push_back({std::string(View(content.get_string())), static_cast<int32_t>(id.get_int64()), special});
  }
  return {};
}

Result<void> ReadVocabulary(const json::value& value, const TokenizerLimits& limits, TokenizerFile& file) {
  DG_TRY(const json::object* vocabulary, AsObject(value, "model.vocab"));
  if (vocabulary->size() > limits.vocabulary) {
    return Fail(StatusCode::kResourceExhausted,
                "model.vocab: more than " + std::to_string(limits.vocabulary) + " entries");
  }
  file.vocabulary.reserve(vocabulary->size());
  for (const auto& member : *vocabulary) {
    const std::string_view content(member.key().data(), member.key().size());
    const auto refuse = [&](StatusCode code, const std::string& what) {
      return Fail(code, "model.vocab[" + QuotedText(content) + "]: " + what);
    };
    if (!member.value().is_int64() || member.value().get_int64() < 0 ||
        member.value().get_int64() >= limits.vocabulary) {
      return refuse(StatusCode::kInvalidFile, "not an id below " + std::to_string(limits.vocabulary));
    }
    if (content.size() > limits.token_bytes) {
      return refuse(StatusCode::kResourceExhausted, "longer than " + std::to_string(limits.token_bytes) + " bytes");
    }
    file.vocabulary.push_back({content, static_cast<int32_t>(member.value().get_int64())});
  }
  return {};
}

Result<void> ReadMerges(const json::value& value, const TokenizerLimits& limits, TokenizerFile& file) {
  if (!value.is_array()) return Fail(StatusCode::kInvalidFile, "model.merges: not a list");
  const json::array& merges = value.get_array();
  if (merges.size() > limits.merges) {
    return Fail(StatusCode::kResourceExhausted, "model.merges: more than " + std::to_string(limits.merges) + " rules");
  }
  file.merges.reserve(merges.size());
  for (const json::value& rule : merges) {
    const auto malformed = [&] {
      return Fail(StatusCode::kInvalidFile, "model.merges[" + std::to_string(file.merges.size()) +
                                                "]: neither \"left right\" nor [\"left\", \"right\"]");
    };
    if (rule.is_string()) {
      const std::string_view text = View(rule.get_string());
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) return malformed();
      file.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (rule.is_array() && rule.get_array().size() == 2 && rule.get_array()[0].is_string() &&
               rule.get_array()[1].is_string()) {
      file.merges.emplace_back(View(rule.get_array()[0].get_string()), View(rule.get_array()[1].get_string()));
    } else {
      return malformed();
    }
  }
  return {};
}

Result<void> ReadModel(const json::value& value, const TokenizerLimits& limits, TokenizerFile& file) {
  DG_TRY(const json::object* model, AsObject(value, "model"));
  DG_CHECK_OK(OnlyKeys(*model,
                       {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                        "byte_fallback", "ignore_merges", "vocab", "merges"},
                       "model"));
  if (!IsText(Member(*model, "type"), "BPE")) return Unsupported("model.type", Member(*model, "type"));
  for (const std::string_view key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const json::value& setting = Member(*model, key);
    const bool off = setting.is_null() || (key != "dropout" && IsText(setting, ""));
    if (!off) return Unsupported("model." + std::string(key), setting);
  }
  const json::value& unknown = Member(*model, "unk_token");
  if (unknown.is_string()) {
    file.unknown_token = View(unknown.get_string());
  } else if (!unknown.is_null()) {
    return Fail(StatusCode::kInvalidFile, "model.unk_token: not a string");
  }
  DG_TRY(file.fuse_unknown, Flag(*model, "fuse_unk", "model"));
  DG_TRY(file.byte_fallback, Flag(*model, "byte_fallback", "model"));
  DG_TRY(file.ignore_merges, Flag(*model, "ignore_merges", "model"));
  DG_CHECK_OK(ReadVocabulary(Member(*model, "vocab"), limits, file));
  return ReadMerges(Member(*model, "merges"), limits, file);
}

Result<void> CheckDecoder(const json::value& value) {
  const json::array* steps = AsSequence(value, "decoders");
  const bool known = steps != nullptr && steps->size() == 3 && IsReplace((*steps)[0], kLowerBlock, kSpace) &&
                     IsBare((*steps)[1], "ByteFallback") && IsBare((*steps)[2], "Fuse");
  if (!known) return Unsupported("decoder", value);
  return {};
}

}  // namespace

Result<TokenizerFile> ReadTokenizerFile(std::string_view tokenizer_json, const TokenizerLimits& limits) {
  if (tokenizer_json.size() > limits.file_bytes) {
    return Fail(StatusCode::kResourceExhausted,
                "tokenizer file: longer than " + std::to_string(limits.file_bytes) + " bytes");
  }
  TokenizerFile file;
  constexpr uint32_t kDepth = 16;
  constexpr uint64_t kNodes = 16'000'000;  // a released file has about 2.2 million
  DG_TRY(file.document, ParseJson(tokenizer_json, {limits.file_bytes, kDepth, kNodes}));
  DG_TRY(const json::object* root, AsObject(file.document, "tokenizer file"));
  DG_CHECK_OK(OnlyKeys(*root,
                       {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                        "post_processor", "decoder", "model"},
                       "tokenizer file"));
  const json::value& version = Member(*root, "version");
  if (!version.is_null() && !IsText(version, "1.0")) return Unsupported("version", version);
  for (const std::string_view key : {"truncation", "padding"}) {
    if (!Member(*root, key).is_null()) return Unsupported(std::string(key), Member(*root, key));
  }
  DG_CHECK_OK(ReadAddedTokens(Member(*root, "added_tokens"), limits, file));
  DG_TRY(file.replace_space, NullOrSteps(Member(*root, "normalizer"), "normalizers", "normalizer",
                                         [](const json::value& step) { return IsReplace(step, kSpace, kLowerBlock); }));
  DG_TRY(file.split_at_space,
         NullOrSteps(Member(*root, "pre_tokenizer"), "pretokenizers", "pre_tokenizer", IsSplitAtSpace));
  // A template only says where <bos> goes when special tokens are asked for; encoding here never adds any.
  const json::value& post = Member(*root, "post_processor");
  const bool adds_only = post.is_object() && IsText(Member(post.get_object(), "type"), "TemplateProcessing");
  if (!post.is_null() && !adds_only) return Unsupported("post_processor", post);
  DG_CHECK_OK(CheckDecoder(Member(*root, "decoder")));
  DG_CHECK_OK(ReadModel(Member(*root, "model"), limits, file));
  return file;
}

}  // namespace dgemma
