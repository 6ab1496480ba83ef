// The denoising step with scripted predictions and draws: which tokens come from where, when it ends, what a bad number does.
#include "diffusion/canvas.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "support/idle_kernels.h"

namespace dgemma::test {
namespace {

constexpr int32_t kFirstRow = 5;  // of the canvas in the head's rows
constexpr int32_t kWidth = 3;

/// Draws that say what they were drawn for: start 1'000'000, renoise 2'000'000, plus canvas, step and row.
class LabelledNoise final : public Noise {
 public:
  int32_t StartToken(int32_t canvas, int32_t row) const override { return 1'000'000 + 10'000 * canvas + row; }
  double SampleUniform(int32_t canvas, int32_t step, int32_t row) const override {
    return 0.1 * canvas + 0.01 * step + 0.001 * row;
  }
  int32_t RenoiseToken(int32_t canvas, int32_t step, int32_t row) const override {
    return 2'000'000 + 10'000 * canvas + 100 * step + row;
  }
};

/// Samples id 3'000'000 + head row, and records what it was asked.
class ScriptedKernels final : public IdleKernels {
 public:
  void Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
              std::span<int32_t> ids) override {
    EXPECT_EQ(&scratch, &expected_scratch);
    EXPECT_EQ(rows.size(), uniform.size());
    EXPECT_EQ(rows.size(), ids.size());
    for (size_t i = 0; i < rows.size(); ++i) ids[i] = 3'000'000 + rows[i];
    sampled_rows.assign(rows.begin(), rows.end());
    uniforms.assign(uniform.begin(), uniform.end());
    ++calls;
  }
  HeadScratch expected_scratch;
  std::vector<int32_t> sampled_rows;
  std::vector<double> uniforms;
  int calls = 0;
};

class CanvasTest : public testing::Test {
 protected:
  CanvasTest() : soft_values_(12, -1.0f), prediction_soft_values_(12, 0.0f) {
    rules_.schedule.steps = 6;
    rules_.entropy_bound = 0.5;
    rules_.stability = 1;
    rules_.confidence = 0.2;
  }
  Canvas NewCanvas(int32_t number = 0, std::span<const int32_t> start = {}) {
    return {number, 4, rules_, noise_, {soft_values_.data(), 4, kWidth, kWidth}, start};
  }
  Result<void> Step(Canvas& canvas, std::vector<int32_t> argmax, std::vector<float> entropy) {
    rows_.clear();
    for (size_t i = 0; i < argmax.size(); ++i) rows_.push_back({argmax[i], 1.0f, entropy[i], true});
    return StepWithRows(canvas);
  }
  Result<void> StepWithRows(Canvas& canvas) {
    for (float& value : prediction_soft_values_) value += 1;
    return canvas.Step(
        {&kernels_, &kernels_.expected_scratch, kFirstRow, rows_, {prediction_soft_values_.data(), 4, kWidth, kWidth}});
  }
  static std::vector<int32_t> Tokens(const Canvas& canvas) { return {canvas.tokens().begin(), canvas.tokens().end()}; }
  static std::vector<int32_t> Argmax(const Canvas& canvas) { return {canvas.argmax().begin(), canvas.argmax().end()}; }

