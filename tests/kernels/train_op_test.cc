// Gradients of the reference backend against central differences in float64, entry by entry, and the rules all of them
// keep: frozen weights, added gradients, unwanted rows, rows without a target, values that are not finite.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train_cases.h"

namespace dgemma::test {
namespace {

constexpr double kStep = 1e-5;

std::vector<AttendCaseShape> AttendShapes() {
  constexpr QkvShape kHeads{4, 2, 6};
  // One after the other: rows, cache, first cached position, end of the cache, position, window, local store, its rows.
  return {{"causal", kHeads, {64}, {{5, 0, 0, 0, 0, 0}}},
          {"causal in a window after 7 positions", kHeads, {64}, {{5, 0, 2, 0, 7, 4}}},
          {"causal on a ring that wrapped", {3, 1, 6}, {64}, {{3, 0, 62, 0, 65, 0}}},
          {"two sequences, one in two chunks",
           kHeads,
           {64, 64},
           {{3, 0, 0, 0, 0, 0}, {2, 1, 0, 0, 5, 3}, {4, 0, 0, 0, 3, 2}}},
          {"canvas after a prompt", kHeads, {64, 64}, {{5, 0, 0, 6, 6, 0, 1, 5}}},
          {"canvas in a window", kHeads, {64, 64}, {{5, 0, 1, 9, 9, 4, 1, 5}}},
          {"canvas without a prompt", {2, 2, 6}, {64, 64}, {{5, 0, 0, 0, 0, 0, 1, 5}}},
          {"rows of a canvas that keeps more", kHeads, {64, 64}, {{2, 0, 0, 3, 3, 0, 1, 7}}},
          {"prompt and two canvases on one cache",
           kHeads,
           {64, 64, 64},
           {{4, 0, 0, 0, 0, 3}, {3, 0, 0, 4, 4, 0, 1, 3}, {2, 0, 0, 2, 2, 0, 2, 2}}}};
}

std::vector<TrainCase> AllCases() {
  constexpr QkvShape kHeads{4, 2, 6};
  std::vector<TrainCase> cases;
  cases.push_back(EmbedCase(5, 7, 19, 1));
  for (int64_t width : {7, 10}) {
    for (NormWeight weight : {NormWeight::kPresent, NormWeight::kOnes})
      cases.push_back(RmsNormCase(5, width, weight, 2));
    cases.push_back(LinearCase(5, width, 11, 3));
    for (int64_t pairs : {1, 2, 3}) {
      cases.push_back(QkvCase({5, width, kHeads, pairs, true}, 4));
      cases.push_back(QkvCase({5, width, kHeads, pairs, false}, 5));
    }
    cases.push_back(GatedMlpCase(5, width, 9, 7));
    cases.push_back(RouteCase({5, width, 5, 2, 3}, 8));
    cases.push_back(RouteCase({5, width, 4, 4, 3}, 9));
    cases.push_back(RouteCase({5, width, 5, 1, 3}, 10));
    cases.push_back(ExpertsCase({5, width, 5, 2, 3}, 11));
    cases.push_back(JoinCase(5, width, 12));
    cases.push_back(CrossEntropyCase({5, width, 19, 30, 1}, 13));
    cases.push_back(CrossEntropyCase({9, width, 19, 3, 3}, 14));
    cases.push_back(SoftEmbedCase({5, width, 19, 30, 1}, 15));
    cases.push_back(SoftEmbedCase({5, width, 19, 3, 3}, 16));
  }
  for (const AttendCaseShape& shape : AttendShapes()) cases.push_back(AttendCase(shape, 17));
  for (const CaseDeltas& deltas : {CaseDeltas{1, 1, 0}, {1, 0, 1}, {1, 0, 0}, {3, 1, 1}, {8, 3, 2}}) {
    cases.push_back(LinearCase(5, 7, 11, 20, deltas));
    cases.push_back(QkvCase({5, 7, kHeads, 3, true}, 21, deltas));
    cases.push_back(QkvCase({5, 7, kHeads, 2, false}, 22, deltas));
    cases.push_back(GatedMlpCase(5, 7, 9, 23, deltas));
    cases.push_back(RouteCase({5, 7, 5, 2, 3}, 24, deltas));
    cases.push_back(RouteCase({5, 7, 5, 1, 3}, 25, deltas));
    cases.push_back(ExpertsCase({9, 7, 5, 2, 3}, 26, deltas));
  }
  return cases;
}

/// The loss by every entry of one tensor.
std::vector<double> Differences(const TrainCase& c, const std::string& name) {
  DoubleTensors at;
  for (const auto& [key, tensor] : c.inputs) at[key] = {tensor.values.begin(), tensor.values.end()};
  std::vector<double> slopes;
  for (double& value : at.at(name)) {
    const double middle = value;
    value = middle + kStep;
    const double above = c.loss(at);
    value = middle - kStep;
    slopes.push_back((above - c.loss(at)) / (2 * kStep));
    value = middle;
  }
  return slopes;
}

/// Inputs are float32 numbers on both sides. The reference sums in float64; between its steps up to 8 values on a path
/// are rounded to float32 (a projection, a hidden value, an output of attention, the gradient itself ...), each to kEps
/// of its size, and their terms are no larger than the largest gradient: 8 kEps of that. Differences add 2^-53 |loss| /
/// step and the third derivative times step^2 / 6, together below 1e-8 of a loss of tens.
double Bound(const std::vector<double>& slopes) {
  double largest = 0;
  for (double slope : slopes) largest = std::max(largest, std::abs(slope));
  return 8 * kEps * largest + 1e-8;
}

TEST(Gradient, IsTheSlopeOfTheLossByEveryEntry) {
  TrainBackend ref = RefTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients gradients = RunCase(c, {ref});
    for (const auto& [name, tensor] : c.inputs) {
      ASSERT_TRUE(gradients.contains(name)) << c.name << " by " << name;
      const std::vector<float>& values = gradients.at(name).values;
      const std::vector<double> slopes = Differences(c, name);
      ASSERT_EQ(values.size(), slopes.size());
      const double bound = Bound(slopes);
      double worst = 0, largest = 0;
      for (size_t i = 0; i < slopes.size(); ++i) {
        EXPECT_NEAR(static_cast<double>(values[i]), slopes[i], bound) << c.name << " by " << name << "[" << i << "]";
        worst = std::max(worst, std::abs(static_cast<double>(values[i]) - slopes[i]));
        largest = std::max(largest, std::abs(slopes[i]));
      }
      EXPECT_EQ(largest < 1e-3, c.flat.contains(name)) << c.name << " by " << name << ": nothing was tested";
      std::printf("%-56s by %-16s error %8.1e  bound %8.1e  largest %8.1e\n", c.name.c_str(), name.c_str(), worst,
                  bound, largest);
    }
  }
}

bool IsMatrixOrVector(const TrainCase& c, const std::string& name) {
  return c.inputs.contains(name) && c.inputs.at(name).kind != Tensor::Kind::kRows;
}

bool IsDelta(const TrainCase& c, const std::string& name) {
  return c.inputs.contains(name) && c.inputs.at(name).kind == Tensor::Kind::kDeltas;
}

TEST(Gradient, OfFrozenWeightsIsNotWrittenAndChangesNoOther) {
  TrainBackend ref = RefTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients trained = RunCase(c, {ref}), frozen = RunCase(c, {.backend = ref, .trained = false});
    const Gradients base = RunCase(c, {.backend = ref, .deltas_trained = false});
    for (const auto& [name, gradient] : trained) {
      EXPECT_EQ(frozen.contains(name), !IsMatrixOrVector(c, name) || IsDelta(c, name)) << c.name << " by " << name;
      EXPECT_EQ(base.contains(name), !IsDelta(c, name)) << c.name << " by " << name;
      for (const Gradients& some : {frozen, base}) {
        if (some.contains(name)) {
          EXPECT_EQ(some.at(name).values, gradient.values) << c.name << " by " << name;
        }
      }
    }
  }
}

