// What a cross-entropy of the reference says about its rows, and how values that are not finite show.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref_train_kernels.h"
#include "support/double_ops.h"
#include "train_cases.h"

namespace dgemma::test {
namespace {

constexpr int64_t kRows = 5, kWidth = 7, kVocab = 19;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A table, hidden states, and what CrossEntropy makes of them.
struct Losses {
  explicit Losses(float softcap_in, const WeightType& type = DType::kF32)
      : softcap(softcap_in), stored(type, 1, kVocab, kWidth, 1), table(Packed(*backend.forward, stored)) {}

  enum class Wanted : uint8_t { kLosses, kGradients };
  void Run(Wanted wanted) {
    Result<Weight> made = backend.train->MakeGradient(table);
    ASSERT_TRUE(made.has_value());
    dtable = *made;
    const bool gradients = wanted == Wanted::kGradients;
    backend.train->CrossEntropy(hidden.view, table, softcap, target, weight, rows, gradients ? dhidden.view : Matrix{},
                                gradients ? dtable : Weight{});
  }
  float LargestOf(int64_t row) const {
    float largest = 0;
    for (int64_t i = 0; i < kWidth; ++i) largest = std::max(largest, std::abs(dhidden.view.Row(row)[i]));
    return largest;
  }

  float softcap;
  TrainBackend backend = RefTrain();
  Stored stored;
  Weight table;
  Rows hidden{kRows, kWidth, Normals(kRows* kWidth, 2)}, dhidden{kRows, kWidth};
  std::vector<int32_t> target = {3, -1, 0, 18, 3};
  std::vector<float> weight = {1, 1, 0, 0.5f, 2};
  std::vector<LossRow> rows = std::vector<LossRow>(kRows);
  Weight dtable;
};

/// The loss is a difference of two values below twice the softcap, each rounded a few times.
TEST(CrossEntropy, IsMinusTheLogarithmOfTheTargetsProbability) {
  for (float softcap : {30.0f, 3.0f}) {
    Losses losses(softcap);
    losses.Run(Losses::Wanted::kGradients);
    for (int64_t row = 0; row < kRows; ++row) {
      const auto index = static_cast<size_t>(row);
      const int32_t target = losses.target[index];
      if (target < 0) continue;
      const exact::Values hidden(losses.hidden.view.Row(row), losses.hidden.view.Row(row) + kWidth);
      const exact::Values table(losses.table.Vector(), losses.table.Vector() + kVocab * kWidth);
      const exact::Values z = exact::Logits(hidden, table, kWidth, kVocab, static_cast<double>(softcap));
      const double expected = -std::log(exact::Softmax(z, kVocab)[static_cast<size_t>(target)]);
      EXPECT_NEAR(losses.rows[index].loss, expected, 8 * kEps * 2 * static_cast<double>(softcap));
      EXPECT_EQ(losses.rows[index].correct, std::ranges::max_element(z) - z.begin() == target);
      EXPECT_TRUE(losses.rows[index].finite);
    }
  }
}

TEST(CrossEntropy, IsThatOfTheForwardLogitsInEveryFormat) {
  for (const WeightType& type : AllTypes()) {
    Losses losses(30, type);
    losses.Run(Losses::Wanted::kLosses);
    Rows logits(kRows, kVocab);
    losses.backend.forward->Logits(losses.hidden.view, losses.table, 30, logits.view);
    for (int64_t row = 0; row < kRows; ++row) {
      const int32_t target = losses.target[static_cast<size_t>(row)];
      if (target < 0) continue;
      const exact::Values z(logits.view.Row(row), logits.view.Row(row) + kVocab);
      const double expected = -std::log(exact::Softmax(z, kVocab)[static_cast<size_t>(target)]);
      EXPECT_NEAR(losses.rows[static_cast<size_t>(row)].loss, expected, 2 * kEps * expected + 1e-14) << type.Name();
    }
  }
}

TEST(CrossEntropy, OfRowsWithoutATargetOrWeightHasNoGradient) {
  Losses losses(30);
  std::fill_n(losses.hidden.view.Row(1), kWidth, kNan);  // without a target: not looked at
  losses.Run(Losses::Wanted::kGradients);
  EXPECT_EQ(losses.LargestOf(1), 0);
  EXPECT_EQ(losses.rows[1].loss, 0);
  EXPECT_FALSE(losses.rows[1].correct);
  EXPECT_TRUE(losses.rows[1].finite);
  EXPECT_EQ(losses.LargestOf(2), 0);
  EXPECT_GT(losses.rows[2].loss, 0) << "a row without weight has its loss still";
  EXPECT_GT(losses.LargestOf(0), 0);
  EXPECT_TRUE(std::isfinite(losses.backend.train->SumSquares(losses.dtable)));
}

TEST(CrossEntropy, WithoutGradientsGivesTheSameLosses) {
  Losses losses(30);
  losses.Run(Losses::Wanted::kGradients);
  const std::vector<LossRow> expected = losses.rows;
  EXPECT_GT(losses.backend.train->SumSquares(losses.dtable), 0);
  losses.rows.assign(kRows, {});
  losses.Run(Losses::Wanted::kLosses);
  EXPECT_EQ(losses.backend.train->SumSquares(losses.dtable), 0);
  for (size_t row = 0; row < kRows; ++row) {
    EXPECT_EQ(losses.rows[row].loss, expected[row].loss);
    EXPECT_EQ(losses.rows[row].correct, expected[row].correct);
  }
}

TEST(CrossEntropy, CountsTheLowestOfEqualIdsAsMostLikely) {
  Losses losses(30);
  losses.backend.train->Zero(losses.hidden.view);
  losses.Run(Losses::Wanted::kGradients);
  for (size_t row : {0u, 2u, 3u, 4u}) {
    EXPECT_EQ(losses.rows[row].correct, losses.target[row] == 0);
    EXPECT_NEAR(losses.rows[row].loss, std::log(static_cast<double>(kVocab)), 4 * kEps * 3);
  }
}

TEST(CrossEntropy, ShowsARowThatIsNotFinite) {
  Losses losses(30);
  losses.hidden.view.Row(3)[4] = kNan;
  losses.Run(Losses::Wanted::kGradients);
  for (size_t row = 0; row < kRows; ++row) EXPECT_EQ(losses.rows[row].finite, row != 3);
  EXPECT_TRUE(std::isnan(losses.backend.train->SumSquares(losses.dtable)));
  EXPECT_TRUE(std::isfinite(losses.LargestOf(0)) && std::isfinite(losses.LargestOf(4))) << "it stays in its row";
}

TEST(Gradient, OfWeightsShowsANanOfAnyRow) {
  TrainBackend ref = RefTrain();
  for (TrainCase& c : std::vector<TrainCase>{LinearCase(5, 7, 11, 1), RmsNormCase(5, 7, NormWeight::kPresent, 2),
                                             GatedMlpCase(5, 7, 9, 3), ExpertsCase({5, 7, 5, 2, 3}, 4),
                                             QkvCase({5, 7, {4, 2, 6}, 2, true}, 5), JoinCase(5, 7, 6)}) {
    for (const auto& [rows, tensor] : c.inputs) {
      if (tensor.kind != Tensor::Kind::kRows || rows == "h") continue;  // a join's residual reaches no weight
      Tensors poisoned = c.inputs;
      poisoned.at(rows).values[static_cast<size_t>(tensor.in + 1)] = kNan;
      bool shown = false;
      for (const auto& [name, gradient] : c.gradients({ref}, poisoned)) {
        const auto found = c.inputs.find(name);
        if (found == c.inputs.end() || found->second.kind == Tensor::Kind::kRows) continue;
        const auto size = static_cast<int64_t>(gradient.values.size());
        const Weight weight = Packed(*ref.forward, Stored(DType::kF32, 1, 1, size, gradient.values));
        shown |= std::isnan(ref.train->SumSquares(weight));
      }
      EXPECT_TRUE(shown) << c.name << ", NaN in " << rows;
    }
  }
}

}  // namespace
}  // namespace dgemma::test
