// Reading and writing adapters: what the ways of writing one mean, what is refused and why, and that what is written
// reads back.
#include "model/adapter_files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "files/gguf_writer.h"
#include "support/adapter_fixtures.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

constexpr const char* kPlain = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6})";
const std::string kDecoder = "base_model.model.model.decoder.layers.0.";

/// A tensor of a made-up file: values 1, 2, 3, ... / 8, or those given.
struct Made {
  std::vector<uint64_t> shape;
  DType dtype = DType::kF32;
  std::vector<float> values = {};
};

using MadeFile = std::map<std::string, Made>;

/// A PEFT folder that is removed with the object.
class MadeAdapter {
 public:
  explicit MadeAdapter(MadeFile tensors, std::string_view settings = kPlain) {
    std::vector<TensorToWrite> writing;
    for (auto& [name, made] : tensors) {
      const size_t count = std::accumulate(made.shape.begin(), made.shape.end(), size_t{1}, std::multiplies<>());
      if (made.values.empty()) {
        for (size_t i = 0; i < count; ++i) made.values.push_back(static_cast<float>(i + 1) / 8);
      }
      auto& stored = bytes_.emplace_back(count * BytesPerValue(made.dtype));
      for (size_t i = 0; i < count; ++i) {
        const uint16_t half = made.dtype == DType::kBF16 ? ToBf16(made.values[i]) : ToF16(made.values[i]);
        if (BytesPerValue(made.dtype) == 4) std::memcpy(stored.data() + 4 * i, &made.values[i], 4);
        if (BytesPerValue(made.dtype) == 2) std::memcpy(stored.data() + 2 * i, &half, 2);
      }
      writing.push_back(TensorFromMemory(name, made.dtype, made.shape, stored));
    }
    root_.Add("adapter_config.json", settings);
    EXPECT_TRUE(WriteSafetensors(root_.path() / "adapter_model.safetensors", std::move(writing)));
  }
  std::filesystem::path path() const { return root_.path(); }

 private:
  TempFolder root_;
  std::vector<std::vector<std::byte>> bytes_;
};

const Config& Small() {
  static const Config config = ConfigOf("alternating-f32");
  return config;
}

/// A pair of one module.
MadeFile Pair(const std::string& module, std::vector<uint64_t> down, std::vector<uint64_t> up) {
  return {{module + ".lora_A.weight", {std::move(down)}}, {module + ".lora_B.weight", {std::move(up)}}};
}

MadeFile Joined(MadeFile a, const MadeFile& b) {
  a.insert(b.begin(), b.end());
  return a;
}

void ExpectRefused(const std::filesystem::path& path, StatusCode code, const std::vector<std::string>& named) {
  const auto adapter = ReadAdapter(path, Small());
  ASSERT_FALSE(adapter) << "expected: " << named.front();
  EXPECT_EQ(adapter.error().code, code) << adapter.error().message;
  for (const std::string& text : named)
    EXPECT_NE(adapter.error().message.find(text), std::string::npos) << adapter.error().message << "\nlacks " << text;
  EXPECT_EQ(adapter.error().message.find('\n'), std::string::npos);
}

void ExpectRefused(const MadeFile& tensors, StatusCode code, const std::vector<std::string>& named,
                   std::string_view settings = kPlain) {
  ExpectRefused(MadeAdapter(tensors, settings).path(), code, named);
}

void ExpectSame(const Adapter& actual, const Adapter& expected) {
  ASSERT_EQ(actual.deltas.size(), expected.deltas.size());
  for (size_t i = 0; i < actual.deltas.size(); ++i) {
    const AdapterDelta &a = actual.deltas[i], &b = expected.deltas[i];
    EXPECT_EQ(a.tensor, b.tensor);
    EXPECT_EQ(a.role, b.role) << a.tensor;
    EXPECT_EQ(a.rank, b.rank) << a.tensor;
    EXPECT_EQ(a.scale, b.scale) << a.tensor;
    EXPECT_EQ(a.down, b.down) << a.tensor;
    EXPECT_EQ(a.up, b.up) << a.tensor;
  }
}

