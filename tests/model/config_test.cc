// What config.json and generation_config.json mean: the released model, Transformers' class defaults, the repository's own models.
#include "model/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "model/config_text.h"

namespace dgemma::test {
namespace {

Config Parsed(const std::string& text) {
  const auto config = ParseConfig(text);
  EXPECT_TRUE(config) << config.error().message;
  return config.value_or(Config{});
}

std::string Source(const std::string& path) {
  std::ifstream in(std::string(DGEMMA_SOURCE_DIR) + "/" + path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Config, ReadsTheReleasedModel) {
  const Config config = Parsed(ReleasedText(Geometry::kGlobalFields));
  EXPECT_EQ(config.vocab, 262'144);
  EXPECT_EQ(config.width, 2816);
  EXPECT_EQ(config.hidden, 2112);
  EXPECT_EQ(config.heads, 16);
  EXPECT_EQ(config.experts, 128);
  EXPECT_EQ(config.active_experts, 8);
  EXPECT_EQ(config.expert_hidden, 704);
  EXPECT_EQ(config.window, 1024);
  EXPECT_EQ(config.max_positions, 262'144);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.softcap, 30.0);
  ASSERT_EQ(config.layers.size(), 30u);
  for (size_t l = 0; l < 30; ++l) {
    const bool full = l == 5 || l == 11 || l == 17 || l == 23 || l == 29;
    EXPECT_EQ(config.layers[l], full ? (LayerConfig{false, 512, 2}) : (LayerConfig{true, 256, 8})) << l;
  }
  EXPECT_EQ(config.sliding_rope, (RopeConfig{10'000.0, 1.0, 1.0}));
  EXPECT_EQ(config.full_rope, (RopeConfig{1'000'000.0, 0.25, 1.0}));
  EXPECT_EQ(&config.Rope(config.layers[0]), &config.sliding_rope);
  EXPECT_EQ(&config.Rope(config.layers[5]), &config.full_rope);
  EXPECT_EQ(config.canvas, 256);
  EXPECT_EQ(config.image_begin_token, 255'999);
  EXPECT_EQ(config.image_token, 258'880);
  EXPECT_EQ(config.image_end_token, 258'882);
  EXPECT_EQ(config.bos_token, 2);
  EXPECT_EQ(config.pad_token, 0);
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{1, 106, 50}));
  VisionConfig vision;
  vision.width = 1152;
  vision.hidden = 4304;
  vision.layers = 27;
  vision.heads = vision.kv_heads = 16;
  vision.head_size = 72;
  vision.patch = 16;
  vision.pooling = 3;
  vision.positions = 10'240;
  vision.standardize = true;
  EXPECT_EQ(config.vision, vision);
}

TEST(Config, AllSpellingsOfTheGeometryGiveTheSameModel) {
  const Config global = Parsed(ReleasedText(Geometry::kGlobalFields));
  EXPECT_EQ(Parsed(ReleasedText(Geometry::kPerLayer)), global);
  EXPECT_EQ(Parsed(ReleasedText(Geometry::kPerLayerPadded)), global);
  EXPECT_EQ(Parsed(Changed(ReleasedJson(Geometry::kGlobalFields), "text_config.layer_types", "")), global)
      << "five sliding layers and a full one are the default";
  EXPECT_EQ(Parsed(Changed(ReleasedJson(Geometry::kPerLayer), "text_config.global_head_dim", "64")), global)
      << "per_layer_config wins, as in Transformers";
}

// DiffusionGemmaTextConfig and DiffusionGemmaConfig of Transformers 5.23, which differ from the released values.
TEST(Config, AbsentFieldsTakeTheClassDefaults) {
  const Config config = Parsed(boost::json::serialize(MinimalJson()));
  Config expected;
  expected.vocab = 262'144;
  expected.width = 2304;
  expected.hidden = 9216;
  expected.heads = 8;
  expected.experts = 8;
  expected.active_experts = 2;
  expected.expert_hidden = 64;
  expected.window = 512;
  expected.max_positions = 131'072;
  expected.norm_eps = 1e-6;
  expected.softcap = 30.0;
  for (int l = 1; l <= 30; ++l) {
    expected.layers.push_back(l % 6 == 0 ? LayerConfig{false, 512, 4} : LayerConfig{true, 256, 4});
  }
  expected.sliding_rope = {10'000.0, 1.0, 1.0};
  expected.full_rope = {1'000'000.0, 0.25, 1.0};
  expected.canvas = 256;
  expected.image_token = 258'880;
  expected.image_begin_token = 255'999;
  expected.image_end_token = 258'882;
  expected.bos_token = 2;
  expected.pad_token = 0;
  EXPECT_EQ(config, expected);
}

// Transformers writes the ids of images into every config.json. Without vision nothing is ever looked up by them.
TEST(Config, IdsOfImagesMayLieOutsideTheVocabularyWithoutVision) {
  const auto small = boost::json::parse(Changed(MinimalJson(), "text_config.vocab_size", "160")).as_object();
  EXPECT_EQ(Parsed(boost::json::serialize(small)).image_token, 258'880) << "class default";
  EXPECT_EQ(Parsed(Changed(small, "image_token_id", "300")).image_token, 300);
  EXPECT_EQ(Parsed(Changed(small, "vision_config", "{}")).image_token, 258'880) << "class default";
}

TEST(Config, NullIsAbsent) {
  const Config minimal = Parsed(boost::json::serialize(MinimalJson()));
  for (const char* field : {"text_config.hidden_size", "text_config.layer_types", "text_config.rope_parameters",
                            "text_config.per_layer_config", "text_config.use_bidirectional_attention",
                            "text_config.bos_token_id", "vision_config", "canvas_length", "eos_token_id"}) {
    EXPECT_EQ(Parsed(Changed(MinimalJson(), field, "null")), minimal) << field;
  }
}

TEST(Config, AnEmptyVisionSectionTakesTheTowersDefaults) {
  const Config config = Parsed(Changed(MinimalJson(), "vision_config", "{}"));
  VisionConfig vision;
  vision.width = 768;
  vision.hidden = 3072;
  vision.layers = 16;
  vision.heads = vision.kv_heads = 12;
  vision.head_size = 64;
  vision.patch = 16;
  vision.pooling = 3;
  vision.positions = 10'240;
  EXPECT_EQ(config.vision, vision);
}

TEST(Config, TheLastLayerIsAlwaysFull) {
  const Config config = Parsed(Changed(MinimalJson(), "text_config.num_hidden_layers", "4"));
  ASSERT_EQ(config.layers.size(), 4u);
  EXPECT_TRUE(config.layers[2].sliding);
  EXPECT_EQ(config.layers[3], (LayerConfig{false, 512, 4}));
}

TEST(Config, PerLayerEntriesMayCoverAWholeKindOrOneField) {
  const std::string by_kind = Changed(ReleasedJson(Geometry::kPerLayer), "text_config.per_layer_config",
                                      R"({"full_attention": {"head_dim": 512, "num_key_value_heads": 2}})");
  EXPECT_EQ(Parsed(by_kind), Parsed(ReleasedText(Geometry::kPerLayer)));
  const Config config = Parsed(Changed(ReleasedJson(Geometry::kPerLayer), "text_config.per_layer_config",
                                       R"({"3": {"num_key_value_heads": 4}})"));
  EXPECT_EQ(config.layers[3], (LayerConfig{true, 256, 4}));
  EXPECT_EQ(config.layers[5], (LayerConfig{false, 256, 8})) << "full layers that are not named keep the base geometry";
}

TEST(Config, OneStopTokenMayStandAlone) {
  EXPECT_EQ(Parsed(Changed(MinimalJson(), "eos_token_id", "7")).eos_tokens, std::vector<int32_t>{7});
}

TEST(Config, TheModelsOfThisRepositoryParse) {
  const Config starter = Parsed(Source("models/starter/config.json"));
  EXPECT_EQ(starter.layers.size(), 6u);
  EXPECT_EQ(starter.layers[2], (LayerConfig{false, 64, 1}));
  EXPECT_EQ(starter.layers[4], (LayerConfig{true, 32, 2}));
  EXPECT_EQ(starter.canvas, 48);
  EXPECT_EQ(starter.window, 64);
  const Config alternating = Parsed(Source("tests/golden/alternating-f32/config.json"));
  EXPECT_EQ(Parsed(Source("tests/golden/alternating-bf16/config.json")), alternating);
  EXPECT_EQ(alternating.softcap, 30.0) << "left out of the file";
  EXPECT_EQ(alternating.layers[1], (LayerConfig{false, 32, 1}));
  EXPECT_EQ(Parsed(Source("tests/golden/fivetoone-bf16/config.json")).softcap, 12.0);
}

TEST(GenerationConfigText, ReadsTheReleasedValues) {
  const auto config = ParseGenerationConfig(R"({"max_new_tokens": 256, "max_denoising_steps": 48,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1}, "t_min": 0.4, "t_max": 0.8,
    "stability_threshold": 1, "confidence_threshold": 0.005, "eos_token_id": [1, 106, 50], "pad_token_id": 0})",
                                            107);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->max_new_tokens, 256);
  EXPECT_EQ(config->steps, 48);
  EXPECT_EQ(config->entropy_bound, 0.1);
  EXPECT_EQ(config->t_min, 0.4);
  EXPECT_EQ(config->t_max, 0.8);
  EXPECT_EQ(config->stability, 1);
  EXPECT_EQ(config->confidence, 0.005);
  EXPECT_EQ(config->eos_tokens, (std::vector<int32_t>{1, 106, 50}));
  EXPECT_EQ(config->pad_token, 0);
}

TEST(GenerationConfigText, AbsentAndNullStayEmpty) {
  for (const std::string& text : {std::string("{}"), Source("tests/golden/alternating-f32/generation_config.json")}) {
    const auto config = ParseGenerationConfig(text, 160);
    ASSERT_TRUE(config) << text;
    EXPECT_FALSE(config->max_new_tokens || config->steps || config->entropy_bound || config->t_min || config->t_max ||
                 config->stability || config->confidence || config->eos_tokens);
  }
  const auto starter = ParseGenerationConfig(Source("models/starter/generation_config.json"), 512);
  ASSERT_TRUE(starter);
  EXPECT_EQ(starter->max_new_tokens, 48);
}

}  // namespace
}  // namespace dgemma::test