TEST(Gradient, OfRowsMayBeUnwanted) {
  TrainBackend ref = RefTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients all = RunCase(c, {ref}), weights = RunCase(c, {.backend = ref, .rows_wanted = false});
    for (const auto& [name, gradient] : all) {
      if (weights.contains(name)) {
        EXPECT_EQ(weights.at(name).values, gradient.values) << c.name << " by " << name;
      }
      if (IsMatrixOrVector(c, name)) {
        EXPECT_TRUE(weights.contains(name)) << c.name << " by " << name;
      }
    }
  }
}

TEST(Gradient, OfWeightsIsAddedToAndOfRowsOverwritten) {
  TrainBackend ref = RefTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients once = RunCase(c, {ref}), twice = RunCase(c, {.backend = ref, .times = 2});
    for (const auto& [name, gradient] : once) {
      EXPECT_TRUE(gradient.added || !IsMatrixOrVector(c, name));
      double largest = 0;
      for (float value : gradient.values) largest = std::max(largest, std::abs(static_cast<double>(value)));
      for (size_t i = 0; i < gradient.values.size(); ++i) {
        const float expected = gradient.values[i] * (gradient.added ? 2.0f : 1.0f);
        // Spans that share a store add to it one after the other: the second pass rounds differently.
        EXPECT_NEAR(twice.at(name).values[i], expected, gradient.added ? 4 * kEps * largest : 0)
            << c.name << " by " << name << "[" << i << "]";
      }
    }
  }
}