// ---- what files mean ------------------------------------------------------------------------------------------------

TEST(AdapterFiles, RolesRanksAndScalesOfEveryModule) {
  const MadeAdapter made(
      Joined(Joined(Pair(kDecoder + "self_attn.q_proj", {2, 48}, {64, 2}),
                    Pair(kDecoder + "router.proj", {3, 48}, {8, 3})),
             Pair("base_model.model.model.encoder.language_model.layers.0.mlp.down_proj", {2, 40}, {48, 2})),
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "rank_pattern": {"router.proj": 3},
          "alpha_pattern": {"(up|down)_proj": 1.5}})");
  const auto adapter = ReadAdapter(made.path(), Small());
  ASSERT_TRUE(adapter) << adapter.error().message;
  ASSERT_EQ(adapter->deltas.size(), 3u);
  const AdapterDelta &q = adapter->deltas[0], &down = adapter->deltas[1], &router = adapter->deltas[2];
  EXPECT_EQ(q.tensor, "model.decoder.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q.role, DeltaRole::kDecoder);
  EXPECT_EQ(q.scale, 3);
  EXPECT_EQ(q.down[48], 49 / 8.0f) << "[rank, in]";
  EXPECT_EQ(q.up[3], 4 / 8.0f) << "[out, rank]";
  EXPECT_EQ(down.tensor, "model.decoder.layers.0.mlp.down_proj.weight") << "the shared weight, whatever the role";
  EXPECT_EQ(down.role, DeltaRole::kEncoder);
  EXPECT_EQ(down.scale, 0.75f);
  EXPECT_EQ(router.rank, 3);
  EXPECT_EQ(router.scale, 2);
}

TEST(AdapterFiles, RankStabilisedScalesWithTheRoot) {
  const MadeAdapter made(Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2}),
                         R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "use_rslora": true})");
  EXPECT_EQ(ReadAdapter(made.path(), Small())->deltas[0].scale, static_cast<float>(6 / std::sqrt(2.0)));
}

TEST(AdapterFiles, EqualRolesAreOneDelta) {
  const std::string encoder = "base_model.model.model.encoder.language_model.layers.0.self_attn.o_proj";
  MadeFile file = Joined(Pair(kDecoder + "self_attn.o_proj", {2, 64}, {48, 2}), Pair(encoder, {2, 64}, {48, 2}));
  const auto alike = ReadAdapter(MadeAdapter(file).path(), Small());
  ASSERT_TRUE(alike);
  ASSERT_EQ(alike->deltas.size(), 1u);
  EXPECT_EQ(alike->deltas[0].role, DeltaRole::kBoth);
  file[encoder + ".lora_B.weight"].values.assign(96, 0.5f);
  const auto apart = ReadAdapter(MadeAdapter(file).path(), Small());
  ASSERT_EQ(apart->deltas.size(), 2u);
  EXPECT_EQ(apart->deltas[0].role, DeltaRole::kEncoder);
  EXPECT_EQ(apart->deltas[1].role, DeltaRole::kDecoder);
}

TEST(AdapterFiles, EverySpellingOfAKeyIsTheSameDelta) {
  const auto expected = ReadAdapter(MadeAdapter(Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2})).path(), Small());
  for (const std::string front : {"base_model.model.model.decoder.", "model.decoder.", "decoder.",
                                  "base_model.model.base_model.model.model.decoder.", "_orig_mod.model.decoder."}) {
    for (const std::string infix : {"", ".linear"}) {
      for (const std::string back : {".weight", ".default.weight", ".default", ""}) {
        const std::string module = front + "layers.0.mlp.up_proj" + infix;
        const MadeAdapter made({{module + ".lora_A" + back, {{2, 48}}}, {module + ".lora_B" + back, {{40, 2}}}});
        const auto adapter = ReadAdapter(made.path(), Small());
        ASSERT_TRUE(adapter) << adapter.error().message;
        ExpectSame(*adapter, *expected);
      }
    }
  }
}

