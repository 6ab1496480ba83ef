// The cost of passes of the released shape, compared with closed forms worked out by hand from its numbers: 30 layers,
// 25 of them
// sliding; width 2816; 16 heads; 128 experts of 704, 8 of them active; 262,144 ids.
#include "engine/pass_cost.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/synthesize.h"

namespace dgemma::test {
namespace {

Config ReleasedShape() { return *ParseConfig(*SyntheticConfig("26b")); }

struct BytesEach {
  double experts = 2, dense = 2, table = 2;
};

/// Every tensor of the list at so many bytes a weight; experts and matrices in groups where `grouped`.
std::vector<PlannedWeight> WeightsOf(const Config& config, BytesEach each, bool grouped = false) {
  std::vector<PlannedWeight> weights;
  for (TensorSpec& spec : ListTensors(config)) {
    const double bytes = spec.role == TensorRole::kExperts     ? each.experts
                         : spec.role == TensorRole::kEmbedding ? each.table
                                                               : each.dense;
    const bool groups = grouped && (spec.role == TensorRole::kExperts || spec.role == TensorRole::kMatrix);
    const WeightFormat format = groups ? WeightFormat{WeightKind::kInt8, 32, false} : kBfloat16Weights;
    const auto total = std::llround(bytes * static_cast<double>(spec.Values()));
    weights.push_back({std::move(spec), format, total});
  }
  return weights;
}

TEST(PassCost, DenoisingStepHasThePublishedOperations) {
  const Config config = ReleasedShape();
  const PassCost cost = CostOfPass(config, WeightsOf(config, {}, true), {.canvas = 256});
  // attention 1110.2 M, dense 535.3 M, active experts 1427.4 M, self-conditioning 17.8 M are in groups; the router
  // 10.8 M is not
  EXPECT_NEAR(cost.operations.integers, 2 * 256 * (1110.2 + 535.3 + 1427.4 + 17.8) * 1e6, 1e8);
  const double attention = 4.0 * 16 * 256 * 256 * (25 * 256 + 5 * 2 * 256);
  EXPECT_NEAR(cost.operations.bf16, 2 * 256 * (10.8 + 738.2) * 1e6 + attention, 2e8) << "router, table, attention";
  EXPECT_EQ(cost.operations.floats, 0);
  EXPECT_NEAR(cost.operations.integers + 2 * 256 * 10.8e6, 1.588e12, 1e9) << "all projections";
  EXPECT_NEAR(cost.soft.floats, 0.378e12, 1e9);
  EXPECT_EQ(cost.soft.integers, 0);
}

TEST(PassCost, AttentionOfLongContextsIsCutByTheWindow) {
  const Config config = ReleasedShape();
  const std::vector<PlannedWeight> weights = WeightsOf(config, {}, true);
  const auto attention = [&](int64_t cached) {
    return CostOfPass(config, weights, {.canvas = 256, .cached = cached}).operations.bf16;
  };
  EXPECT_NEAR(attention(1023) - attention(0), (0.134e12 - 0.027e12) + 4.0 * 16 * 512 * 256 * 5 * 1023, 1e9);
  EXPECT_NEAR(attention(32768) - attention(0), (0.134e12 - 0.027e12) + (1.385e12 - 0.011e12), 2e9);
  EXPECT_NEAR(CostOfPass(config, weights, {.canvas = 256, .cached = 4096}).cache_bytes,
              4.0 * (25 * 1023 * 4096.0 + 5 * 4096 * 2048.0), 1);
}

TEST(PassCost, DenoisingStepHasThePublishedBytes) {
  const Config config = ReleasedShape();
  const auto gigabytes = [&](BytesEach each) {
    return CostOfPass(config, WeightsOf(config, each), {.canvas = 256}).Bytes() / 1e9;
  };
  EXPECT_NEAR(gigabytes({2, 2, 2}), 50.50, 0.01);
  EXPECT_NEAR(gigabytes({1, 1, 1}), 25.25, 0.01);
  EXPECT_NEAR(gigabytes({4.5 / 8, 4.5 / 8, 4.5 / 8}), 14.20, 0.01);
  EXPECT_NEAR(gigabytes({4.5 / 8, 1, 1}), 15.26, 0.01);
  EXPECT_NEAR(gigabytes({4.5 / 8, 2, 2}), 17.67, 0.01);
}

TEST(PassCost, FewRowsTouchFewExperts) {
  const Config config = ReleasedShape();
  const std::pair<int64_t, int> published[] = {{4, 29}, {8, 52}, {16, 82}, {32, 112}, {64, 126}, {256, 128}};
  for (const auto& [rows, experts] : published) EXPECT_EQ(std::lround(ExpectedExperts(config, rows)), experts) << rows;
  const PassCost one = CostOfPass(config, WeightsOf(config, {1, 1, 1}), {.causal = 1, .logits = 1});
  EXPECT_NEAR(one.expert_bytes, 22.838e9 * 8 / 128, 1e7);
  EXPECT_NEAR(one.weight_bytes, (1.674e9 - 17.8e6), 1e7) << "no self-conditioning";
  EXPECT_NEAR(one.vocabulary_bytes, 0.738e9, 1e6);
}

TEST(PassCost, CommitNeedsNoVocabularyAndOnlyKeysOfTheLastLayer) {
  const Config config = ReleasedShape();
  const std::vector<PlannedWeight> weights = WeightsOf(config, {2, 2, 2});
  const PassCost commit = CostOfPass(config, weights, {.causal = 256});
  EXPECT_EQ(commit.vocabulary_bytes, 0);
  EXPECT_EQ(commit.soft.floats, 0);
  const LayerConfig& last = config.layers.back();
  ASSERT_FALSE(last.sliding);
  const double query = static_cast<double>(config.heads * last.head_size * config.width);
  const double left_out = query + 3.0 * 2112 * 2816 + 128 * 2816;  // output projection, dense, router
  EXPECT_NEAR(commit.weight_bytes, 2 * (1.674e9 - 17.8e6 - left_out), 2e7);
  EXPECT_NEAR(commit.expert_bytes, 2 * 22.838e9 * 29 / 30, 1e7);
}

TEST(PassCost, APromptInPartsHasTheAttentionOfTheWhole) {
  Config config = ReleasedShape();
  config.window = 100;
  const std::vector<PlannedWeight> weights = WeightsOf(config, {});
  const PassCost whole = CostOfPass(config, weights, {.causal = 300});
  PassCost parts = CostOfPass(config, weights, {.causal = 170});
  parts += CostOfPass(config, weights, {.causal = 130, .cached = 170});
  EXPECT_NEAR(parts.operations.floats / whole.operations.floats, 1, 1e-12);
  EXPECT_NEAR(parts.operations.bf16 / whole.operations.bf16, 1, 1e-12);
  EXPECT_GT(parts.weight_bytes, 1.99 * whole.weight_bytes);
}

TEST(PassCost, BoundIsTheLongerOfReadingAndComputing) {
  PassCost cost;
  cost.weight_bytes = 10;
  cost.operations = {30, 4};
  cost.soft.floats = 1e9;
  const MachineRates machine{.target = "", .threads = 1, .bytes = 2, .integers = 10, .floats = 4, .bf16 = 8};
  EXPECT_DOUBLE_EQ(SecondsAtPeak(cost.operations, machine), 4);
  EXPECT_DOUBLE_EQ(LeastSeconds(cost, machine), 5);
  cost.operations.bf16 = 16;
  EXPECT_DOUBLE_EQ(LeastSeconds(cost, machine), 6);
}

}  // namespace
}  // namespace dgemma::test
