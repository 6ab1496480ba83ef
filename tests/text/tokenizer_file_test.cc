// What a tokenizer file may say: both spellings of merges, the other pipelines, every refusal by field and value, and
// the limits.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "text/starter_tokenizer.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// A small valid file: a, b, ab, byte tokens for nothing, one control token.
json::object Base() {
  return json::parse(R"({"version":"1.0","truncation":null,"padding":null,
    "added_tokens":[{"id":0,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,
                     "normalized":false,"special":true},
                    {"id":9,"content":"<|x|>","single_word":false,"lstrip":false,"rstrip":false,
                     "normalized":false,"special":true}],
    "normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},
    "pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious","invert":false},
    "post_processor":null,
    "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
                 {"type":"ByteFallback"},{"type":"Fuse"}]},
    "model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,
      "fuse_unk":true,"byte_fallback":true,"ignore_merges":false,
      "vocab":{"<unk>":0,"a":1,"b":2,"ab":3," ":4,"▁":5,"a ":6,"aba":7},"merges":[["a","b"],["ab","a"]]}})")
      .as_object();
}

Result<Tokenizer> Load(const json::object& file, const TokenizerLimits& limits = {}) {
  return Tokenizer::FromJson(json::serialize(file), limits);
}

std::string Refusal(const json::object& file, const TokenizerLimits& limits = {}) {
  const auto tokenizer = Load(file, limits);
  return tokenizer ? "loaded" : tokenizer.error().message;
}

std::vector<int32_t> Encode(const json::object& file, std::string_view text) {
  const auto tokenizer = Load(file);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer->Encode(text, SpecialTokens::kParse);
}

using Ids = std::vector<int32_t>;

TEST(TokenizerFile, BothSpellingsOfMerges) {
  json::object file = Base();
  EXPECT_EQ(Encode(file, "abaab"), (Ids{7, 3}));
  file["model"].as_object()["merges"] = json::array{"a b", "ab a"};
  EXPECT_EQ(Encode(file, "abaab"), (Ids{7, 3}));
  file["model"].as_object()["merges"] = json::array{"a b c"};
  EXPECT_EQ(Refusal(file), "model.merges[0]: neither \"left right\" nor [\"left\", \"right\"]");
  file["model"].as_object()["merges"] = json::array{"a a"};
  EXPECT_EQ(Refusal(file), "model.merges[0]: \"aa\" is not in the vocabulary");
}

TEST(TokenizerFile, UnknownCharacters) {
  json::object file = Base();
  EXPECT_EQ(Encode(file, "xyaz"), (Ids{0, 1, 0}));  // fused, since no byte token exists
  file["model"].as_object()["fuse_unk"] = false;
  EXPECT_EQ(Encode(file, "xyaz"), (Ids{0, 0, 1, 0}));
  file["model"].as_object()["unk_token"] = nullptr;
  EXPECT_EQ(Encode(file, "xyaz"), (Ids{1}));
  file = Base();
  file["model"].as_object()["vocab"].as_object()["<0x78>"] = 8;
  EXPECT_EQ(Encode(file, "xa"), (Ids{8, 1}));
  EXPECT_EQ(Encode(file, "yxa"),
            (Ids{8, 0, 1}));  // the unknown token stays pending over byte tokens, as in the original
  file["model"].as_object()["byte_fallback"] = false;
  EXPECT_EQ(Encode(file, "xa"), (Ids{0, 1}));
}

TEST(TokenizerFile, OtherPipelines) {
  json::object file = Base();
  file["model"].as_object()["merges"] = json::parse(R"([["a"," "],["a","b"]])");
  EXPECT_EQ(Encode(file, "a a"), (Ids{1, 5, 1}));  // the space is a lower block before merging
  file["normalizer"] = nullptr;
  EXPECT_EQ(Encode(file, "a  a"), (Ids{6, 4, 1}));  // "a ", " ", "a"
  EXPECT_EQ(Encode(file, " a b "), (Ids{4, 6, 2, 4}));
  file["pre_tokenizer"] = nullptr;
  EXPECT_EQ(Encode(file, "a  a"), (Ids{6, 4, 1}));
  file["normalizer"] = json::object{{"type", "Sequence"}, {"normalizers", json::array{Base()["normalizer"]}}};
  EXPECT_EQ(Encode(file, "a a"), (Ids{1, 5, 1}));
  file["post_processor"] = json::object{{"type", "TemplateProcessing"}};
  EXPECT_EQ(Encode(file, "a"), (Ids{1}));
}

TEST(TokenizerFile, IgnoreMergesTakesWholePieces) {
  json::object file = Base();
  file["model"].as_object()["merges"] = json::array{};
  file["model"].as_object()["ignore_merges"] = true;
  EXPECT_EQ(Encode(file, "aba"), (Ids{7}));
  EXPECT_EQ(Encode(file, "abab"), (Ids{1, 2, 1, 2}));
  EXPECT_EQ(Load(file)->Encode("<|x|>", SpecialTokens::kAsText), (Ids{0}));  // never the control token
  EXPECT_EQ(Load(file)->Encode("<|x|>", SpecialTokens::kParse), (Ids{9}));
}