TEST(AdapterFiles, OneStackIsBothRoles) {
  for (const std::string front : {"base_model.model.model.", "model.language_model.", "language_model.model.", ""}) {
    const auto adapter =
        ReadAdapter(MadeAdapter(Pair(front + "layers.0.mlp.up_proj", {2, 48}, {40, 2})).path(), Small());
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->deltas[0].role, DeltaRole::kBoth) << front;
  }
}

TEST(AdapterFiles, SelfConditioningBelongsToTheDecoder) {
  for (const std::string front : {"model.decoder.", "model."}) {
    const MadeAdapter made(Pair(front + "self_conditioning.up_proj", {2, 48}, {40, 2}));
    EXPECT_EQ(ReadAdapter(made.path(), Small())->deltas[0].role, DeltaRole::kDecoder);
  }
}

TEST(AdapterFiles, HalfPrecisionIsWidened) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
    for (auto& [key, made] : file) {
      made.dtype = dtype;
      made.values.assign(made.shape[0] * made.shape[1], -0.375f);
    }
    const auto adapter = ReadAdapter(MadeAdapter(file).path(), Small());
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->deltas[0].down, std::vector<float>(96, -0.375f));
  }
}

// PEFT before 0.19 laid A over the outputs of an expert and B over its inputs; the products are the same.
TEST(AdapterFiles, OldParametersAreTheTransposedProduct) {
  const uint64_t experts = 8, rank = 2, out = 32, in = 48;
  const MadeAdapter made({{kDecoder + "experts.lora_A.weight", {{rank * experts, out}}},
                          {kDecoder + "experts.lora_B.weight", {{in, rank * experts}}}});
  const auto adapter = ReadAdapter(made.path(), Small());
  ASSERT_TRUE(adapter) << adapter.error().message;
  const AdapterDelta& delta = adapter->deltas[0];
  ASSERT_EQ(delta.tensor, "model.decoder.layers.0.experts.gate_up_proj");
  for (uint64_t e = 0; e < experts; ++e) {
    for (uint64_t row = 0; row < out; row += 5) {
      for (uint64_t col = 0; col < in; col += 7) {
        float expected = 0, actual = 0;
        for (uint64_t r = 0; r < rank; ++r) {
          const uint64_t a = (e * rank + r) * out + row, b = col * rank * experts + r * experts + e;
          expected += static_cast<float>(a + 1) / 8 * (static_cast<float>(b + 1) / 8);
          actual += delta.up[(e * out + row) * rank + r] * delta.down[(e * rank + r) * in + col];
        }
        ASSERT_EQ(actual, expected);
      }
    }
  }
}

// D = X: only the version says which way round down_proj is.
TEST(AdapterFiles, SquareParametersGoByPeftsVersion) {
  Config config = Small();
  config.expert_hidden = config.width;
  const MadeFile file = {{kDecoder + "experts.lora_A.weight", {{16, 48}}},
                         {kDecoder + "experts.lora_B.weight", {{48, 16}}}};
  const auto read = [&](const char* version) {
    return *ReadAdapter(
        MadeAdapter(file, fmt::format(R"({{"peft_type": "LORA", "r": 2, "lora_alpha": 6, {}}})", version)).path(),
        config);
  };
  const Adapter now = read(R"("peft_version": "0.21.2")"), unknown = read(R"("task_type": null)");
  const Adapter before = read(R"("peft_version": "0.18.1")");
  EXPECT_EQ(now.deltas[0].tensor, "model.decoder.layers.0.experts.down_proj");
  ExpectSame(now, unknown);
  EXPECT_NE(now.deltas[0].down, before.deltas[0].down);
}

