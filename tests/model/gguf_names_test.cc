// Names and keys of GGUF files: the released model's list, and what the metadata says as a configuration, in every
// spelling and with every refusal.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "files/bytes.h"
#include "files/gguf_writer.h"
#include "files/mapped_file.h"
#include "model/config_text.h"
#include "model/convert.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/tensor_list.h"

namespace dgemma::test {
namespace {

TEST(GgufNames, TheReleasedModelHasTheKnownList) {
  auto config = ParseConfig(ReleasedText(Geometry::kPerLayer)).value();
  std::map<std::string, std::vector<uint64_t>> list;
  for (const TensorSpec& spec : ListTensors(config)) {
    const std::vector<std::string> names = GgufNames(spec.name);
    EXPECT_EQ(names.empty(), spec.role == TensorRole::kVision) << spec.name;
    if (!names.empty()) {
      EXPECT_TRUE(list.emplace(names.front(), spec.shape).second) << names.front();
    }
  }
  list.emplace(kGgufRopeFactors, std::vector<uint64_t>{RopeFactors(config).size()});
  EXPECT_EQ(list.size(), 692u) << "as in published files";
  using Shape = std::vector<uint64_t>;
  const std::map<std::string, Shape> expected = {{"token_embd.weight", {262'144, 2816}},
                                                 {"output_norm.weight", {2816}},
                                                 {"rope_freqs.weight", {256}},
                                                 {"self_cond_pre_norm.weight", {2816}},
                                                 {"self_cond_gate.weight", {2112, 2816}},
                                                 {"self_cond_up.weight", {2112, 2816}},
                                                 {"self_cond_down.weight", {2816, 2112}},
                                                 {"blk.0.attn_norm.weight", {2816}},
                                                 {"blk.0.attn_q.weight", {4096, 2816}},
                                                 {"blk.5.attn_q.weight", {8192, 2816}},
                                                 {"blk.0.attn_k.weight", {2048, 2816}},
                                                 {"blk.5.attn_k.weight", {1024, 2816}},
                                                 {"blk.4.attn_v.weight", {2048, 2816}},
                                                 {"blk.29.attn_output.weight", {2816, 8192}},
                                                 {"blk.29.attn_q_norm.weight", {512}},
                                                 {"blk.0.attn_k_norm.weight", {256}},
                                                 {"blk.7.post_attention_norm.weight", {2816}},
                                                 {"blk.7.ffn_norm.weight", {2816}},
                                                 {"blk.7.ffn_gate.weight", {2112, 2816}},
                                                 {"blk.7.ffn_up.weight", {2112, 2816}},
                                                 {"blk.7.ffn_down.weight", {2816, 2112}},
                                                 {"blk.7.post_ffw_norm_1.weight", {2816}},
                                                 {"blk.7.ffn_gate_inp.weight", {128, 2816}},
                                                 {"blk.7.ffn_gate_inp.scale", {2816}},
                                                 {"blk.7.pre_ffw_norm_2.weight", {2816}},
                                                 {"blk.7.ffn_gate_up_exps.weight", {128, 1408, 2816}},
                                                 {"blk.7.ffn_down_exps.weight", {128, 2816, 704}},
                                                 {"blk.7.ffn_down_exps.scale", {128}},
                                                 {"blk.7.post_ffw_norm_2.weight", {2816}},
                                                 {"blk.7.post_ffw_norm.weight", {2816}},
                                                 {"blk.29.layer_output_scale.weight", {1}},
                                                 {"blk.29.enc_layer_output_scale.weight", {1}}};
  for (const auto& [name, shape] : expected) {
    ASSERT_TRUE(list.contains(name)) << name;
    EXPECT_EQ(list.at(name), shape) << name;
  }
  for (const int layer : {5, 11, 17, 23, 29})
    EXPECT_FALSE(list.contains("blk." + std::to_string(layer) + ".attn_v.weight"));
}

TEST(GgufNames, TypesAreChosenAsLlamaCppDoes) {
  auto config = ParseConfig(ReleasedText(Geometry::kPerLayer)).value();
  std::map<std::string, DType> types;
  for (const TensorSpec& spec : ListTensors(config)) {
    if (spec.role != TensorRole::kVision) types[GgufNames(spec.name).front()] = GgufTypeFor(spec, DType::kQ4K);
  }
  EXPECT_EQ(types["token_embd.weight"], DType::kQ6K);
  EXPECT_EQ(types["blk.0.attn_q.weight"], DType::kQ4K);
  EXPECT_EQ(types["blk.0.ffn_gate_up_exps.weight"], DType::kQ4K);
  EXPECT_EQ(types["blk.0.ffn_down_exps.weight"], DType::kQ8_0) << "704 is no multiple of 256";
  EXPECT_EQ(types["blk.0.ffn_down.weight"], DType::kQ8_0) << "2112 is no multiple of 256";
  EXPECT_EQ(types["blk.0.ffn_gate_inp.weight"], DType::kF32);
  EXPECT_EQ(types["blk.0.attn_norm.weight"], DType::kF32);
  EXPECT_EQ(types["blk.0.layer_output_scale.weight"], DType::kF32);
  const TensorSpec odd{"x", {4, 40}, TensorRole::kMatrix};
  EXPECT_EQ(GgufTypeFor(odd, DType::kQ4K), DType::kF16);
  EXPECT_EQ(GgufTypeFor(odd, DType::kBF16), DType::kBF16);
}

/// Metadata of a small model of two layers; fields are what tests change.
struct Keys {
  std::string architecture = "diffusion-gemma";
  std::map<std::string, uint32_t> numbers = {{"block_count", 2},
                                             {"context_length", 64},
                                             {"embedding_length", 8},
                                             {"feed_forward_length", 16},
                                             {"attention.head_count", 4},
                                             {"attention.key_length", 8},
                                             {"attention.key_length_swa", 4},
                                             {"attention.sliding_window", 16},
                                             {"expert_count", 4},
                                             {"expert_used_count", 2},
                                             {"expert_feed_forward_length", 8}};
  std::map<std::string, float> reals = {
      {"rope.freq_base", 1e6f}, {"rope.freq_base_swa", 1e4f}, {"attention.layer_norm_rms_epsilon", 1e-6f}};
  std::vector<int32_t> kv_heads = {2, 1};
  std::vector<bool> pattern = {true, false};
  std::vector<std::string> tokens = {"<pad>", "<eos>", "<bos>", "<turn|>", "a", "<|tool_response>", "<|image|>", "b"};
  std::vector<float> factors = {1.0f, 1e30f, 1e30f, 1e30f};
  std::map<std::string, std::string> texts;  // whole keys
  std::string canvas_key = "diffusion.canvas_length";
};

/// The table that a file with these keys has, and its configuration.
Result<Config> ReadBack(const Keys& keys) {
  GgufMetadata metadata;
  const std::string prefix = keys.architecture + ".";
  metadata.Put("general.architecture", std::string_view(keys.architecture));
  for (const auto& [key, value] : keys.numbers) metadata.Put(key.starts_with("split.") ? key : prefix + key, value);
  for (const auto& [key, value] : keys.reals) metadata.Put(prefix + key, value);
  metadata.Put(prefix + "attention.head_count_kv", std::span<const int32_t>(keys.kv_heads));
  if (!keys.pattern.empty()) metadata.Put(prefix + "attention.sliding_window_pattern", keys.pattern);
  for (const auto& [key, value] : keys.texts) metadata.Put(key, std::string_view(value));
  metadata.Put("tokenizer.ggml.tokens", std::span<const std::string>(keys.tokens));
  metadata.Put("tokenizer.ggml.eos_token_id", uint32_t{1});
  if (!keys.canvas_key.empty()) metadata.Put(keys.canvas_key, uint32_t{8});
  const std::string path = testing::TempDir() + "keys.gguf";
  const auto bytes = std::as_bytes(std::span(keys.factors));
  const auto written =
      WriteGguf(path, metadata, {TensorFromMemory("rope_freqs.weight", DType::kF32, {keys.factors.size()}, bytes)});
  EXPECT_TRUE(written) << written.error().message;
  const auto file = MappedFile::Open(path);
  const auto table = ParseGguf(file->bytes());
  EXPECT_TRUE(table) << table.error().message;
  const auto text = ConfigFromGguf(*table, file->bytes());
  return text ? ParseConfig(*text) : std::unexpected(text.error());
}

TEST(GgufConfig, ReadsTheUsualKeys) {
  const auto config = ReadBack({});
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->vocab, 8);
  EXPECT_EQ(config->canvas, 8);
  EXPECT_EQ(config->layers, (std::vector<LayerConfig>{{true, 4, 2}, {false, 8, 1}}));
  EXPECT_EQ(config->eos_tokens, (std::vector<int32_t>{1, 3, 5}));
  EXPECT_EQ(config->image_token, 6);
  EXPECT_EQ(config->norm_eps, 1e-6) << "the decimal that was rounded to float32";
  EXPECT_EQ(config->full_rope, (RopeConfig{1e6, 0.25, 1.0}));
  EXPECT_EQ(config->sliding_rope, (RopeConfig{1e4, 1.0, 1.0}));
  EXPECT_FALSE(config->causal_only);
  EXPECT_FALSE(config->vision);
}

TEST(GgufConfig, AcceptsOtherSpellings) {
  Keys texts;
  texts.canvas_key = "";
  texts.texts["diffusion.canvas_length"] = "8";
  EXPECT_EQ(ReadBack(texts), ReadBack({})) << "a number as text";
  Keys period;
  period.pattern.clear();
  period.numbers["attention.sliding_window_pattern"] = 2;
  EXPECT_EQ(ReadBack(period), ReadBack({})) << "a period instead of a list";
  Keys underscore;
  underscore.architecture = "diffusion_gemma";
  EXPECT_EQ(ReadBack(underscore), ReadBack({}));
  Keys vocabulary;
  vocabulary.numbers["vocab_size"] = 16;
  EXPECT_EQ(ReadBack(vocabulary)->vocab, 16);
  Keys scaled;
  scaled.factors = {8, 8, 8, 8};
  EXPECT_EQ(ReadBack(scaled)->full_rope, (RopeConfig{1e6, 1.0, 8.0}));
}

TEST(GgufConfig, AutoregressiveModelsAreCausalOnly) {
  Keys keys;
  keys.architecture = "gemma4";
  keys.canvas_key = "";
  const auto config = ReadBack(keys);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->causal_only);
  EXPECT_EQ(config->canvas, 1);
  std::set<std::string> names;
  for (const TensorSpec& spec : ListTensors(*config)) names.insert(spec.name);
  EXPECT_FALSE(names.contains("model.decoder.self_conditioning.pre_norm.weight"));
  EXPECT_FALSE(names.contains("model.decoder.layers.0.layer_scalar"));
  EXPECT_TRUE(names.contains("model.encoder.language_model.layers.0.layer_scalar"));
  EXPECT_EQ(RequireCanvases(*config).error().message, "this is an autoregressive model (gemma4): use --ar");
  EXPECT_TRUE(RequireCanvases(*ReadBack({})));
}

TEST(GgufConfig, RefusesWhatTheModelIsNot) {
  const auto refused = [](const auto& change) {
    Keys keys;
    change(keys);
    const auto config = ReadBack(keys);
    return config ? "accepted" : std::string(Name(config.error().code)) + " " + config.error().message;
  };
  const auto number = [&](const char* key, uint32_t value) {
    return refused([&](Keys& keys) { keys.numbers[key] = value; });
  };
  EXPECT_EQ(refused([](Keys& keys) { keys.architecture = "llama"; }),
            "unsupported general.architecture: \"llama\" is not supported (diffusion-gemma, gemma4)");
  EXPECT_EQ(refused([](Keys& keys) { keys.texts["general.type"] = "adapter"; }),
            "unsupported general.type: \"adapter\" is not supported (model)");
  EXPECT_EQ(number("split.count", 2),
            "unsupported split.count: a model in several files is not supported (merge them first)");
  EXPECT_EQ(
      number("attention.shared_kv_layers", 1),
      "unsupported diffusion-gemma.attention.shared_kv_layers: only 0 is supported (this is a smaller Gemma 4 model)");
  EXPECT_EQ(number("embedding_length_per_layer_input", 256),
            "unsupported diffusion-gemma.embedding_length_per_layer_input: only 0 is supported (this is a smaller "
            "Gemma 4 model)");
  EXPECT_EQ(number("expert_count", 0),
            "unsupported diffusion-gemma.expert_count: a model without experts is not supported");
  EXPECT_EQ(number("attention.value_length", 4),
            "unsupported diffusion-gemma.attention.value_length: must be the key length 8");
  EXPECT_EQ(number("rope.dimension_count_swa", 2),
            "unsupported diffusion-gemma.rope.dimension_count_swa: must be the key length 4");
  EXPECT_EQ(number("block_count", 0), "invalid_file diffusion-gemma.block_count: 0 is out of range (1..4096)");
  EXPECT_EQ(number("block_count", 5000), "invalid_file diffusion-gemma.block_count: 5000 is out of range (1..4096)");
  EXPECT_EQ(number("block_count", 3),
            "invalid_file diffusion-gemma.attention.head_count_kv: has 2 entries, the model has 3 layers");
  EXPECT_EQ(number("embedding_length", 0).substr(0, 42), "invalid_file text_config.hidden_size: 0 is");
  EXPECT_EQ(refused([](Keys& keys) { keys.numbers.erase("context_length"); }),
            "invalid_file diffusion-gemma.context_length: missing (required)");
  EXPECT_EQ(refused([](Keys& keys) { keys.canvas_key = ""; }),
            "invalid_file diffusion.canvas_length: missing (required)");
  EXPECT_EQ(refused([](Keys& keys) {
              keys.canvas_key = "";
              keys.texts["diffusion.canvas_length"] = "8 tokens";
            }),
            "invalid_file diffusion.canvas_length: is not an integer");
  EXPECT_EQ(refused([](Keys& keys) { keys.reals["rope.freq_base"] = INFINITY; }),
            "invalid_file diffusion-gemma.rope.freq_base: is not a finite number");
  EXPECT_EQ(refused([](Keys& keys) { keys.pattern = {true, true}; }),
            "invalid_file diffusion-gemma.attention.sliding_window_pattern: the last layer must be full");
  const std::string irregular =
      "unsupported rope_freqs.weight: is not one factor for the pairs that rotate, then 1e20 and more, for half a head";
  for (const std::vector<float>& factors :
       {std::vector<float>{1, 2, 1e30f, 1e30f}, {1e30f, 1, 1, 1}, {1, 1e30f}, {-1, 1e30f, 1e30f, 1e30f}}) {
    EXPECT_EQ(refused([&](Keys& keys) { keys.factors = factors; }), irregular);
  }
}

}  // namespace
}  // namespace dgemma::test