  DenoiseRules rules_;
  LabelledNoise noise_;
  ScriptedKernels kernels_;
  std::vector<float> soft_values_, prediction_soft_values_;
  std::vector<HeadRow> rows_;
};

TEST_F(CanvasTest, StartsFromNoiseOfItsNumber) {
  const Canvas canvas = NewCanvas(2);
  EXPECT_EQ(Tokens(canvas), (std::vector<int32_t>{1'020'000, 1'020'001, 1'020'002, 1'020'003}));
  EXPECT_EQ(canvas.number(), 2);
  EXPECT_EQ(canvas.steps_done(), 0);
  EXPECT_FALSE(canvas.done());
  EXPECT_EQ(canvas.temperature(), 0.8f);
}

TEST_F(CanvasTest, StartsFromGivenTokens) {
  const std::vector<int32_t> start = {9, 8, 7, 6};
  EXPECT_EQ(Tokens(NewCanvas(1, start)), start);
}

TEST_F(CanvasTest, AcceptedPositionsAreSampledAndAllOthersBecomeNoiseAgain) {
  Canvas canvas = NewCanvas(1);
  ASSERT_TRUE(
      Step(canvas, {11, 12, 13, 14}, {2.0f, 0.1f, 0.9f, 0.3f}));  // sorted 0.1, 0.3, 0.9: sums before 0, 0.1, 0.4
  EXPECT_EQ(Tokens(canvas), (std::vector<int32_t>{2'010'000, 3'000'006, 3'000'007, 3'000'008}));
  EXPECT_EQ(kernels_.sampled_rows, (std::vector<int32_t>{6, 7, 8}));
  ASSERT_EQ(kernels_.uniforms.size(), 3u);
  EXPECT_DOUBLE_EQ(kernels_.uniforms[0], 0.101) << "canvas 1, step 0, row 1";
  EXPECT_DOUBLE_EQ(kernels_.uniforms[2], 0.103);
  EXPECT_EQ(Argmax(canvas), (std::vector<int32_t>{11, 12, 13, 14}));
  EXPECT_EQ(std::vector<uint8_t>(canvas.accepted().begin(), canvas.accepted().end()),
            (std::vector<uint8_t>{0, 1, 1, 1}));
  EXPECT_NEAR(canvas.mean_entropy(), 3.3 / 4, 1e-6);
  EXPECT_EQ(canvas.steps_done(), 1);

  ASSERT_TRUE(Step(canvas, {21, 22, 23, 24}, {0.6f, 2.0f, 2.0f, 2.0f}));
  EXPECT_EQ(Tokens(canvas), (std::vector<int32_t>{3'000'005, 2'010'101, 2'010'102, 2'010'103}))
      << "acceptance does not last";
  EXPECT_DOUBLE_EQ(kernels_.uniforms.at(0), 0.11) << "canvas 1, step 1, row 0";
  EXPECT_EQ(Argmax(canvas), (std::vector<int32_t>{21, 22, 23, 24}))
      << "the result is the last argmax, not the sampled tokens";
  EXPECT_EQ(kernels_.calls, 2);
}

TEST_F(CanvasTest, RowsThatAPassLeftOutKeepTokenPredictionAndSoftEmbedding) {
  rules_.skip = {.settled_steps = 1, .refresh_every = 100};
  rules_.schedule.steps = 4;
  Canvas canvas = NewCanvas(1);
  EXPECT_TRUE(canvas.pass_rows().empty()) << "all rows";
  EXPECT_EQ(canvas.pass_tokens().size(), 4u);
  ASSERT_TRUE(Step(canvas, {11, 12, 13, 14}, {0.0f, 2.0f, 0.001f, 3.0f}));
  EXPECT_EQ(canvas.last_pass_rows(), 4);
  EXPECT_EQ(std::vector<int32_t>(canvas.pass_rows().begin(), canvas.pass_rows().end()), (std::vector<int32_t>{1, 3}));
  const std::vector<int32_t> before = Tokens(canvas);
  EXPECT_EQ(std::vector<int32_t>(canvas.pass_tokens().begin(), canvas.pass_tokens().end()),
            (std::vector<int32_t>{before[1], before[3]}));

  ASSERT_TRUE(Step(canvas, {22, 24}, {0.2f, 2.0f}));  // predictions of rows 1 and 3
  EXPECT_EQ(canvas.last_pass_rows(), 2);
  EXPECT_EQ(Argmax(canvas), (std::vector<int32_t>{11, 22, 13, 24}));
  EXPECT_NEAR(canvas.mean_entropy(), (0.0 + 0.2 + 0.001 + 2.0) / 4, 1e-6);
  EXPECT_EQ(kernels_.sampled_rows, (std::vector<int32_t>{5, 6})) << "accepted and computed, as the head numbers them";
  EXPECT_DOUBLE_EQ(kernels_.uniforms.at(0), 0.111) << "draws keep the key of the row: canvas 1, step 1, row 1";
  EXPECT_DOUBLE_EQ(kernels_.uniforms.at(1), 0.113);
  EXPECT_EQ(Tokens(canvas), (std::vector<int32_t>{before[0], 3'000'005, before[2], 3'000'006}));
  EXPECT_EQ(canvas.soft().Row(0)[0], 1.0f) << "of the first step";
  EXPECT_EQ(canvas.soft().Row(1)[0], 2.0f) << "of the second";

  ASSERT_TRUE(Step(canvas, {22, 24}, {0.0f, 2.0f}));
  EXPECT_TRUE(canvas.pass_rows().empty()) << "the last allowed step computes all";
  EXPECT_FALSE(canvas.done());
  ASSERT_TRUE(Step(canvas, {31, 32, 33, 34}, {0.0f, 0.0f, 0.0f, 2.0f}));
  EXPECT_TRUE(canvas.done());
  EXPECT_EQ(Argmax(canvas), (std::vector<int32_t>{31, 32, 33, 34}));
}

TEST_F(CanvasTest, ADraftThatMayEndIsConfirmedByFullPasses) {
  for (const int32_t full_passes : {1, 2}) {
    rules_.skip = {.settled_steps = 1, .refresh_every = 100, .full_passes = full_passes};
    rules_.schedule.steps = 10;
    Canvas canvas = NewCanvas();
    ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.0f, 0.0f, 0.0f, 2.0f}));
    ASSERT_TRUE(Step(canvas, {4}, {1.0f}));
    EXPECT_FALSE(canvas.pass_rows().empty()) << "the mean of 0.25 is not below 0.2";
    ASSERT_TRUE(Step(canvas, {4}, {0.1f}));
    EXPECT_FALSE(canvas.done()) << "the rule is met, but not by a full pass";
    EXPECT_TRUE(canvas.pass_rows().empty());
    ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.0f, 0.0f, 0.0f, 0.1f}));
    EXPECT_EQ(canvas.done(), full_passes == 1);
    if (full_passes == 1) continue;
    EXPECT_TRUE(canvas.pass_rows().empty());
    ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.0f, 0.0f, 0.0f, 0.1f}));
    EXPECT_TRUE(canvas.done());
  }
}

