// The list of tensors against the published checkpoint's totals and the files of this repository; what CheckTensors and
// LoadWeights refuse.
#include "model/tensor_list.h"
#include "model/stored_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "engine/loaded_model.h"
#include "kernels/ref/ref_kernels.h"
#include "model/config_text.h"
#include "model/weights.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

using Shape = std::vector<uint64_t>;

std::map<std::string, Shape> Released() {
  const auto config = ParseConfig(ReleasedText(Geometry::kPerLayer));
  EXPECT_TRUE(config) << config.error().message;
  std::map<std::string, Shape> list;
  for (const TensorSpec& spec : ListTensors(*config))
    EXPECT_TRUE(list.emplace(spec.name, spec.shape).second) << spec.name;
  return list;
}

TEST(TensorList, HasTheReleasedModelsTensorsAndBytes) {
  int text = 0, vision = 0, projector = 0, diffusion = 0;
  uint64_t bytes = 0;
  for (const auto& [name, shape] : Released()) {
    if (name.starts_with("model.decoder.self_conditioning.") || name.starts_with("model.encoder.language_model."))
      ++diffusion;
    else if (name.starts_with("model.decoder."))
      ++text;
    else if (name.starts_with("model.encoder.vision_tower."))
      ++vision;
    else if (name.starts_with("model.encoder.embed_vision."))
      ++projector;
    uint64_t values = 1;
    for (uint64_t size : shape) values *= size;
    bytes += 2 * values;  // all BF16
  }
  EXPECT_EQ(Released().size(), 1047u);
  EXPECT_EQ(text, 657);
  EXPECT_EQ(vision, 355);
  EXPECT_EQ(projector, 1);
  EXPECT_EQ(diffusion, 34);
  EXPECT_EQ(bytes, 51'647'562'456u) << "total_size of the published index";
}

TEST(TensorList, ShapesOfTheReleasedModel) {
  const auto list = Released();
  const std::map<std::string, Shape> expected = {
      {"model.decoder.embed_tokens.weight", {262'144, 2816}},
      {"model.decoder.norm.weight", {2816}},
      {"model.decoder.layers.0.self_attn.q_proj.weight", {4096, 2816}},
      {"model.decoder.layers.0.self_attn.k_proj.weight", {2048, 2816}},
      {"model.decoder.layers.0.self_attn.v_proj.weight", {2048, 2816}},
      {"model.decoder.layers.0.self_attn.o_proj.weight", {2816, 4096}},
      {"model.decoder.layers.0.self_attn.q_norm.weight", {256}},
      {"model.decoder.layers.5.self_attn.q_proj.weight", {8192, 2816}},
      {"model.decoder.layers.5.self_attn.k_proj.weight", {1024, 2816}},
      {"model.decoder.layers.5.self_attn.o_proj.weight", {2816, 8192}},
      {"model.decoder.layers.29.self_attn.k_norm.weight", {512}},
      {"model.decoder.layers.29.mlp.gate_proj.weight", {2112, 2816}},
      {"model.decoder.layers.29.mlp.down_proj.weight", {2816, 2112}},
      {"model.decoder.layers.29.router.scale", {2816}},
      {"model.decoder.layers.29.router.proj.weight", {128, 2816}},
      {"model.decoder.layers.29.router.per_expert_scale", {128}},
      {"model.decoder.layers.29.experts.gate_up_proj", {128, 1408, 2816}},
      {"model.decoder.layers.29.experts.down_proj", {128, 2816, 704}},
      {"model.decoder.layers.29.layer_scalar", {1}},
      {"model.encoder.language_model.layers.29.layer_scalar", {1}},
      {"model.decoder.self_conditioning.pre_norm.weight", {2816}},
      {"model.decoder.self_conditioning.down_proj.weight", {2816, 2112}},
      {"model.encoder.vision_tower.patch_embedder.input_proj.weight", {1152, 768}},
      {"model.encoder.vision_tower.patch_embedder.position_embedding_table", {2, 10'240, 1152}},
      {"model.encoder.vision_tower.std_scale", {1152}},
      {"model.encoder.vision_tower.encoder.layers.26.self_attn.o_proj.linear.weight", {1152, 1152}},
      {"model.encoder.vision_tower.encoder.layers.26.self_attn.q_norm.weight", {72}},
      {"model.encoder.vision_tower.encoder.layers.26.mlp.up_proj.linear.weight", {4304, 1152}},
      {"model.encoder.embed_vision.embedding_projection.weight", {2816, 1152}},
  };
  for (const auto& [name, shape] : expected) {
    ASSERT_TRUE(list.contains(name)) << name;
    EXPECT_EQ(list.at(name), shape) << name;
  }
  for (int layer = 0; layer < 30; ++layer) {
    const std::string name = "model.decoder.layers." + std::to_string(layer) + ".self_attn.v_proj.weight";
    EXPECT_EQ(list.contains(name), layer % 6 != 5) << name << ": full layers use the K projection";
  }
}

TEST(TensorList, NamesAreThoseOfTheRepositorysCheckpoints) {
  for (const char* folder : {"models/starter", "tests/golden/alternating-f32", "tests/golden/alternating-bf16",
                             "tests/golden/fivetoone-bf16"}) {
    const auto files = OpenCheckpoint(std::string(DGEMMA_SOURCE_DIR) + "/" + folder);
    ASSERT_TRUE(files) << files.error().message;
    const auto config = ReadConfig(*files);  // includes CheckTensors
    ASSERT_TRUE(config) << config.error().message;
    std::set<std::string> listed, stored;
    for (const TensorSpec& spec : ListTensors(*config)) listed.insert(spec.name);
    for (const TensorBytes& tensor : files->tensors()) stored.insert(std::string(tensor.name));
    EXPECT_EQ(listed, stored) << folder;
  }
}

TEST(TensorList, ClippedLinearsAddTheirBounds) {
  const auto config =
      ParseConfig(Changed(ReleasedJson(Geometry::kPerLayer), "vision_config.use_clipped_linears", "true"));
  ASSERT_TRUE(config);
  EXPECT_EQ(ListTensors(*config).size(), 1047u + 27 * 7 * 4);
}

/// A checkpoint of a two-layer model written into memory; tests change single tensors before it is read back.
class CheckTensorsTest : public testing::Test {
 protected:
  struct Tensor {
    std::string dtype = "F32";
    Shape shape;
    float value = 1.0f;  // of all values, F32 or BF16
  };

  CheckTensorsTest() {
    const auto parsed =
        ParseConfig(R"({"model_type": "diffusion_gemma", "canvas_length": 4, "text_config": {"vocab_size": 8,
      "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
      "layer_types": ["sliding_attention", "full_attention"], "head_dim": 2, "global_head_dim": 8, "num_experts": 3,
      "top_k_experts": 1, "moe_intermediate_size": 2}})");
    config_ = parsed.value();
    for (const TensorSpec& spec : ListTensors(config_)) tensors_[spec.name] = {"F32", spec.shape};
  }

  CheckpointFiles Files() const {
    std::string header, data;
    for (const auto& [name, tensor] : tensors_) {
      const size_t begin = data.size(), value_bytes = BytesPerValue(*DTypeFromName(tensor.dtype));
      uint64_t values = 1;
      std::string shape;
      for (uint64_t size : tensor.shape) {
        values *= size;
        shape += (shape.empty() ? "" : ",") + std::to_string(size);
      }
      const uint64_t bits = std::bit_cast<uint32_t>(tensor.value);  // its upper half is bfloat16
      for (uint64_t i = 0; i < values; ++i) {
        const size_t skipped = 4 - std::min<size_t>(4, value_bytes);
        for (size_t byte = 0; byte < value_bytes; ++byte)
          data += static_cast<char>(bits >> (8 * (byte + skipped)) & 0xff);
      }
      header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":")" + tensor.dtype + R"(","shape":[)" + shape +
                R"(],"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
    }
    header += "}";
    std::string file(8, '\0');
    const uint64_t length = header.size();
    std::memcpy(file.data(), &length, 8);
    const auto files = CheckpointFromMemory({OwnedBlob("model.safetensors", file + header + data)});
    EXPECT_TRUE(files) << files.error().message;
    return *files;
  }
  void ExpectRefused(StatusCode code, const std::string& message) const {
    const auto result = CheckTensors(Files(), config_);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, message);
    EXPECT_EQ(result.error().code, code);
  }

  Config config_;
  std::map<std::string, Tensor> tensors_;
};

TEST_F(CheckTensorsTest, AcceptsTheListInEveryWeightType) {
  EXPECT_TRUE(CheckTensors(Files(), config_));
  for (const char* dtype : {"BF16", "F16"}) {
    for (auto& [name, tensor] : tensors_) tensor.dtype = dtype;
    EXPECT_TRUE(CheckTensors(Files(), config_)) << dtype;
  }
}

TEST_F(CheckTensorsTest, NamesAMissingTensor) {
  for (const char* name : {"model.decoder.norm.weight", "model.decoder.layers.0.self_attn.v_proj.weight",
                           "model.encoder.language_model.layers.1.layer_scalar"}) {
    const auto node = tensors_.extract(name);
    ExpectRefused(StatusCode::kNotFound, std::string("model.safetensors: has no tensor \"") + name + "\"");
    tensors_[name] = node.mapped();
  }
}

TEST_F(CheckTensorsTest, NamesAWrongShape) {
  Tensor& tensor = tensors_["model.decoder.layers.1.experts.down_proj"];
  for (const auto& [shape, shown] : std::vector<std::pair<Shape, std::string>>{
           {{3, 2, 4}, "3, 2, 4"}, {{12, 2}, "12, 2"}, {{3, 4, 2, 1}, "3, 4, 2, 1"}, {{0}, "0"}, {{}, ""}}) {
    tensor.shape = shape;
    ExpectRefused(StatusCode::kInvalidFile, "model.safetensors: model.decoder.layers.1.experts.down_proj: shape [" +
                                                shown + "] differs from the configuration's [3, 4, 2]");
  }
}

TEST_F(CheckTensorsTest, NamesATypeThatIsNoWeightType) {
  for (const char* dtype : {"F64", "I32", "F8_E4M3", "U8"}) {
    tensors_["model.decoder.norm.weight"].dtype = dtype;
    ExpectRefused(StatusCode::kUnsupported, std::string("model.safetensors: model.decoder.norm.weight: type ") + dtype +
                                                " is not supported (F32, BF16, F16)");
  }
}

TEST_F(CheckTensorsTest, NamesATensorThatTheModelHasNot) {
  for (const char* name :
       {"model.decoder.layers.1.self_attn.v_proj.weight", "model.decoder.layers.2.layer_scalar",
        "model.encoder.language_model.layers.2.layer_scalar", "lm_head.bias", "model.encoder.vision_tower.std_bias"}) {
    tensors_[name] = {"F32", {1}};
    ExpectRefused(StatusCode::kInvalidFile,
                  std::string("model.safetensors: \"") + name + "\": no such tensor in this model");
    tensors_.erase(name);
  }
}

TEST_F(CheckTensorsTest, AcceptsTiedCopies) {
  for (const char* name :
       {"lm_head.weight", "model.encoder.language_model.embed_tokens.weight",
        "model.encoder.language_model.norm.weight", "model.encoder.language_model.layers.0.self_attn.q_proj.weight"}) {
    EXPECT_TRUE(IsTiedName(name)) << name;
    tensors_[name] = {"F32", {1}};
  }
  EXPECT_TRUE(CheckTensors(Files(), config_));
  EXPECT_FALSE(IsTiedName("model.encoder.language_model.layers.0.layer_scalar"))
      << "encoder scalars are tensors of their own";
}

TEST_F(CheckTensorsTest, LoadingRefusesVectorsThatAreNotFinite) {
  const auto kernels = MakeRefKernels({});
  ASSERT_TRUE(LoadWeights(Files(), config_, *kernels, {}));
  for (const char* name :
       {"model.decoder.norm.weight", "model.decoder.layers.0.self_attn.q_norm.weight",
        "model.decoder.layers.1.router.per_expert_scale", "model.encoder.language_model.layers.1.layer_scalar"}) {
    for (const char* dtype : {"F32", "BF16"}) {
      for (float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        const Tensor before = std::exchange(tensors_[name], {dtype, tensors_[name].shape, value});
        const auto weights = LoadWeights(Files(), config_, *kernels, {});
        ASSERT_FALSE(weights) << name;
        EXPECT_EQ(weights.error().message, std::string(name) + ": holds NaN or infinity");
        EXPECT_EQ(weights.error().code, StatusCode::kInvalidFile);
        tensors_[name] = before;
      }
    }
  }
}

TEST_F(CheckTensorsTest, LoadingFillsEveryFieldWithItsTensor) {
  float value = 1;
  for (auto& [name, tensor] : tensors_) tensor.value = value++;
  const auto kernels = MakeRefKernels({});
  int64_t reported = 0;
  const CheckpointFiles files = Files();
  const auto weights = LoadWeights(files, config_, *kernels, [&](int64_t done, int64_t total) {
    EXPECT_GT(done, reported);
    EXPECT_LE(done, total);
    reported = done;
  });
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(reported, PlannedWeightBytes(PlanWeights(files, config_, *kernels)));
  const auto expect = [&](const Weight& weight, const std::string& name) {
    EXPECT_EQ(weight.Vector()[0], tensors_[name].value) << name;
  };
  expect(weights->embedding, "model.decoder.embed_tokens.weight");
  expect(weights->final_norm, "model.decoder.norm.weight");
  expect(weights->self_conditioning.down, "model.decoder.self_conditioning.down_proj.weight");
  expect(weights->self_conditioning_norm, "model.decoder.self_conditioning.pre_norm.weight");
  const LayerWeights& layer = weights->layers[1];
  const std::string at = "model.decoder.layers.1.";
  expect(layer.input_norm, at + "input_layernorm.weight");
  expect(layer.qkv.q, at + "self_attn.q_proj.weight");
  expect(layer.post_attention_norm, at + "post_attention_layernorm.weight");
  expect(layer.pre_dense_norm, at + "pre_feedforward_layernorm.weight");
  expect(layer.pre_experts_norm, at + "pre_feedforward_layernorm_2.weight");
  expect(layer.branch_norms.dense, at + "post_feedforward_layernorm_1.weight");
  expect(layer.branch_norms.experts, at + "post_feedforward_layernorm_2.weight");
  expect(layer.branch_norms.joined, at + "post_feedforward_layernorm.weight");
  expect(layer.experts.gate_up, at + "experts.gate_up_proj");
  EXPECT_EQ(layer.decoder_scalar, tensors_[at + "layer_scalar"].value);
  EXPECT_EQ(layer.encoder_scalar, tensors_["model.encoder.language_model.layers.1.layer_scalar"].value);
  EXPECT_FALSE(layer.qkv.v.present());
  EXPECT_TRUE(weights->layers[0].qkv.v.present());
}

}  // namespace
}  // namespace dgemma::test
