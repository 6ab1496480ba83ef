// Schedule, acceptance and stop rule: against recordings of Transformers, closed forms and properties.
#include "diffusion/rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "support/golden.h"

namespace dgemma::test {
namespace {

std::vector<uint8_t> Accepted(std::vector<float> entropy, double bound) {
  std::vector<uint8_t> accepted(entropy.size(), 7);
  const int64_t count = AcceptByEntropy(entropy, bound, accepted);
  EXPECT_EQ(count, std::count(accepted.begin(), accepted.end(), 1));
  EXPECT_EQ(std::ssize(accepted) - count, std::count(accepted.begin(), accepted.end(), 0));
  return accepted;
}

/// Entropy of softmax(logits) in nats, in double.
double Entropy(std::span<const float> logits) {
  const auto top = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double total = 0, weighted = 0;
  for (float logit : logits) {
    const double above = static_cast<double>(logit) - top, mass = std::exp(above);
    total += mass;
    weighted += mass * above;
  }
  return std::log(total) - weighted / total;
}

/// The recorded logits [4, C, V] as entropies [4][C].
std::vector<std::vector<float>> RecordedEntropies(const Golden& golden) {
  const auto shape = golden.Shape("logits");
  const std::vector<float> logits = golden.Floats("logits");
  const size_t vocabulary = shape[2];
  std::vector<std::vector<float>> entropies(shape[0]);
  for (size_t row = 0; row < shape[0] * shape[1]; ++row) {
    entropies[row / shape[1]].push_back(
        static_cast<float>(Entropy(std::span(logits).subspan(row * vocabulary, vocabulary))));
  }
  return entropies;
}

class RecordedRules : public testing::TestWithParam<std::string> {
 protected:
  RecordedRules() : golden(GetParam() + "/golden/sampler.safetensors") {}
  Golden golden;
};

TEST_P(RecordedRules, AcceptsWhatTransformersAccepts) {
  const auto entropies = RecordedEntropies(golden);
  const std::vector<int32_t> expected = golden.Ids("accepted_mask");
  std::vector<int32_t> accepted;
  for (const auto& entropy : entropies) {
    for (uint8_t one : Accepted(entropy, 0.1)) accepted.push_back(one);
  }
  EXPECT_EQ(accepted, expected);
  const auto ones = std::count(expected.begin(), expected.end(), 1);
  EXPECT_GT(ones, std::ssize(entropies)) << "some row accepts several";
  EXPECT_LT(ones, std::ssize(expected));
}

TEST_P(RecordedRules, StopsWhereTransformersStops) {
  const auto entropies = RecordedEntropies(golden);
  const std::vector<int32_t> sequence = golden.Ids("stop.sequence");
  const auto shape = golden.Shape("stop.sequence");  // [steps, canvases, C]
  for (int stability : {0, 1, 2}) {
    const std::vector<int32_t> expected = golden.Ids("stop." + std::to_string(stability));
    EXPECT_EQ(std::count(expected.begin(), expected.end(), 1) > 0, true) << "a table of zeros would prove nothing";
    for (size_t canvas = 0; canvas < shape[1]; ++canvas) {
      double mean = 0;
      for (float entropy : entropies[canvas]) mean += static_cast<double>(entropy) / static_cast<double>(shape[2]);
      StopRule rule(stability, 0.5);
      for (size_t step = 0; step < shape[0]; ++step) {
        const size_t at = step * shape[1] + canvas;
        EXPECT_EQ(rule.Update(std::span(sequence).subspan(at * shape[2], shape[2]), mean), expected[at] == 1)
            << "stability " << stability << " canvas " << canvas << " step " << step;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transformers, RecordedRules, testing::Values("alternating-f32", "alternating-bf16"),
                         [](const auto& one) { return one.param == "alternating-f32" ? "f32" : "bf16"; });

TEST(Acceptance, AtLeastTheMostCertainPosition) {
  EXPECT_EQ(Accepted({3, 2, 5}, 0.0), (std::vector<uint8_t>{0, 1, 0}));
  EXPECT_EQ(Accepted({3, 2, 5}, 1e-12), (std::vector<uint8_t>{0, 1, 0}));
  EXPECT_EQ(Accepted({4.5f}, 0.1), std::vector<uint8_t>{1});
  EXPECT_EQ(Accepted({}, 0.1), std::vector<uint8_t>{});
}

TEST(Acceptance, TheBoundIsOnTheSumBeforeAPosition) {
  // Sorted 1, 2, 4: sums before are 0, 1, 3.
  EXPECT_EQ(Accepted({4, 1, 2}, 0.99), (std::vector<uint8_t>{0, 1, 0}));
  EXPECT_EQ(Accepted({4, 1, 2}, 1.0), (std::vector<uint8_t>{0, 1, 1})) << "at most the bound";
  EXPECT_EQ(Accepted({4, 1, 2}, 2.99), (std::vector<uint8_t>{0, 1, 1}));
  EXPECT_EQ(Accepted({4, 1, 2}, 3.0), (std::vector<uint8_t>{1, 1, 1}));
}

TEST(Acceptance, AnEndlessBoundAcceptsAll) {
  EXPECT_EQ(Accepted({12, 12, 12, 0, 5}, std::numeric_limits<double>::infinity()), std::vector<uint8_t>(5, 1));
}

TEST(Acceptance, CertainPositionsAreAllAccepted) {
  EXPECT_EQ(Accepted({0, 0, 9, 0}, 0.0), (std::vector<uint8_t>{1, 1, 1, 1}));
}

TEST(Acceptance, EqualEntropiesTakeTheLowerRowFirst) {
  EXPECT_EQ(Accepted({1, 1, 1, 1}, 1.5), (std::vector<uint8_t>{1, 1, 0, 0}));
  EXPECT_EQ(Accepted({1, 0.5f, 1, 0.5f}, 1.0), (std::vector<uint8_t>{1, 1, 0, 1}));
}

TEST(Acceptance, ShufflingTheRowsShufflesTheMask) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    const size_t rows = 1 + random() % 60;
    std::vector<float> entropy(rows);
    std::vector<size_t> order(rows);
    // Distinct values, as which of two equal ones is accepted depends on their order.
    for (size_t i = 0; i < rows; ++i) entropy[i] = 0.01f * static_cast<float>(order[i] = i);
    std::shuffle(entropy.begin(), entropy.end(), random);
    std::shuffle(order.begin(), order.end(), random);
    const double bound = 0.02 * static_cast<double>(random() % 100);
    const std::vector<uint8_t> accepted = Accepted(entropy, bound);
    std::vector<float> moved(rows);
    for (size_t i = 0; i < rows; ++i) moved[i] = entropy[order[i]];
    const std::vector<uint8_t> moved_accepted = Accepted(moved, bound);
    for (size_t i = 0; i < rows; ++i) EXPECT_EQ(moved_accepted[i], accepted[order[i]]);
  }
}

TEST(Acceptance, AHigherBoundNeverAcceptsLess) {
  std::mt19937 random(5);
  std::exponential_distribution<float> draw(2.0f);
  for (int round = 0; round < 100; ++round) {
    std::vector<float> entropy(48);
    for (float& h : entropy) h = draw(random);
    std::vector<uint8_t> before(48, 0);
    for (double bound : {0.0, 0.1, 0.5, 2.0, 10.0, 1e9}) {
      const std::vector<uint8_t> accepted = Accepted(entropy, bound);
      for (size_t i = 0; i < 48; ++i) EXPECT_GE(accepted[i], before[i]);
      before = accepted;
    }
    EXPECT_EQ(before, std::vector<uint8_t>(48, 1));
  }
}

TEST(Schedule, FollowsTheClosedForm) {
  for (const TemperatureSchedule& schedule : {TemperatureSchedule{}, TemperatureSchedule{0.1, 1.3, 7},
                                              TemperatureSchedule{0.7, 0.7, 64}, TemperatureSchedule{0.0, 2.0, 1}}) {
    for (int32_t step = 0; step < schedule.steps; ++step) {
      const double remaining = static_cast<double>(schedule.steps - step) / schedule.steps;
      const double exact = schedule.t_min + (schedule.t_max - schedule.t_min) * remaining;
      // Five float32 roundings (quotient, two limits, product, sum), each at most half an ulp of a value <= t_max.
      EXPECT_NEAR(schedule.At(step), exact, 5 * 0x1p-24 * schedule.t_max) << step;
      if (step > 0 && schedule.t_max > schedule.t_min) {
        EXPECT_LT(schedule.At(step), schedule.At(step - 1));
      }
    }
  }
}

// Computed by torch as LinearTemperatureScheduleLogitsProcessor does: an int32 tensor of steps remaining, so float32 throughout.
TEST(Schedule, EqualsTransformersBitForBit) {
  const TemperatureSchedule released;
  const std::pair<int32_t, float> expected[] = {{48, 0x1.99999ap-1f}, {47, 0x1.955556p-1f}, {37, 0x1.6aaaacp-1f},
                                                {23, 0x1.2eeefp-1f},  {11, 0x1.f77778p-2f}, {2, 0x1.aaaaacp-2f},
                                                {1, 0x1.a22222p-2f}};
  for (const auto& [remaining, temperature] : expected)
    EXPECT_EQ(released.At(48 - remaining), temperature) << remaining;
  EXPECT_FLOAT_EQ(released.At(0), 0.8f);
  EXPECT_NEAR(released.At(47), 0.408333, 1e-6) << "the last step never reaches t_min";
  const TemperatureSchedule other{0.1, 1.3, 7};
  const float sevenths[] = {0x1.4cccce0p+0f, 0x1.20ea10p+0f, 0x1.ea0ea4p-1f, 0x1.924928p-1f,
                            0x1.3a83aap-1f,  0x1.c57c5ap-2f, 0x1.15f16p-2f};
  for (int32_t step = 0; step < 7; ++step) EXPECT_EQ(other.At(step), sevenths[step]) << step;
}

TEST(StopRule, AsksForRepetitionAndConfidence) {
  const std::vector<int32_t> a = {1, 2}, b = {1, 3};
  StopRule rule(2, 0.5);
  EXPECT_FALSE(rule.Update(a, 0.1));
  EXPECT_FALSE(rule.Update(a, 0.1)) << "only one step before it agrees";
  EXPECT_TRUE(rule.Update(a, 0.1));
  EXPECT_FALSE(rule.Update(a, 0.5)) << "below, not at, the threshold";
  EXPECT_TRUE(rule.Update(a, 0.49)) << "an unsure step does not break the repetition";
  EXPECT_FALSE(rule.Update(b, 0.0));
  EXPECT_FALSE(rule.Update(a, 0.0)) << "the canvas before the last does not count";
  EXPECT_FALSE(StopRule(0, 0.0).Update(a, 0.0)) << "a threshold of zero never stops";
  EXPECT_TRUE(StopRule(0, 1.0).Update(a, 0.5)) << "no repetition asked";
  EXPECT_FALSE(StopRule(1, 1.0).Update(a, 0.0)) << "the first step repeats nothing";
}

class SettledRowsTest : public testing::Test {
 protected:
  /// Rows of the next pass after a step with these findings for four rows.
  std::vector<int32_t> After(SettledRows& rows, const std::vector<int32_t>& argmax, const std::vector<float>& entropy,
                             const std::vector<uint8_t>& accepted = {1, 1, 1, 1}, NextPass next = NextPass::kMaySkip) {
    rows.Update({argmax, accepted, entropy}, next);
    return {rows.computed().begin(), rows.computed().end()};
  }
  const std::vector<int32_t> all_ = {0, 1, 2, 3};
  const std::vector<float> sure_ = {0, 0, 0, 0};
};

TEST_F(SettledRowsTest, NothingIsLeftOutWhenOff) {
  SettledRows rows(SkipRule{}, 4);
  for (int step = 0; step < 5; ++step) EXPECT_EQ(After(rows, {1, 2, 3, 4}, sure_), all_);
}

TEST_F(SettledRowsTest, SettleAfterAgreeingPassesThatAreSure) {
  SettledRows rows(SkipRule{.settled_steps = 2, .refresh_every = 100}, 4);
  EXPECT_TRUE(rows.full()) << "the first pass computes all";
  EXPECT_EQ(After(rows, {1, 2, 3, 4}, {0, 0, 0, 0.02f}), all_) << "one pass is not enough";
  // Row 1 has another argmax, row 2 was not accepted, row 3 is sure for the first time.
  EXPECT_EQ(After(rows, {1, 9, 3, 4}, sure_, {1, 1, 0, 1}), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_FALSE(rows.full());
  EXPECT_EQ(After(rows, {1, 9, 3, 4}, sure_), (std::vector<int32_t>{2}));
  EXPECT_EQ(After(rows, {1, 9, 3, 4}, sure_, {0, 1, 1, 1}), (std::vector<int32_t>{0})) << "no longer accepted";
}

TEST_F(SettledRowsTest, AllAreComputedWhenAskedWhenDueAndWhenNoneIsLeft) {
  SettledRows asked(SkipRule{.settled_steps = 1, .refresh_every = 100}, 4);
  EXPECT_EQ(After(asked, {1, 2, 3, 4}, {0, 0, 0, 1}), (std::vector<int32_t>{3}));
  EXPECT_EQ(After(asked, {1, 2, 3, 4}, {0, 0, 0, 1}, {1, 1, 1, 1}, NextPass::kFull), all_);
  EXPECT_EQ(After(asked, {1, 2, 3, 4}, {0, 0, 0, 1}), (std::vector<int32_t>{3}));
  EXPECT_EQ(After(asked, {1, 2, 3, 4}, sure_), all_) << "none left";

  SettledRows due(SkipRule{.settled_steps = 1, .refresh_every = 3}, 4);
  std::vector<bool> full;
  for (int pass = 0; pass < 7; ++pass) {
    full.push_back(due.full());
    After(due, {1, 2, 3, 4}, {0, 0, 0, 1});
  }
  EXPECT_EQ(full, (std::vector<bool>{true, false, false, true, false, false, true}));
}

}  // namespace
}  // namespace dgemma::test