TEST(AdapterFiles, HalvesOfDifferentScaleBecomeOneDelta) {
  std::map<std::string, Made> file;
  for (int e = 0; e < 8; ++e) {
    const std::string at = fmt::format("{}experts.{}.", kDecoder, e);
    file.merge(Pair(at + "gate_proj", {1, 48}, {16, 1}));
    file.merge(Pair(at + "up_proj", {2, 48}, {16, 2}));
  }
  const MadeAdapter made(file, R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "rank_pattern": {"gate_proj": 1}})");
  const auto adapter = ReadAdapter(made.path(), Small());
  ASSERT_TRUE(adapter) << adapter.error().message;
  ASSERT_EQ(adapter->deltas.size(), 1u);
  const AdapterDelta& delta = adapter->deltas[0];
  EXPECT_EQ(delta.rank, 3);
  EXPECT_EQ(delta.scale, 1);
  EXPECT_EQ(delta.up[0], 6 * 1 / 8.0f) << "gate, alpha 6 / rank 1";
  EXPECT_EQ(delta.up[1], 0);
  EXPECT_EQ(delta.up[16 * 3], 0) << "the first row of up does not see gate's rank";
  EXPECT_EQ(delta.up[16 * 3 + 2], 3 * 2 / 8.0f) << "up, alpha 6 / rank 2";
  EXPECT_EQ(delta.down[0], delta.down[48]) << "each half has its own A, which begin alike here";
}

TEST(AdapterFiles, KeysOfNothingAreReported) {
  MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
  file["base_model.model.model.encoder.vision_tower.encoder.layers.0.mlp.up_proj.lora_A.weight"] = {{2, 32}};
  file["base_model.model.model.decoder.layers.0.per_layer_gate.lora_A.weight"] = {{2, 32}};
  const MadeAdapter made(file);
  const auto opened = OpenAdapter(made.path());
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->unused.size(), 2u);
  EXPECT_EQ(ReadAdapter(made.path(), Small())->deltas.size(), 1u);
}

// ---- refusals -------------------------------------------------------------------------------------------------------

TEST(AdapterRefusal, SettingsThatAreNoPlainLora) {
  const MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
  const auto with = [](const std::string& more) {
    return R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, )" + more + "}";
  };
  for (const char* field :
       {"bias", "modules_to_save", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out",
        "layer_replication", "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config"}) {
    const std::string name = field;
    const std::string value = name == "bias" ? R"("lora_only")" : name == "modules_to_save" ? R"(["lm_head"])" : "true";
    ExpectRefused(file, StatusCode::kUnsupported, {"adapter_config.json", name}, with("\"" + name + "\": " + value));
    for (const char* unset : {"null", "false", R"("none")", "[]", "{}"})
      EXPECT_TRUE(ReadAdapter(MadeAdapter(file, with("\"" + name + "\": " + unset)).path(), Small())) << name << unset;
  }
  for (const char* init : {"pissa", "olora", "corda", "loftq", "pissa_niter_16"})
    ExpectRefused(file, StatusCode::kUnsupported, {"init_lora_weights", init},
                  with(fmt::format(R"("init_lora_weights": "{}")", init)));
  for (const char* init : {"true", R"("gaussian")", R"("eva")"})
    EXPECT_TRUE(ReadAdapter(MadeAdapter(file, with(fmt::format(R"("init_lora_weights": {})", init))).path(), Small()));
}

