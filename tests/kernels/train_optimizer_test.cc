// The optimiser's operations of the reference: AdamW against steps recorded from torch (record_adamw.py), moving
// averages and sums of squares against their formulas.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <span>

#include "train_cases.h"

namespace dgemma::test {
namespace {

constexpr int64_t kCount = 2, kOut = 3, kIn = 7;

std::span<float> Values(const Weight& weight) {
  return {weight.buffer.Floats(), static_cast<size_t>(weight.count * weight.out * weight.in)};
}

Weight Filled(TrainBackend& backend, int64_t count, int64_t out, int64_t in, const std::vector<float>& values) {
  const Stored stored(DType::kF32, count, out, in, values);
  return Packed(*backend.forward, stored);
}

Weight Normal(TrainBackend& backend, uint32_t seed) {
  return Filled(backend, kCount, kOut, kIn, Normals(kCount * kOut * kIn, seed));
}

Weight Zeros(TrainBackend& backend, const Weight& like) {
  Result<Weight> zeros = backend.train->MakeGradient(like);
  EXPECT_TRUE(zeros.has_value());
  return *zeros;
}

TEST(Optimizer, GradientsHaveTheShapeOfTheWeightAndStartAtZero) {
  TrainBackend ref = RefTrain();
  const Weight gradient = Zeros(ref, Normal(ref, 1));
  EXPECT_EQ(gradient.count, kCount);
  EXPECT_EQ(gradient.out, kOut);
  EXPECT_EQ(gradient.in, kIn);
  EXPECT_EQ(gradient.format, kFloat32Weights);
  EXPECT_TRUE(std::ranges::all_of(Values(gradient), [](float value) { return value == 0; }));
}

TEST(Optimizer, UnpackGivesRowsInPlainOrder) {
  TrainBackend ref = RefTrain();
  const std::vector<float> values = Normals(kCount * kOut * kIn, 1);
  const Weight weight = Filled(ref, kCount, kOut, kIn, values);
  for (int64_t row = 0; row < kCount * kOut; ++row) {
    std::vector<float> out(kIn);
    ref.train->Unpack(weight, row / kOut, row % kOut, out);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), values.begin() + row * kIn));
  }
}

/// Weights of order 1 take steps of order `rate`; torch rounds each to float32 a few times: 4 kEps of the weight and of
/// each step.
TEST(Optimizer, AdamTakesTheStepsOfTorch) {
  TrainBackend ref = RefTrain();
  std::ifstream file(DGEMMA_SOURCE_DIR "/tests/kernels/adamw.txt");
  size_t size = 0;
  int steps = 0;
  ASSERT_TRUE(file >> size >> steps);
  const auto read = [&] {
    std::vector<float> values(size);
    for (float& value : values) file >> value;
    return values;
  };
  const auto width = static_cast<int64_t>(size);
  const Weight weight = Filled(ref, 1, 1, width, read());
  const Weight m = Zeros(ref, weight), v = Zeros(ref, weight);
  AdamStep step;
  step.beta1 = 0.9f;
  step.beta2 = 0.95f;
  step.eps = 1e-8f;
  step.decay = 0.1f;
  for (int t = 1; t <= steps; ++t) {
    const std::vector<float> gradient_values = read();
    ASSERT_TRUE(file >> step.grad_scale >> step.rate);
    const std::vector<float> expected = read();
    ASSERT_TRUE(file) << "step " << t;
    step.correction1 = static_cast<float>(1 - std::pow(0.9, t));
    step.correction2 = static_cast<float>(1 - std::pow(0.95, t));
    const Weight gradient = Filled(ref, 1, 1, width, gradient_values);
    ref.train->Adam(step, gradient, m, v, weight);
    EXPECT_TRUE(std::ranges::equal(Values(gradient), gradient_values)) << "the gradient is left as it is";
    for (size_t i = 0; i < size; ++i) {
      const double bound =
          kEps * (4 * std::abs(static_cast<double>(expected[i])) + 32 * static_cast<double>(step.rate)) * t;
      EXPECT_NEAR(Values(weight)[i], expected[i], bound) << "step " << t << " value " << i;
    }
  }
}

TEST(Optimizer, AverageMovesByItsShare) {
  TrainBackend ref = RefTrain();
  const Weight value = Normal(ref, 1), average = Normal(ref, 2);
  const std::vector<float> before(Values(average).begin(), Values(average).end());
  ref.train->Average(value, 0.25f, average);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(Values(average)[i], 0.75f * before[i] + 0.25f * Values(value)[i], 4 * kEps * 4);
  }
  ref.train->Average(value, 1.0f, average);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(Values(average)[i], Values(value)[i]);
  ref.train->Average(average, 0.0f, value);
  EXPECT_TRUE(std::ranges::equal(Values(average), Values(value)));
}

TEST(Optimizer, SumOfSquaresShowsWhatIsNotFinite) {
  TrainBackend ref = RefTrain();
  const Weight gradient = Normal(ref, 1);
  double expected = 0;
  for (float value : Values(gradient)) expected += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(ref.train->SumSquares(gradient), expected, expected * 1e-14);
  Values(gradient)[5] = 3e30f;
  EXPECT_NEAR(ref.train->SumSquares(gradient) / 9e60, 1, 1e-6) << "float64 holds the square of any float32";
  Values(gradient)[5] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(ref.train->SumSquares(gradient)));
  Values(gradient)[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(ref.train->SumSquares(gradient)));
  ref.train->Clear(gradient);
  EXPECT_EQ(ref.train->SumSquares(gradient), 0);
}

TEST(Optimizer, RowsAreZeroedCopiedAndAdded) {
  TrainBackend ref = RefTrain();
  const std::vector<float> a = Normals(15, 1), b = Normals(15, 2);
  const Rows x(3, 5, a), sum(3, 5, b);
  ref.train->Add(x.view, sum.view);
  for (int64_t i = 0; i < 15; ++i) {
    const auto index = static_cast<size_t>(i);
    EXPECT_EQ(sum.view.Row(i / 5)[i % 5], a[index] + b[index]);
  }
  ref.train->Copy(x.view, sum.view);
  EXPECT_TRUE(SameBits(sum.view, x.view));
  ref.train->Zero(sum.view);
  EXPECT_TRUE(SameBits(sum.view, Rows(3, 5, std::vector<float>(15, 0.0f)).view));
  EXPECT_TRUE(std::isnan(sum.storage[5])) << "values between rows stay";
}

}  // namespace
}  // namespace dgemma::test
