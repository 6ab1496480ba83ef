// What config.json may not say: one case for each rule. A message names the field with its section, then the rule, on one line.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/config.h"
#include "model/config_text.h"
#include "model/kv_cache.h"
#include "model/tensor_list.h"

namespace dgemma::test {
namespace {

struct Refusal {
  const char* rule;     // name of the case
  const char* path;     // field that is changed in the released configuration
  const char* value;    // its JSON text; "" removes it
  const char* message;  // what the message starts with
  StatusCode code = StatusCode::kInvalidFile;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.path << " = " << refusal.value; }

std::string CaseName(const testing::TestParamInfo<Refusal>& info) { return info.param.rule; }

void ExpectRefused(const Status& status, const Refusal& refusal) {
  EXPECT_TRUE(status.message.starts_with(refusal.message)) << status.message;
  EXPECT_EQ(status.code, refusal.code) << status.message;
  EXPECT_LT(status.message.size(), 250u);
  EXPECT_TRUE(std::ranges::all_of(status.message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }))
      << status.message;
}

class ConfigRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(ConfigRefusal, NamesTheFieldAndTheRule) {
  const auto config = ParseConfig(Changed(ReleasedJson(Geometry::kPerLayer), GetParam().path, GetParam().value));
  ASSERT_FALSE(config);
  ExpectRefused(config.error(), GetParam());
}

constexpr StatusCode kUnsupported = StatusCode::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    Missing, ConfigRefusal,
    testing::Values(
        Refusal{"NumExperts", "text_config.num_experts", "", "text_config.num_experts: missing (required)"},
        Refusal{"NumExpertsNull", "text_config.num_experts", "null", "text_config.num_experts: missing (required)"},
        Refusal{"TopK", "text_config.top_k_experts", "", "text_config.top_k_experts: missing (required)"},
        Refusal{"ExpertSize", "text_config.moe_intermediate_size", "", "text_config.moe_intermediate_size: missing"},
        Refusal{"TextConfig", "text_config", "", "text_config: missing (required)"},
        Refusal{"ModelType", "model_type", "", "model_type: must be diffusion_gemma", kUnsupported}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    WrongKind, ConfigRefusal,
    testing::Values(
        Refusal{"StringForInteger", "text_config.hidden_size", R"("2816")",
                "text_config.hidden_size: must be an integer in 1..131072"},
        Refusal{"RealForInteger", "text_config.num_experts", "128.0", "text_config.num_experts: must be an integer"},
        Refusal{"TruthForInteger", "canvas_length", "true", "canvas_length: must be an integer"},
        Refusal{"ListForInteger", "text_config.head_dim", "[256]", "text_config.head_dim: must be an integer"},
        Refusal{"StringForReal", "text_config.rms_norm_eps", R"("1e-6")", "text_config.rms_norm_eps: must be a number"},
        Refusal{"StringForTruth", "tie_word_embeddings", R"("true")", "tie_word_embeddings: must be true or false"},
        Refusal{"IntegerForTruth", "text_config.attention_bias", "0",
                "text_config.attention_bias: must be true or false"},
        Refusal{"IntegerForString", "text_config.hidden_activation", "3",
                "text_config.hidden_activation: must be a string"},
        Refusal{"IntegerForModelType", "model_type", "3", "model_type: must be a string"},
        Refusal{"ListForSection", "text_config", "[]", "text_config: must be an object"},
        Refusal{"StringForVision", "vision_config", R"("none")", "vision_config: must be an object"},
        Refusal{"StringForLayerTypes", "text_config.layer_types", R"("full_attention")",
                "text_config.layer_types: must be a list"},
        Refusal{"IntegerInLayerTypes", "text_config.layer_types", "[1]",
                "text_config.layer_types: must be a list of strings"},
        Refusal{"ListForPerLayer", "text_config.per_layer_config", "[]",
                "text_config.per_layer_config: must be an object"},
        Refusal{"IntegerForPerLayerEntry", "text_config.per_layer_config.5", "512",
                "text_config.per_layer_config.5: must be an object"},
        Refusal{"StringForRope", "text_config.rope_parameters", R"("yarn")",
                "text_config.rope_parameters: must be an object"},
        Refusal{"StringForStopToken", "eos_token_id", R"(["1"])", "eos_token_id: must be token ids in 0..262143"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    OutOfRange, ConfigRefusal,
    testing::Values(
        Refusal{"Zero", "text_config.hidden_size", "0", "text_config.hidden_size: 0 is out of range (1..131072)"},
        Refusal{"Negative", "text_config.num_attention_heads", "-16",
                "text_config.num_attention_heads: -16 is out of range"},
        Refusal{"Huge", "text_config.vocab_size", "1e30", "text_config.vocab_size: must be an integer in 1..16777216"},
        Refusal{"Past64Bits", "text_config.vocab_size", "18446744073709551615",
                "text_config.vocab_size: must be an integer in"},
        Refusal{"Largest63Bits", "text_config.head_dim", "9223372036854775807",
                "text_config.head_dim: 9223372036854775807 is out"},
        Refusal{"ManyLayers", "text_config.num_hidden_layers", "2147483647",
                "text_config.num_hidden_layers: 2147483647 is out"},
        Refusal{"NoLayers", "text_config.num_hidden_layers", "0",
                "text_config.num_hidden_layers: 0 is out of range (1..1024)"},
        Refusal{"NoExperts", "text_config.num_experts", "0", "text_config.num_experts: 0 is out of range"},
        Refusal{"NoWindow", "text_config.sliding_window", "0", "text_config.sliding_window: 0 is out of range"},
        Refusal{"NoCanvas", "canvas_length", "0", "canvas_length: 0 is out of range"},
        Refusal{"LongCanvas", "canvas_length", "65537", "canvas_length: 65537 is out of range (1..65536)"},
        Refusal{"ManyPositions", "text_config.max_position_embeddings", "16777217",
                "text_config.max_position_embeddings: 16777217"},
        Refusal{"NoEps", "text_config.rms_norm_eps", "0", "text_config.rms_norm_eps: must be a number in"},
        Refusal{"NoCap", "text_config.final_logit_softcapping", "0.0",
                "text_config.final_logit_softcapping: must be a number in"},
        Refusal{"NegativeCap", "text_config.final_logit_softcapping", "-30",
                "text_config.final_logit_softcapping: must be a number"},
        Refusal{"HugeCap", "text_config.final_logit_softcapping", "1e300",
                "text_config.final_logit_softcapping: must be a number"},
        Refusal{"Theta", "text_config.rope_parameters.sliding_attention.rope_theta", "0",
                "text_config.rope_parameters.sliding_attention.rope_theta: must be a number in"},
        Refusal{"Share", "text_config.rope_parameters.full_attention.partial_rotary_factor", "1.5",
                "text_config.rope_parameters.full_attention.partial_rotary_factor: must be a number in"},
        Refusal{"StopToken", "eos_token_id", "[262144]", "eos_token_id: must be token ids in 0..262143"},
        Refusal{"ImageToken", "image_token_id", "-1", "image_token_id: -1 is out of range"},
        Refusal{"ImagePastTheVocabulary", "image_token_id", "262144",
                "image_token_id: 262144 is out of range (0..262143)"},
        Refusal{"ImageBegin", "boi_token_id", "262144", "boi_token_id: 262144 is out of range (0..262143)"},
        Refusal{"ImageEnd", "eoi_token_id", "262144", "eoi_token_id: 262144 is out of range (0..262143)"},
        Refusal{"Start", "text_config.bos_token_id", "262144",
                "text_config.bos_token_id: 262144 is out of range (0..262143)"},
        Refusal{"Padding", "text_config.pad_token_id", "262144",
                "text_config.pad_token_id: 262144 is out of range (0..262143)"},
        Refusal{"VisionLayers", "vision_config.num_hidden_layers", "1025",
                "vision_config.num_hidden_layers: 1025 is out of range"},
        Refusal{"VisionPatch", "vision_config.patch_size", "100000",
                "vision_config.patch_size: 100000 is out of range"},
        Refusal{"PerLayerHead", "text_config.per_layer_config.5.head_dim", "-2",
                "text_config.per_layer_config.5.head_dim: -2 is out of range"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Contradiction, ConfigRefusal,
    testing::Values(
        Refusal{"LayerTypesLength", "text_config.num_hidden_layers", "29",
                "text_config.layer_types: has 30 entries, num_hidden_layers is 29"},
        Refusal{"LayerTypesEmpty", "text_config.layer_types", "[]", "text_config.layer_types: has 0 entries"},
        Refusal{"MoreActiveThanExperts", "text_config.top_k_experts", "129",
                "text_config.top_k_experts: 129 exceeds num_experts 128"},
        Refusal{"HeadsNotInGroups", "text_config.num_key_value_heads", "5",
                "text_config.num_key_value_heads: 5 of layer 0 does not divide num_attention_heads 16"},
        Refusal{"MoreKvHeadsThanHeads", "text_config.per_layer_config.11.num_key_value_heads", "32",
                "text_config.num_key_value_heads: 32 of layer 11 does not divide"},
        Refusal{"PerLayerBeyondTheLayers", "text_config.per_layer_config.30", "{}",
                "text_config.per_layer_config.30: is not a layer (0..29)"},
        Refusal{"PerLayerNegative", "text_config.per_layer_config.-1", "{}",
                "text_config.per_layer_config.-1: is not a layer"},
        Refusal{"PerLayerMinusZero", "text_config.per_layer_config.-0", "{}",
                "text_config.per_layer_config.-0: is not a layer"},
        Refusal{"PerLayerWord", "text_config.per_layer_config.five", "{}",
                "text_config.per_layer_config.five: is not a layer"},
        Refusal{"PerLayerUnprintable", "text_config.per_layer_config", R"({"a\nb\u0000": {}})",
                "text_config.per_layer_config.a?b?: is not"},
        Refusal{"PerLayerTwice", "text_config.per_layer_config.05", "{}",
                "text_config.per_layer_config.05: names a layer that another"},
        Refusal{"OddHead", "text_config.head_dim", "255", "text_config.head_dim: 255 of layer 0 must be even"},
        Refusal{"HeadSizesWithinAKind", "text_config.per_layer_config.3", R"({"head_dim": 64})",
                "text_config.head_dim: 64 of layer 3 differs from 256 of another sliding_attention layer",
                kUnsupported},
        Refusal{"NothingRotates", "text_config.rope_parameters.full_attention.partial_rotary_factor", "0.0",
                "text_config.rope_parameters.full_attention.partial_rotary_factor: rotates nothing"},
        Refusal{"ShareOfThePlainForm", "text_config.rope_parameters.sliding_attention.partial_rotary_factor", "0.5",
                "text_config.rope_parameters.sliding_attention.partial_rotary_factor: must be 1 for rope_type default"},
        Refusal{"FactorOfThePlainForm", "text_config.rope_parameters.sliding_attention.factor", "2.0",
                "text_config.rope_parameters.sliding_attention.factor: must be 1 for rope_type default"}),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Unsupported, ConfigRefusal,
    testing::Values(
        Refusal{"ModelType", "model_type", R"("gemma\n4")", "model_type: must be diffusion_gemma, is \"gemma?4\"",
                kUnsupported},
        Refusal{"Activation", "text_config.hidden_activation", R"("silu")",
                "text_config.hidden_activation: only gelu_pytorch_tanh is supported", kUnsupported},
        Refusal{"Bias", "text_config.attention_bias", "true", "text_config.attention_bias: true is not supported",
                kUnsupported},
        Refusal{"Untied", "tie_word_embeddings", "false", "tie_word_embeddings: false is not supported", kUnsupported},
        Refusal{"UntiedText", "text_config.tie_word_embeddings", "false", "text_config.tie_word_embeddings: false is",
                kUnsupported},
        Refusal{"Rope", "text_config.rope_parameters.full_attention.rope_type", R"("yarn")",
                "text_config.rope_parameters.full_attention.rope_type: \"yarn\" is not supported", kUnsupported},
        Refusal{"BothWays", "text_config.use_bidirectional_attention", R"("all")",
                "text_config.use_bidirectional_attention: only \"vision\" or null is supported", kUnsupported},
        Refusal{"NoSoftcap", "text_config.final_logit_softcapping", "null",
                "text_config.final_logit_softcapping: null (no softcap) is not supported", kUnsupported},
        Refusal{"LayerType", "text_config.layer_types", R"(["linear_attention"])",
                "text_config.layer_types: has 1 entries"}),
    CaseName);

TEST(ConfigRefusals, LayerTypesOfAnotherKind) {
  const std::string text =
      Changed(boost::json::parse(Changed(MinimalJson(), "text_config.num_hidden_layers", "1")).as_object(),
              "text_config.layer_types", R"(["linear_attention"])");
  const auto config = ParseConfig(text);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message, "text_config.layer_types: entries must be sliding_attention or full_attention");
}

TEST(ConfigRefusals, TextsThatAreNoObject) {
  for (const char* text : {"", "[]", "3", "{", "{\"model_type\": NaN}", "{\"a\":1,\"a\":2}"}) {
    EXPECT_FALSE(ParseConfig(text)) << text;
    EXPECT_FALSE(ParseGenerationConfig(text, 160)) << text;
  }
}

class GenerationRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(GenerationRefusal, NamesTheFieldAndTheRule) {
  const auto config = ParseGenerationConfig(Changed({}, GetParam().path, GetParam().value), 107);
  ASSERT_FALSE(config);
  ExpectRefused(config.error(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Rules, GenerationRefusal,
    testing::Values(
        Refusal{"Sampler", "sampler_config._cls_name", R"("ConfidenceSampler")",
                "sampler_config._cls_name: only EntropyBoundSamplerConfig is supported", kUnsupported},
        Refusal{"SamplerKind", "sampler_config", "3", "sampler_config: must be an object"},
        Refusal{"NoSteps", "max_denoising_steps", "0", "max_denoising_steps: 0 is out of range (1..4096)"},
        Refusal{"ManySteps", "max_denoising_steps", "4097", "max_denoising_steps: 4097 is out of range"},
        Refusal{"HalfAStep", "max_denoising_steps", "1.5", "max_denoising_steps: must be an integer"},
        Refusal{"NoTokens", "max_new_tokens", "0", "max_new_tokens: 0 is out of range"},
        Refusal{"NegativeTemperature", "t_min", "-0.1", "t_min: must be a number in"},
        Refusal{"Bound", "sampler_config.entropy_bound", "0", "sampler_config.entropy_bound: must be a number in"},
        Refusal{"Stability", "stability_threshold", "-1", "stability_threshold: -1 is out of range"},
        Refusal{"Confidence", "confidence_threshold", "-1", "confidence_threshold: must be a number in"},
        Refusal{"StopTokens", "eos_token_id", "[1, -1]", "eos_token_id: must be token ids in 0..106"},
        Refusal{"StopTokenPastTheVocabulary", "eos_token_id", "[1, 107]", "eos_token_id: must be token ids in 0..106"},
        Refusal{"Padding", "pad_token_id", "107", "pad_token_id: 107 is out of range (0..106)"}),
    CaseName);

TEST(HostileSizes, ManyStopTokensAreRefused) {
  std::string ids = "[0";
  for (int i = 0; i < 64; ++i) ids += ",0";
  const auto config = ParseConfig(Changed(MinimalJson(), "eos_token_id", ids + "]"));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message, "eos_token_id: has more than 64 ids");
}

TEST(HostileSizes, ManySpellingsOfOneLayerCostNothing) {
  std::string entries = R"({"0": {})";
  std::string zeros;
  for (int i = 0; i < 1000; ++i) entries += ", \"" + (zeros += "0") + "0\": {}";
  const auto config = ParseConfig(Changed(MinimalJson(), "text_config.per_layer_config", entries + "}"));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message, "text_config.per_layer_config.00: names a layer that another key names too");
}

/// Every size at its limit. What follows from an accepted configuration must fit 63 bits, in values, bytes and sums.
TEST(HostileSizes, TheLargestAcceptedModelOverflowsNothing) {
  const auto config = ParseConfig(R"({"model_type": "diffusion_gemma", "canvas_length": 65536,
    "text_config": {"vocab_size": 16777216, "hidden_size": 131072, "intermediate_size": 131072, "num_hidden_layers": 1024,
      "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 8192, "global_head_dim": 8192,
      "num_experts": 4096, "top_k_experts": 4096, "moe_intermediate_size": 131072, "sliding_window": 16777216,
      "max_position_embeddings": 16777216},
    "vision_config": {"hidden_size": 131072, "intermediate_size": 131072, "num_hidden_layers": 1024,
      "num_attention_heads": 4096, "num_key_value_heads": 4096, "head_dim": 8192, "patch_size": 1024,
      "pooling_kernel_size": 64, "position_embedding_size": 131072, "standardize": true, "use_clipped_linears": true}})");
  ASSERT_TRUE(config) << config.error().message;
  const std::vector<TensorSpec> specs = ListTensors(*config);
  EXPECT_EQ(specs.size(), 171u * 22 + 853u * 23 + 6 + 1024u * 41 + 5) << "full, sliding, text root, tower, tower root";
  __extension__ using Wide = unsigned __int128;
  constexpr Wide kMost = INT64_MAX;
  Wide total = 0;
  for (const TensorSpec& spec : specs) {
    Wide values = 1;
    for (uint64_t size : spec.shape) values *= size;
    EXPECT_EQ(values, spec.Values()) << spec.name;
    total += values;
  }
  EXPECT_LE(total * 4, kMost) << "bytes as float32";
  Wide cache = 0;
  for (const LayerConfig& layer : config->layers) {
    cache += Wide{2} * static_cast<uint64_t>(layer.kv_heads * layer.head_size) *
             static_cast<uint64_t>(config->max_positions) * 4;
  }
  EXPECT_LE(cache, kMost);
  EXPECT_EQ(static_cast<Wide>(KvCache::PlannedBytes(*config, config->max_positions, 65'536)), cache);
}

}  // namespace
}  // namespace dgemma::test