TEST(AdapterRefusal, BrokenSettings) {
  const MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
  const auto refused = [&](std::string_view settings, StatusCode code, const std::vector<std::string>& named) {
    ExpectRefused(file, code, named, settings);
  };
  refused("[]", StatusCode::kInvalidFile, {"adapter_config.json", "object"});
  refused("{", StatusCode::kInvalidFile, {"adapter_config.json", "JSON"});
  refused(R"({"r": 2, "lora_alpha": 1})", StatusCode::kUnsupported, {"peft_type"});
  refused(R"({"peft_type": "VERA", "r": 2, "lora_alpha": 1})", StatusCode::kUnsupported, {"peft_type", "VERA"});
  refused(R"({"peft_type": "LORA", "lora_alpha": 1})", StatusCode::kInvalidFile, {"r:", "missing"});
  refused(R"({"peft_type": "LORA", "r": 2})", StatusCode::kInvalidFile, {"lora_alpha", "missing"});
  for (const char* rank : {"0", "-1", "1025", "1.5", "\"2\""})
    refused(fmt::format(R"({{"peft_type": "LORA", "r": {}, "lora_alpha": 1}})", rank), StatusCode::kInvalidFile,
            {"r:"});
  for (const char* alpha : {"1e7", "\"2\"", "[]"}) {
    refused(fmt::format(R"({{"peft_type": "LORA", "r": 2, "lora_alpha": {}}})", alpha), StatusCode::kInvalidFile,
            {"lora_alpha"});
  }
  const auto pattern = [&](const std::string& section) {
    return R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, )" + section + "}";
  };
  refused(pattern(R"("rank_pattern": 3)"), StatusCode::kInvalidFile, {"rank_pattern", "object"});
  refused(pattern(R"("rank_pattern": {"q_proj": 0})"), StatusCode::kInvalidFile, {"rank_pattern", "q_proj"});
  refused(pattern(R"("alpha_pattern": {"q_proj": true})"), StatusCode::kInvalidFile, {"alpha_pattern", "q_proj"});
  refused(pattern(R"("alpha_pattern": {"(q_proj": 1})"), StatusCode::kInvalidFile, {"alpha_pattern", "(q_proj"});
  refused(pattern(R"("alpha_pattern": {"q{2}": 1})"), StatusCode::kUnsupported, {"alpha_pattern"});
  refused(pattern(R"("alpha_pattern": {")" + std::string(513, 'a') + R"(": 1})"), StatusCode::kInvalidFile, {"512"});
  std::string many;
  for (int i = 0; i < 10; ++i) many += fmt::format(R"({}"{}{}*": 1)", i == 0 ? "" : ", ", std::string(500, 'a'), i);
  refused(pattern(R"("alpha_pattern": {)" + many + "}"), StatusCode::kInvalidFile, {"4096"});
}

TEST(AdapterRefusal, MatricesThatDoNotFit) {
  const std::string up = kDecoder + "mlp.up_proj";
  const auto refused = [&](const MadeFile& file, const std::vector<std::string>& named) {
    ExpectRefused(file, StatusCode::kInvalidFile, named);
  };
  refused(Pair(up, {2, 47}, {40, 2}), {"mlp.up_proj.lora_A", "[2, 47]", "[40, 48]"});
  refused(Pair(up, {2, 48}, {41, 2}), {"mlp.up_proj.lora_A", "[41, 2]", "[40, 48]"});
  refused(Pair(up, {2, 48}, {40, 3}), {"mlp.up_proj.lora_A", "[40, 3]"});
  refused(Pair(up, {3, 48}, {40, 3}), {"mlp.up_proj.lora_A", "rank 3", "adapter_config.json says 2"});
  refused(Pair(up, {2, 48, 1}, {40, 2}), {"[2, 48, 1]"});
  refused(Pair(up, {0, 48}, {40, 0}), {"rank"});
  refused(Pair(up, {1025, 48}, {40, 1025}), {"rank", "1024"});
  refused(Pair("base_model.model.model.decoder.layers.4.mlp.up_proj", {2, 48}, {40, 2}), {"layers.4", "4 layers"});
  refused(Pair("base_model.model.model.decoder.layers.1.self_attn.v_proj", {2, 48}, {32, 2}),
          {"layers.1.self_attn.v_proj", "full-attention", "k_proj"});
  refused(Pair(kDecoder + "experts", {16, 20}, {48, 16}), {"experts", "gate_up_proj", "down_proj", "8 experts"});
  refused(Pair(kDecoder + "experts", {15, 48}, {32, 15}), {"experts", "8 experts"});
  refused(Pair(kDecoder + "experts", {16}, {32, 16}), {"experts", "matrix"});
  refused({{kDecoder + "experts.lora_down_A", {{8, 2, 16}}}, {kDecoder + "experts.lora_down_B", {{7, 48, 2}}}},
          {"experts.lora_down_A", "[7, 48, 2]"});
  refused(Pair(kDecoder + "experts.0.down_proj", {2, 16}, {48, 2}), {"experts.0.down_proj", "1 of 8 experts"});
  refused(Pair(kDecoder + "experts.8.down_proj", {2, 16}, {48, 2}), {"experts.8.down_proj", "8 experts"});
}