/// With a frozen weight in any packed format, gradients are those of the values it holds.
TEST(Gradient, PassesThroughFrozenWeightsOfEveryFormat) {
  TrainBackend ref = RefTrain();
  for (const WeightType& type : AllTypes()) {
    const TrainCase packed = LinearCase(5, 70, 11, 3);
    TrainCase plain = packed;
    Tensor& w = plain.inputs.at("w");
    const Stored stored(type, 1, w.out, w.in, w.values);
    const Weight held = Packed(*ref.forward, stored);
    std::copy_n(held.Vector(), w.values.size(), w.values.begin());
    const Gradients expected = RunCase(plain, {ref});
    const Gradients actual = RunCase(packed, {.backend = ref, .trained = false, .type = type});
    EXPECT_EQ(expected.at("x").values, actual.at("x").values) << type.Name();
  }
}

/// Rounding of activations counts as the identity: gradients stay near those of float32 with the same weights. A value
/// rounded to bfloat16 is off by up to 2^-9; a code by 1 / 254 of the largest of its row, some 2.5 deviations, evenly
/// spread. Two products follow each other, and the sum that is a gradient may be a few times smaller than its terms: 8
/// times that.
TEST(Gradient, OfProductsThatRoundActivationsIsNearThatOfFloat32) {
  TrainBackend ref = RefTrain();
  for (const WeightType& type : {WeightType(DType::kBF16), WeightType(DType::kF32, {WeightKind::kInt8, 32, false})}) {
    for (const TrainCase& packed :
         {GatedMlpCase(5, 64, 32, 1), ExpertsCase({5, 64, 5, 2, 32}, 2), QkvCase({5, 64, {4, 2, 6}, 3, false}, 3),
          RouteCase({5, 64, 5, 2, 3}, 4), CrossEntropyCase({5, 64, 19, 30, 1}, 5)}) {
      TrainCase plain = packed;
      for (auto& [name, tensor] : plain.inputs) {
        if (tensor.kind != Tensor::Kind::kMatrices) continue;
        const Stored stored(type, tensor.count, tensor.out, tensor.in, tensor.values);
        const Weight held = Packed(*ref.forward, stored);
        std::copy_n(held.Vector(), tensor.values.size(), tensor.values.begin());
      }
      const Gradients expected = RunCase(plain, {.backend = ref, .trained = false});
      const Gradients actual = RunCase(packed, {.backend = ref, .trained = false, .type = type});
      for (const auto& [name, gradient] : expected) {
        double error = 0, size = 0;
        for (size_t i = 0; i < gradient.values.size(); ++i) {
          const double difference =
              static_cast<double>(actual.at(name).values[i]) - static_cast<double>(gradient.values[i]);
          error += difference * difference;
          size += static_cast<double>(gradient.values[i]) * static_cast<double>(gradient.values[i]);
        }
        const double bound = 8 * (type.format.grouped() ? 2.5 / 254 / std::sqrt(3.0) : 0x1p-9);
        EXPECT_LE(std::sqrt(error), bound * std::sqrt(size)) << packed.name << " by " << name << ", " << type.Name();
      }
    }
  }
}

}  // namespace
}  // namespace dgemma::test