TEST_F(CanvasTest, FeedsBackTheSoftEmbeddingsOfTheStepBefore) {
  Canvas canvas = NewCanvas();
  EXPECT_EQ(canvas.soft().data, nullptr) << "nothing in the first step";
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {1, 1, 1, 1}));
  EXPECT_EQ(canvas.soft().data, soft_values_.data());
  EXPECT_EQ(soft_values_, std::vector<float>(12, 1.0f)) << "copied: the predictions' memory is reused";
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {1, 1, 1, 1}));
  EXPECT_EQ(soft_values_, std::vector<float>(12, 2.0f));
}

TEST_F(CanvasTest, StopsWhenStableAndConfident) {
  Canvas canvas = NewCanvas();
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.1f, 0.1f, 0.1f, 0.1f}));
  EXPECT_FALSE(canvas.done());
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.1f, 0.1f, 0.1f, 0.6f}));
  EXPECT_FALSE(canvas.done()) << "mean entropy 0.225";
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.1f, 0.1f, 0.1f, 0.4f}));
  EXPECT_TRUE(canvas.done());
  EXPECT_EQ(canvas.steps_done(), 3);
}

TEST_F(CanvasTest, StopsExactlyAtTheStepLimit) {
  Canvas canvas = NewCanvas();
  for (int32_t step = 1; step <= 6; ++step) {
    EXPECT_FLOAT_EQ(canvas.temperature(), rules_.schedule.At(step - 1));
    ASSERT_TRUE(Step(canvas, {step, 2, 3, 4}, {3, 3, 3, 3}));
    EXPECT_EQ(canvas.done(), step == 6);
  }
}

TEST_F(CanvasTest, NonFinitePredictionsChangeNothing) {
  Canvas canvas = NewCanvas();
  ASSERT_TRUE(Step(canvas, {1, 2, 3, 4}, {0.1f, 1, 2, 3}));
  const std::vector<int32_t> tokens = Tokens(canvas), argmax = Argmax(canvas);
  const std::vector<float> entropy(canvas.entropy().begin(), canvas.entropy().end()), soft = soft_values_;
  const double mean = canvas.mean_entropy();
  rows_ = {{9, 1, 0.5f, true},
           {9, 1, 0.5f, true},
           {0, 0, std::numeric_limits<float>::quiet_NaN(), false},
           {9, 1, 0.5f, true}};
  const auto failed = StepWithRows(canvas);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, StatusCode::kNonFinite);
  EXPECT_EQ(failed.error().message, "logits: NaN or infinity at canvas position 2");
  EXPECT_EQ(Tokens(canvas), tokens);
  EXPECT_EQ(Argmax(canvas), argmax);
  EXPECT_EQ(std::vector<float>(canvas.entropy().begin(), canvas.entropy().end()), entropy);
  EXPECT_EQ(canvas.mean_entropy(), mean);
  EXPECT_EQ(soft_values_, soft);
  EXPECT_EQ(canvas.steps_done(), 1);
  EXPECT_EQ(kernels_.calls, 1);
  EXPECT_FALSE(canvas.done());
}

