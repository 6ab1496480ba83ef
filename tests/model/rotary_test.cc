// Rotary tables against recordings of Transformers and against their definition in double.
#include "model/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/config_text.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

/// Error of cos and sin of a float32 angle that both sides reach by a power, a reciprocal and a product: the angle may differ by an
/// ulp of itself (2^-23 relative), the result by its own rounding.
double Bound(double angle) { return std::abs(angle) * 0x1p-23 + 0x1p-24; }

double Frequency(const RopeConfig& rope, int64_t head_size, int64_t pair) {
  return std::pow(rope.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(head_size)) / rope.factor;
}

/// True when some value within `bound` of `value` rounds to `expected` in bfloat16.
bool MayRoundTo(double value, double bound, float expected) {
  const float low = Round(Rounding::kBfloat16, static_cast<float>(value - bound));
  const float high = Round(Rounding::kBfloat16, static_cast<float>(value + bound));
  return low <= expected && expected <= high;
}

void CompareWithRecording(const std::string& model, const std::string& recording, Rounding rounding) {
  const Golden golden(model + "/" + recording + "/rotary.safetensors");
  const auto files = OpenCheckpoint(GoldenRoot() + "/" + model);
  ASSERT_TRUE(files);
  const Config config = *ReadConfig(*files);
  const std::vector<int32_t> ids = golden.Ids("positions");
  const std::vector<int64_t> positions(ids.begin(), ids.end());
  ASSERT_GE(positions.size(), 5u);
  for (const bool sliding : {true, false}) {
    const auto layer = std::ranges::find(config.layers, sliding, &LayerConfig::sliding);
    ASSERT_NE(layer, config.layers.end());
    const RopeConfig& rope = config.Rope(*layer);
    const RotaryTable table = MakeRotaryTable(rope, layer->head_size, positions, rounding);
    const RotaryTable exact = MakeRotaryTable(rope, layer->head_size, positions, Rounding::kFloat32);
    const std::string kind = sliding ? "sliding_attention" : "full_attention";
    const std::vector<float> cos = golden.Floats(kind + ".cos"), sin = golden.Floats(kind + ".sin");
    const auto size = static_cast<size_t>(layer->head_size), pairs = static_cast<size_t>(table.pairs);
    ASSERT_EQ(cos.size(), positions.size() * size);
    ASSERT_EQ(table.cos.size(), positions.size() * pairs);
    for (size_t p = 0; p < positions.size(); ++p) {
      for (size_t i = 0; i < size; ++i) {
        const size_t pair = i % (size / 2), recorded = p * size + i, ours = p * pairs + pair;
        if (pair >= pairs) {  // Transformers stores pairs that do not rotate as angle 0
          EXPECT_EQ(cos[recorded], 1.0f);
          EXPECT_EQ(sin[recorded], 0.0f);
          continue;
        }
        const double bound =
            Bound(static_cast<double>(positions[p]) * Frequency(rope, layer->head_size, static_cast<int64_t>(pair)));
        const std::string where = kind + " position " + std::to_string(positions[p]) + " pair " + std::to_string(pair);
        for (const auto& [table_values, exact_values, values] :
             {std::tuple{&table.cos, &exact.cos, &cos}, {&table.sin, &exact.sin, &sin}}) {
          const float value = (*table_values)[ours], expected = (*values)[recorded];
          if (rounding == Rounding::kFloat32) {
            EXPECT_NEAR(value, expected, bound) << where;
          } else if (value != expected) {
            EXPECT_TRUE(MayRoundTo(static_cast<double>((*exact_values)[ours]), bound, expected)) << where;
          }
        }
      }
    }
  }
}

TEST(RotaryTable, MatchesTransformersInFloat32) {
  CompareWithRecording("alternating-f32", "golden", Rounding::kFloat32);
  CompareWithRecording("fivetoone-bf16", "golden-f32", Rounding::kFloat32);
}

TEST(RotaryTable, MatchesTransformersInBfloat16) {
  CompareWithRecording("alternating-bf16", "golden", Rounding::kBfloat16);
  CompareWithRecording("fivetoone-bf16", "golden", Rounding::kBfloat16);
}

TEST(RotaryTable, FollowsItsDefinitionAtReleasedSizes) {
  const auto config = ParseConfig(ReleasedText(Geometry::kPerLayer));
  ASSERT_TRUE(config);
  const std::vector<int64_t> positions = {0, 1, 2, 1023, 40'000, 262'143};
  for (const LayerConfig& layer : {config->layers[0], config->layers[5]}) {
    const RopeConfig& rope = config->Rope(layer);
    const RotaryTable table = MakeRotaryTable(rope, layer.head_size, positions, Rounding::kFloat32);
    for (size_t p = 0; p < positions.size(); ++p) {
      for (int64_t i = 0; i < table.pairs; ++i) {
        const double angle = static_cast<double>(positions[p]) * Frequency(rope, layer.head_size, i);
        const size_t at = p * static_cast<size_t>(table.pairs) + static_cast<size_t>(i);
        // Three float32 roundings on the way to the angle (power, reciprocal, product), half an ulp each, and the result's own.
        const double bound = angle * 3 * 0x1p-24 + 0x1p-24;
        EXPECT_NEAR(table.cos[at], std::cos(angle), bound) << positions[p] << " " << i;
        EXPECT_NEAR(table.sin[at], std::sin(angle), bound) << positions[p] << " " << i;
      }
    }
  }
}

TEST(RotaryPairs, CountsTheRotatedShare) {
  const auto config = ParseConfig(ReleasedText(Geometry::kPerLayer));
  ASSERT_TRUE(config);
  EXPECT_EQ(RotaryPairs(config->full_rope, 512), 64);
  EXPECT_EQ(RotaryPairs(config->sliding_rope, 256), 128);
  EXPECT_EQ(RotaryPairs({10'000, 0.3, 1.0}, 32), 4) << "4.8 pairs are four";
}

TEST(RotaryTable, FactorDividesTheFrequencies) {
  const std::vector<int64_t> positions = {3}, eight_times = {24};
  const RotaryTable plain = MakeRotaryTable({10'000, 1.0, 1.0}, 16, positions, Rounding::kFloat32);
  const RotaryTable stretched = MakeRotaryTable({10'000, 1.0, 8.0}, 16, eight_times, Rounding::kFloat32);
  EXPECT_EQ(plain.cos, stretched.cos) << "a power of two divides exactly";
  EXPECT_EQ(plain.sin, stretched.sin);
  EXPECT_NE(plain.sin, MakeRotaryTable({10'000, 1.0, 8.0}, 16, positions, Rounding::kFloat32).sin);
}

}  // namespace
}  // namespace dgemma::test