TEST(TokenizerFile, AddedTokensLongestFirst) {
  json::object file = Base();
  json::array& added = file["added_tokens"].as_array();
  for (const auto& [content, id, special] :
       {std::tuple{"ab", 3, false}, {"abab", 20, false}, {"<|x|>a", 21, false}, {"<s>", 22, true}}) {
    added.push_back({{"id", id}, {"content", content}, {"special", special}});
  }
  EXPECT_EQ(Encode(file, "ababab<|x|>a<|x|><|x|"), (Ids{20, 3, 21, 9, 0}));
  const auto tokenizer = Load(file);
  EXPECT_EQ(tokenizer->vocab_size(), 23);
  EXPECT_FALSE(tokenizer->Has(15));
  EXPECT_EQ(tokenizer->Encode("ab<s>ab", SpecialTokens::kAsText), (Ids{3, 0, 3}));
  // Chat markup counts as control whatever its flag says.
  added.push_back({{"id", 23}, {"content", "<turn|>"}, {"special", false}});
  EXPECT_EQ(Load(file)->Encode("<turn|>", SpecialTokens::kAsText), (Ids{0}));
  EXPECT_EQ(Load(file)->Encode("<turn|>", SpecialTokens::kParse), (Ids{23}));
}

TEST(TokenizerFile, RefusesWhatItDoesNotDo) {
  const auto with = [](const char* section, const char* key, json::value value) {
    json::object file = Base();
    (section[0] == '\0' ? file : file[section].as_object())[key] = std::move(value);
    return Refusal(file);
  };
  EXPECT_EQ(with("model", "type", "Unigram"), "model.type: \"Unigram\" is not supported");
  EXPECT_EQ(with("model", "dropout", 0.1), "model.dropout: 1E-1 is not supported");
  EXPECT_EQ(with("model", "end_of_word_suffix", "</w>"), "model.end_of_word_suffix: \"</w>\" is not supported");
  EXPECT_EQ(with("model", "unk_token", "<none>"), "model.unk_token: \"<none>\" is not in the vocabulary");
  EXPECT_EQ(with("model", "surprise", 1), "model: unknown field \"surprise\"");
  EXPECT_EQ(with("", "surprise", 1), "tokenizer file: unknown field \"surprise\"");
  EXPECT_EQ(with("", "normalizer", json::object{{"type", "NFC"}}), "normalizer: {\"type\":\"NFC\"} is not supported");
  EXPECT_EQ(with("", "pre_tokenizer", json::object{{"type", "ByteLevel"}}),
            "pre_tokenizer: {\"type\":\"ByteLevel\"} is not supported");
  EXPECT_EQ(with("", "decoder", nullptr), "decoder: null is not supported");
  EXPECT_EQ(with("", "post_processor", json::object{{"type", "RobertaProcessing"}}),
            "post_processor: {\"type\":\"RobertaProcessing\"} is not supported");
  EXPECT_EQ(with("", "truncation", json::object{{"max_length", 5}}), "truncation: {\"max_length\":5} is not supported");
  EXPECT_EQ(with("", "version", "2.0"), "version: \"2.0\" is not supported");
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
    json::object file = Base();
    file["added_tokens"].as_array()[1].as_object()[flag] = true;
    EXPECT_EQ(Refusal(file), "added_tokens[1]." + std::string(flag) + ": true is not supported");
  }
}

TEST(TokenizerFile, RefusesContradictionsAndForgery) {
  json::object file = Base();
  json::object& vocabulary = file["model"].as_object()["vocab"].as_object();
  vocabulary["c"] = 1;
  EXPECT_EQ(Refusal(file), "id 1: given to two tokens");
  file = Base();
  file["added_tokens"].as_array()[1].as_object()["content"] = "ab";
  EXPECT_EQ(Refusal(file), "added token \"ab\": id 9 differs from the vocabulary's 3");
  file["added_tokens"].as_array()[1].as_object()["id"] = 3;
  EXPECT_EQ(Refusal(file), "model.merges[0]: builds the control token \"ab\" (text could forge it)");
  file = Base();
  file["added_tokens"].as_array()[1].as_object()["content"] = "";
  EXPECT_EQ(Refusal(file), "added_tokens: empty content");
  file = Base();
  file["added_tokens"].as_array()[1].as_object()["content"] = "<unk>";
  EXPECT_EQ(Refusal(file), "added token \"<unk>\": id 9 differs from the vocabulary's 0");
  EXPECT_EQ(Tokenizer::FromJson("{").error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(Tokenizer::FromJson("[]").error().message, "tokenizer file: not an object");
}

TEST(TokenizerFile, LimitsHoldExactly) {
  const std::string text = json::serialize(Base());
  EXPECT_TRUE(Tokenizer::FromJson(text, {.file_bytes = text.size()}));
  EXPECT_FALSE(Tokenizer::FromJson(text, {.file_bytes = text.size() - 1}));
  EXPECT_EQ(Refusal(Base(), {.vocabulary = 10}), "loaded");
  EXPECT_EQ(Refusal(Base(), {.vocabulary = 9}), "added_tokens[1].id: not an id below 9");
  EXPECT_EQ(Refusal(Base(), {.merges = 2}), "loaded");
  EXPECT_EQ(Refusal(Base(), {.merges = 1}), "model.merges: more than 1 rules");
  EXPECT_EQ(Refusal(Base(), {.token_bytes = 5}), "loaded");
  EXPECT_EQ(Refusal(Base(), {.token_bytes = 4}), "model.vocab[\"<unk>\"]: longer than 4 bytes");
  EXPECT_EQ(Refusal(Base(), {.added_token_bytes = 5}), "loaded");
  EXPECT_EQ(Refusal(Base(), {.added_token_bytes = 4}), "added_tokens[0].content: longer than 4 bytes");
}

}  // namespace
}  // namespace dgemma