TEST(AdapterRefusal, KeysThatContradictEachOther) {
  const std::string up = kDecoder + "mlp.up_proj";
  const auto refused = [&](const MadeFile& file, const std::vector<std::string>& named) {
    ExpectRefused(file, StatusCode::kInvalidFile, named);
  };
  refused({{up + ".lora_A.weight", {{2, 48}}}}, {"lora_A", "counterpart"});
  refused({{up + ".lora_B.weight", {{40, 2}}}}, {"lora_B", "counterpart"});
  refused(Joined(Pair(up, {2, 48}, {40, 2}),
                 {{up + ".lora_A.other.weight", {{2, 48}}}, {up + ".lora_B.other.weight", {{40, 2}}}}),
          {"twice"});
  refused(Joined(Pair(up, {2, 48}, {40, 2}), Pair("model.decoder.layers.0.mlp.up_proj", {2, 48}, {40, 2})),
          {"changes too"});
  refused(Joined(Pair(up, {2, 48}, {40, 2}), Pair("model.layers.0.mlp.up_proj", {2, 48}, {40, 2})),
          {"mlp.up_proj", "both roles", "decoder"});
  refused(
      Joined(Pair(kDecoder + "experts", {16, 16}, {48, 16}), Pair(kDecoder + "experts.base_layer", {16, 16}, {48, 16})),
      {"changes too"});
  refused(Pair("base_model.model.model.decoder.layers.0.nothing", {2, 48}, {40, 2}), {"none of its keys", "nothing"});
  refused({{"unknown", {{2, 48}}}}, {"none of its keys"});
}

TEST(AdapterRefusal, WhatIsNoLowRankMatrix) {
  MadeFile good = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
  const auto refused = [&](const std::string& key, const std::string& why) {
    MadeFile file = good;
    file[key] = {{2, 48}};
    ExpectRefused(file, StatusCode::kUnsupported, {key.substr(0, key.find(".lora_A")), why});
  };
  refused(kDecoder + "mlp.gate_proj.lora_magnitude_vector", "DoRA");
  refused(kDecoder + "mlp.gate_proj.lora_B.bias", "bias");
  refused("base_model.model.lm_head.weight", "whole tensor");
  refused("base_model.model.modules_to_save.lm_head.weight", "saved as a whole");
  refused("base_model.model.model.decoder.embed_tokens.lora_embedding_A", "embeddings not");
  refused("base_model.model.lm_head.lora_A.weight", "embeddings not");
  refused("base_model.model.model.decoder.embed_tokens.lora_A.weight", "embeddings not");
}

TEST(AdapterRefusal, ValuesAndTypes) {
  for (const float bad : {NAN, INFINITY}) {
    MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
    file[kDecoder + "mlp.up_proj.lora_B.weight"].values.assign(80, 1);
    file[kDecoder + "mlp.up_proj.lora_B.weight"].values[79] = bad;
    ExpectRefused(file, StatusCode::kInvalidFile, {"lora_B", "NaN or infinity"});
  }
  MadeFile file = Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2});
  file[kDecoder + "mlp.up_proj.lora_A.weight"].dtype = DType::kI8;
  ExpectRefused(file, StatusCode::kUnsupported, {"lora_A", "I8", "BF16"});
}