TEST(SeededNoise, TheSameKeyGivesTheSameDrawAndAnyOtherKeyAnother) {
  const SeededNoise noise(42, 262'144), same(42, 262'144), other(43, 262'144);
  constexpr int kRows = 64;
  // Two independent rows of 64 draws agree everywhere with probability 2^-1152; one agreement has probability 64 / 2^18.
  const auto renoise = [&](const Noise& source, int32_t canvas, int32_t step, int32_t first) {
    std::vector<int32_t> draws;
    for (int32_t row = 0; row < kRows; ++row) draws.push_back(source.RenoiseToken(canvas, step, first + row));
    return draws;
  };
  const std::vector<int32_t> reference = renoise(noise, 3, 5, 0);
  EXPECT_EQ(renoise(same, 3, 5, 0), reference);
  EXPECT_NE(renoise(other, 3, 5, 0), reference) << "seed";
  EXPECT_NE(renoise(noise, 4, 5, 0), reference) << "canvas";
  EXPECT_NE(renoise(noise, 3, 6, 0), reference) << "step";
  EXPECT_NE(renoise(noise, 3, 5, 1), reference) << "row";
  EXPECT_NE(renoise(noise, 5, 3, 0), reference) << "canvas and step are not mixed up";
  std::vector<int32_t> start, first_renoise, sampled;
  for (int32_t row = 0; row < kRows; ++row) {
    start.push_back(noise.StartToken(3, row));
    first_renoise.push_back(noise.RenoiseToken(3, 0, row));
    sampled.push_back(static_cast<int32_t>(noise.SampleUniform(3, 0, row) * 262'144));
  }
  EXPECT_NE(start, first_renoise) << "purpose";
  EXPECT_NE(sampled, first_renoise);
  EXPECT_NE(sampled, start);
}

/// Chi-square statistic of equal cells.
double ChiSquare(const std::vector<int>& counts) {
  double total = 0, sum = 0;
  for (int count : counts) total += count;
  const double expected = total / static_cast<double>(counts.size());
  for (int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

/// With k degrees of freedom the statistic has mean k and variance 2k; by Laurent and Massart it stays below k + 2 sqrt(kx) + 2x
/// but for a probability of e^-x. x = 20: one in 485 million. The draws are fixed by their seed, so the test cannot flicker.
double ChiSquareLimit(size_t cells) {
  const double k = static_cast<double>(cells) - 1, x = 20;
  return k + 2 * std::sqrt(k * x) + 2 * x;
}

TEST(SeededNoise, TokensAreUniformOverTheVocabulary) {
  constexpr int32_t kVocabulary = 509;  // a prime, so that a bias of the reduction would show
  const SeededNoise noise(7, kVocabulary);
  std::vector<int> start(kVocabulary), renoise(kVocabulary), uniform(512);
  for (int32_t canvas = 0; canvas < 4; ++canvas) {
    for (int32_t row = 0; row < 25'600; ++row) {
      ++start.at(static_cast<size_t>(noise.StartToken(canvas, row)));
      ++renoise.at(static_cast<size_t>(noise.RenoiseToken(canvas, row / 256, row % 256)));
      const double u = noise.SampleUniform(canvas, row / 256, row % 256);
      ASSERT_TRUE(u >= 0 && u < 1);
      ++uniform.at(static_cast<size_t>(u * 512));
    }
  }
  EXPECT_LT(ChiSquare(start), ChiSquareLimit(start.size()));
  EXPECT_LT(ChiSquare(renoise), ChiSquareLimit(renoise.size()));
  EXPECT_LT(ChiSquare(uniform), ChiSquareLimit(uniform.size()));
}

}  // namespace
}  // namespace dgemma::test
