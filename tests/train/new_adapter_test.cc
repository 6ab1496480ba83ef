// Fresh adapters: which layers get deltas, their first values, and the errors of options.
#include "train/new_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "support/golden.h"

namespace dgemma::test {
namespace {

TEST(MatchesPattern, StarsStandForAnything) {
  EXPECT_TRUE(MatchesPattern("layers.3.self_attn.q_proj", "layers.*.self_attn.*_proj"));
  EXPECT_TRUE(MatchesPattern("layers.3.self_attn.q_proj", "*"));
  EXPECT_TRUE(MatchesPattern("layers.3.self_attn.q_proj", "*q_proj"));
  EXPECT_TRUE(MatchesPattern("abcabc", "*abc"));
  EXPECT_TRUE(MatchesPattern("", "**"));
  EXPECT_FALSE(MatchesPattern("layers.3.self_attn.q_norm", "layers.*.self_attn.*_proj"));
  EXPECT_FALSE(MatchesPattern("layers.31.mlp", "layers.3.mlp"));
  EXPECT_FALSE(MatchesPattern("abc", "abcd*"));
  const std::string name(2000, 'a');  // at worst the product of the lengths, not a power
  EXPECT_FALSE(MatchesPattern(name, "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"));
}

class NewAdapterTest : public testing::Test {
 protected:
  Config config_ = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kRefF32).config();

  std::set<std::string> Tensors(const LoraOptions& options) {
    std::set<std::string> names;
    const Adapter adapter = *NewAdapter(config_, options, 1);
    for (const AdapterDelta& delta : adapter.deltas) names.insert(delta.tensor);
    return names;
  }
};

TEST_F(NewAdapterTest, ChangesNothingAtFirstAndIsAFunctionOfItsSeed) {
  const Adapter one = *NewAdapter(config_, {.rank = 4}, 1), again = *NewAdapter(config_, {.rank = 4}, 1),
                other = *NewAdapter(config_, {.rank = 4}, 2);
  ASSERT_FALSE(one.deltas.empty());
  for (size_t i = 0; i < one.deltas.size(); ++i) {
    const AdapterDelta& delta = one.deltas[i];
    EXPECT_EQ(delta.role, DeltaRole::kBoth);
    EXPECT_EQ(delta.scale, 2.0f);
    for (const float value : delta.up) EXPECT_EQ(value, 0.0f);
    // U(-b, b) with b = 1 / sqrt(in): variance b^2 / 3; the mean of n squares stays within 5 standard errors, (4/45)^(1/2) b^2 n^(-1/2).
    const double bound = 1 / std::sqrt(static_cast<double>(delta.in));
    double squares = 0;
    for (const float value : delta.down) {
      EXPECT_LE(std::abs(static_cast<double>(value)), bound * (1 + 1e-6));
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const auto count = static_cast<double>(delta.down.size());
    EXPECT_NEAR(squares / count, bound * bound / 3, 5 * std::sqrt(4.0 / 45) * bound * bound / std::sqrt(count));
    EXPECT_EQ(delta.down, again.deltas[i].down);
    EXPECT_NE(delta.down, other.deltas[i].down);
  }
}

TEST_F(NewAdapterTest, TargetsRolesAndScales) {
  const auto usual = Tensors({.rank = 2});
  EXPECT_TRUE(usual.contains("model.decoder.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(usual.contains("model.decoder.layers.0.mlp.down_proj.weight"));
  EXPECT_FALSE(usual.contains("model.decoder.self_conditioning.gate_proj.weight"));
  const auto experts = Tensors({.rank = 2, .targets = {"layers.1.experts.*", "layers.*.router.proj"}});
  EXPECT_TRUE(experts.contains("model.decoder.layers.1.experts.gate_up_proj"));
  EXPECT_TRUE(experts.contains("model.decoder.layers.0.router.proj.weight"));
  EXPECT_FALSE(experts.contains("model.decoder.layers.0.experts.gate_up_proj"));
  const LoraOptions separate{.rank = 4,
                             .alpha = 6,
                             .rank_stabilized = true,
                             .separate_roles = true,
                             .targets = {"layers.0.self_attn.q_proj", "self_conditioning.*"}};
  const Adapter adapter = *NewAdapter(config_, separate, 1);
  ASSERT_EQ(adapter.deltas.size(), 5u);
  EXPECT_EQ(adapter.deltas[0].role, DeltaRole::kEncoder);
  EXPECT_EQ(adapter.deltas[1].role, DeltaRole::kDecoder);
  EXPECT_NE(adapter.deltas[0].down, adapter.deltas[1].down);
  EXPECT_EQ(adapter.deltas[0].scale, 3.0f);
  for (size_t i = 2; i < 5; ++i) EXPECT_EQ(adapter.deltas[i].role, DeltaRole::kDecoder) << "canvases alone see these";
}

TEST_F(NewAdapterTest, ErrorsNameTheFlag) {
  const auto message = [&](const LoraOptions& options) {
    const auto made = NewAdapter(config_, options, 1);
    return made ? std::string("made") : made.error().message;
  };
  EXPECT_EQ(message({.rank = 0}), "lora-rank: 0 is not 1 to 1024");
  EXPECT_EQ(message({.rank = 1025}), "lora-rank: 1025 is not 1 to 1024");
  EXPECT_NE(message({.rank = 1, .alpha = -1}).find("lora-alpha"), std::string::npos);
  EXPECT_NE(message({.rank = 1, .alpha = NAN}).find("lora-alpha"), std::string::npos);
  EXPECT_NE(message({.rank = 1, .targets = {"layers.*.mlp.*", "embed_tokens"}}).find("embed_tokens"),
            std::string::npos);
  EXPECT_NE(message({.rank = 1, .targets = {}}).find("lora-targets"), std::string::npos);
}

}  // namespace
}  // namespace dgemma::test