TEST(AdapterRefusal, FilesAndFolders) {
  const TempFolder root;
  ExpectRefused(root.path() / "nowhere", StatusCode::kNotFound, {"nowhere"});
  ExpectRefused(root.path(), StatusCode::kNotFound, {"adapter_model.safetensors"});
  root.Add("_METADATA", "{}");
  ExpectRefused(root.path(), StatusCode::kUnsupported, {"Orbax"});
  root.Add("adapter_model.bin", "x");
  ExpectRefused(root.path(), StatusCode::kUnsupported, {"adapter_model.bin", "pickled"});
  root.Add("adapter_model.safetensors", "x");
  ExpectRefused(root.path(), StatusCode::kNotFound, {"adapter_config.json", "alpha"});
  root.Add("adapter_config.json", kPlain);
  ExpectRefused(root.path(), StatusCode::kInvalidFile, {"adapter_model.safetensors"});
}

TEST(AdapterFiles, AFileBesideItsSettings) {
  const MadeAdapter made(Pair(kDecoder + "mlp.up_proj", {2, 48}, {40, 2}));
  const auto folder = ReadAdapter(made.path(), Small()),
             file = ReadAdapter(made.path() / "adapter_model.safetensors", Small());
  ASSERT_TRUE(file) << file.error().message;
  ExpectSame(*file, *folder);
  EXPECT_EQ(file->name, folder->name) << "the folder's";
}

/// A GGUF adapter with these texts and tensors of two dimensions.
std::filesystem::path WriteGgufAdapter(const TempFolder& root, const std::map<std::string, std::string>& texts,
                                       float alpha, const std::map<std::string, std::vector<uint64_t>>& shapes) {
  GgufMetadata metadata;
  for (const auto& [key, text] : texts) metadata.Put(key, std::string_view(text));
  if (!std::isnan(alpha)) metadata.Put("adapter.lora.alpha", alpha);
  const std::vector<float> values(4096, 0.25f);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, shape] : shapes) {
    const size_t count = std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<>());
    tensors.push_back(TensorFromMemory(name, DType::kF32, shape, std::as_bytes(std::span(values).first(count))));
  }
  const std::filesystem::path path = root.path() / "a.gguf";
  EXPECT_TRUE(WriteGguf(path, metadata, tensors));
  return path;
}

TEST(AdapterFiles, GgufAlphaAndRank) {
  const TempFolder root;
  const std::map<std::string, std::string> texts = {
      {"general.type", "adapter"}, {"general.architecture", "diffusion-gemma"}, {"adapter.type", "lora"}};
  const std::map<std::string, std::vector<uint64_t>> pair = {{"blk.0.ffn_up.weight.lora_a", {4, 48}},
                                                             {"blk.0.ffn_up.weight.lora_b", {40, 4}}};
  EXPECT_EQ(ReadAdapter(WriteGgufAdapter(root, texts, 6, pair), Small())->deltas[0].scale, 1.5f);
  EXPECT_EQ(ReadAdapter(WriteGgufAdapter(root, texts, NAN, pair), Small())->deltas[0].scale, 1) << "as llama.cpp";
  EXPECT_EQ(ReadAdapter(WriteGgufAdapter(root, texts, 0, pair), Small())->deltas[0].scale, 1);
  ExpectRefused(WriteGgufAdapter(root, texts, 1e7f, pair), StatusCode::kInvalidFile, {"adapter.lora.alpha"});
  const auto changed = [&](const char* key, const char* value) {
    std::map<std::string, std::string> other = texts;
    other[key] = value;
    return WriteGgufAdapter(root, other, 6, pair);
  };
  ExpectRefused(changed("general.type", "model"), StatusCode::kUnsupported, {"general.type", "adapter"});
  ExpectRefused(changed("adapter.type", "vera"), StatusCode::kUnsupported, {"adapter.type"});
  ExpectRefused(changed("general.architecture", "llama"), StatusCode::kUnsupported, {"general.architecture", "llama"});
  ExpectRefused(WriteGgufAdapter(root, texts, 6, {{"blk.0.ffn_up.weight.lora_a", {4, 48}}}), StatusCode::kInvalidFile,
                {"lora_a", "counterpart"});
  ExpectRefused(WriteGgufAdapter(root, texts, 6, {{"token_embd.weight.lora_a", {4, 48}}}), StatusCode::kUnsupported,
                {"token_embd"});
  ExpectRefused(WriteGgufAdapter(root, texts, 6,
                                 {{"blk.1.attn_v.weight.lora_a", {4, 48}}, {"blk.1.attn_v.weight.lora_b", {32, 4}}}),
                StatusCode::kInvalidFile, {"attn_v", "full-attention"});
}

// ---- writing --------------------------------------------------------------------------------------------------------

TEST(AdapterFiles, WhatIsWrittenReadsBackBitByBit) {
  for (const std::string& fixture : Fixtures()) {
    SCOPED_TRACE(fixture);
    const auto adapter = ReadAdapter(FixturePath(fixture), Small());
    ASSERT_TRUE(adapter) << adapter.error().message;
    const TempFolder root;
    ASSERT_TRUE(WriteAdapter(*adapter, Small(), root.path() / "written", "base"));
    const auto back = OpenAdapter(root.path() / "written");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->name, "written");
    EXPECT_EQ(back->settings.base_model, "base");
    const auto again = MakeAdapter(*back, Small());
    ASSERT_TRUE(again) << again.error().message;
    ExpectSame(*again, *adapter);
    EXPECT_EQ(root.Names(), std::vector<std::string>{"written"});
  }
}

TEST(AdapterFiles, AnAdapterOfOneStackIsWrittenForOne) {
  Config causal = Small();
  causal.causal_only = true;
  const auto adapter = ReadAdapter(MadeAdapter(Pair("model.layers.0.mlp.up_proj", {2, 48}, {40, 2})).path(), causal);
  ASSERT_TRUE(adapter) << adapter.error().message;
  const TempFolder root;
  ASSERT_TRUE(WriteAdapter(*adapter, causal, root.path() / "written"));
  ExpectSame(*ReadAdapter(root.path() / "written", causal), *adapter);
}

TEST(AdapterFiles, NothingIsWrittenThatPeftCouldNotLoad) {
  const Adapter good = *ReadAdapter(FixturePath("trl-both"), Small());
  const TempFolder root;
  const auto refused = [&](const Adapter& adapter, const std::string& named) {
    const auto written = WriteAdapter(adapter, Small(), root.path() / "written");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, StatusCode::kInvalidArgument);
    EXPECT_NE(written.error().message.find(named), std::string::npos) << written.error().message;
    EXPECT_TRUE(root.Names().empty());
  };
  refused({"none", {}}, "nothing");
  Adapter other = good;
  other.deltas[0].tensor = "model.decoder.embed_tokens.weight";
  refused(other, "no linear layer");
  other.deltas[0].tensor = "model.decoder.layers.9.mlp.up_proj.weight";
  refused(other, "no such tensor");
  other = good;
  other.deltas[0].in += 1;
  refused(other, "differs");
  other = good;
  other.deltas[0].up.pop_back();
  refused(other, "rank");
  other = good;
  other.deltas[0].scale = NAN;
  refused(other, "scale");
  other = good;
  other.deltas.push_back(other.deltas[0]);
  other.deltas.back().role = DeltaRole::kDecoder;
  refused(other, "two deltas");
}

}  // namespace
}  // namespace dgemma::test
