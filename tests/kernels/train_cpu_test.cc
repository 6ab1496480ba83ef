// Gradients of the CPU backend against the reference, tensor by tensor, over odd shapes and every format of frozen weights; and what only
// it promises: the same bytes for every number of threads, padding that stays 0, memory within its plan and never a source of values.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/cpu/train_backend.h"
#include "tensor/targets.h"

#include "hwy/targets.h"
#include "train_cases.h"

namespace dgemma::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr std::array<int64_t, 4> kRowCounts = {1, 5, 33, 130};

TrainBackend CpuTrain(int threads = 1) {
  TrainBackend backend{Cpu(threads), nullptr};
  backend.train = MakeCpuTrainKernels(*backend.forward);
  return backend;
}

Weight Gradient(TrainBackend& backend, const Weight& like) {
  Result<Weight> made = backend.train->MakeGradient(like);
  EXPECT_TRUE(made.has_value());
  return *made;
}

std::vector<AttendCaseShape> AttendShapes() {
  // One after the other: rows, cache, first cached position, end of the cache, position, window, local store, its rows.
  std::vector<AttendCaseShape> shapes;
  for (const QkvShape& heads : {QkvShape{4, 2, 16}, QkvShape{3, 1, 24}, QkvShape{2, 2, 40}}) {
    shapes.push_back({"causal", heads, {128}, {{97, 0, 0, 0, 0, 0}}});
    shapes.push_back({"causal in a window of 1", heads, {64}, {{33, 0, 0, 0, 0, 1}}});
    shapes.push_back({"causal in a window after 40 positions", heads, {128}, {{70, 0, 3, 0, 40, 21}}});
    shapes.push_back({"causal on a ring that wrapped", heads, {64}, {{20, 0, 270, 0, 300, 17}}});
    shapes.push_back({"causal beyond a block of keys", heads, {384}, {{10, 0, 0, 0, 330, 0}}});
    shapes.push_back({"canvas after a prompt", heads, {320, 64}, {{33, 0, 0, 290, 290, 0, 1, 33}}});
    shapes.push_back({"canvas in a window on a ring", heads, {64, 64}, {{17, 0, 250, 300, 300, 40, 1, 17}}});
    shapes.push_back({"canvas without a prompt", heads, {64, 320}, {{130, 0, 0, 0, 0, 0, 1, 270}}});
    shapes.push_back(
        {"prompt and two canvases on one cache, and a stranger",
         heads,
         {128, 64, 64, 64},
         {{70, 0, 0, 0, 0, 30}, {9, 3, 0, 0, 0, 0}, {33, 0, 0, 70, 70, 0, 1, 33}, {20, 0, 0, 41, 41, 0, 2, 20}}});
  }
  return shapes;
}

std::vector<TrainCase> AllCases() {
  std::vector<TrainCase> cases;
  for (int64_t rows : kRowCounts) {
    for (int64_t width : {17, 70}) {
      cases.push_back(EmbedCase(rows, width, 37, 1));
      for (NormWeight weight : {NormWeight::kPresent, NormWeight::kOnes})
        cases.push_back(RmsNormCase(rows, width, weight, 2));
      cases.push_back(LinearCase(rows, width, 37, 3));
      cases.push_back(QkvCase({rows, width, {4, 2, 16}, 8, true}, 4));
      cases.push_back(QkvCase({rows, width, {3, 1, 24}, 5, false}, 5));
      cases.push_back(GatedMlpCase(rows, width, 83, 7));
      cases.push_back(RouteCase({rows, width, 19, 3, 3}, 8));
      cases.push_back(ExpertsCase({rows, width, 7, 3, 21}, 11));
      cases.push_back(JoinCase(rows, width, 12));
      cases.push_back(CrossEntropyCase({rows, width, 131, 30, 1}, 13));
      cases.push_back(SoftEmbedCase({rows, width, 131, 3, 3}, 16));
    }
  }
  // Beyond one block of rows, depth, columns or ids.
  cases.push_back(LinearCase(300, 13, 290, 20));
  cases.push_back(LinearCase(600, 300, 20, 21));
  cases.push_back(GatedMlpCase(33, 270, 1, 22));
  cases.push_back(ExpertsCase({40, 33, 2, 1, 140}, 23));
  cases.push_back(CrossEntropyCase({20, 16, 4200, 30, 1}, 24));
  cases.push_back(SoftEmbedCase({20, 16, 4200, 30, 1}, 25));
  for (const AttendCaseShape& shape : AttendShapes()) cases.push_back(AttendCase(shape, 17));
  for (const CaseDeltas& deltas : {CaseDeltas{1, 0, 1}, {3, 1, 1}, {8, 8, 0}, {64, 0, 0}, {40, 11, 17}}) {
    for (int64_t rows : {5, 33, 130}) {
      cases.push_back(LinearCase(rows, 70, 37, 30, deltas));
      cases.push_back(QkvCase({rows, 17, {4, 2, 16}, 8, true}, 31, deltas));
      cases.push_back(QkvCase({rows, 70, {3, 1, 24}, 5, false}, 32, deltas));
      cases.push_back(GatedMlpCase(rows, 70, 83, 33, deltas));
      cases.push_back(RouteCase({rows, 70, 19, 3, 3}, 34, deltas));
      cases.push_back(ExpertsCase({rows, 70, 7, 3, 21}, 35, deltas));
    }
  }
  cases.push_back(LinearCase(600, 300, 290, 36, {300, 90, 110}));  // beyond one block of rank
  return cases;
}

double Largest(const std::vector<float>& values) {
  double largest = 0;
  for (float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

/// Up to four sums follow each other on the way to a gradient (a projection, hidden values, their gradient, the gradient itself), and a
/// norm or a softmax adds a few roundings. Each sum of `depth` terms errs by eps sqrt(depth) of where it walks, and 8 times that for the
/// worst of all entries, see SumBound; where it walks shows in the largest entry. Where all terms cancel, they are of order 1 and a few.
double Bound(const TrainCase& c, const std::vector<float>& expected) {
  const double largest = Largest(expected);
  return 4 * 8 * kEps * (std::sqrt(static_cast<double>(c.depth)) + 4) * (largest > 1e-6 ? largest : 4.0);
}

void ExpectNear(const std::string& name, const std::vector<float>& expected, const std::vector<float>& actual,
                double bound) {
  ASSERT_EQ(expected.size(), actual.size()) << name;
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(static_cast<double>(expected[i]) - static_cast<double>(actual[i]));
    worst = error <= worst ? worst : error;  // NaN goes through
  }
  std::printf("%-90s max %8.1e  bound %8.1e  largest %8.1e\n", name.c_str(), worst, bound, Largest(expected));
  EXPECT_LE(worst, bound) << name;
}

bool SameBytes(const Gradients& a, const Gradients& b) {
  const auto same = [](const auto& x, const auto& y) {
    return x.first == y.first && std::ranges::equal(x.second.values, y.second.values, [](float p, float q) {
             return std::bit_cast<uint32_t>(p) == std::bit_cast<uint32_t>(q) || (std::isnan(p) && std::isnan(q));
           });
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}

bool IsDelta(const TrainCase& c, const std::string& name) {
  return c.inputs.contains(name) && c.inputs.at(name).kind == Tensor::Kind::kDeltas;
}

bool OfRows(const TrainCase& c, const std::string& name) {
  return !c.inputs.contains(name) || c.inputs.at(name).kind == Tensor::Kind::kRows;
}

TEST(CpuGradient, AgreesWithRefOnEveryShape) {
  TrainBackend ref = RefTrain(), cpu = CpuTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients expected = RunCase(c, {ref}), actual = RunCase(c, {cpu});
    EXPECT_EQ(expected.size(), actual.size());
    for (const auto& [name, gradient] : expected) {
      ASSERT_TRUE(actual.contains(name)) << c.name << " by " << name;
      ExpectNear(c.name + " by " + name, gradient.values, actual.at(name).values, Bound(c, gradient.values));
    }
  }
}

class CpuGradientOf : public ::testing::Test {
 protected:
  static void Force(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~CpuGradientOf() override { Force(0); }
};

TEST_F(CpuGradientOf, EveryInstructionSetAgreesWithRef) {
  TrainBackend ref = RefTrain();
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    TrainBackend cpu = CpuTrain();
    const std::string set = hwy::TargetName(target);
    for (const TrainCase& c :
         {RmsNormCase(5, 70, NormWeight::kPresent, 1), LinearCase(33, 70, 37, 2),
          QkvCase({33, 70, {3, 1, 24}, 5, false}, 3), GatedMlpCase(33, 70, 83, 4), RouteCase({33, 70, 19, 3, 3}, 5),
          ExpertsCase({33, 70, 7, 3, 21}, 6), JoinCase(5, 70, 7), CrossEntropyCase({33, 70, 131, 30, 1}, 8),
          SoftEmbedCase({33, 70, 131, 3, 3}, 9), AttendCase(AttendShapes()[2], 10), AttendCase(AttendShapes()[14], 11),
          QkvCase({33, 70, {3, 1, 24}, 5, false}, 12, {8, 3, 2}), GatedMlpCase(33, 70, 83, 13, {8, 3, 2}),
          RouteCase({33, 70, 19, 3, 3}, 14, {8, 3, 2}), ExpertsCase({33, 70, 7, 3, 21}, 15, {8, 3, 2})}) {
      const Gradients expected = RunCase(c, {ref}), actual = RunCase(c, {cpu});
      for (const auto& [name, gradient] : expected) {
        ExpectNear(set + " " + c.name + " by " + name, gradient.values, actual.at(name).values,
                   Bound(c, gradient.values));
      }
    }
    const Weight values = Gradient(cpu, Packed(*cpu.forward, Stored(DType::kF32, 1, 3, 70, 1)));
    std::fill_n(values.buffer.Floats(), 7, 3.0f);
    EXPECT_EQ(cpu.train->SumSquares(values), 63) << set;
  }
}

TEST(CpuGradient, IsTheSameBytesForEveryNumberOfThreads) {
  TrainBackend one = CpuTrain(1), two = CpuTrain(2), three = CpuTrain(3);
  for (const TrainCase& c : AllCases()) {
    const Gradients expected = RunCase(c, {one});
    EXPECT_TRUE(SameBytes(expected, RunCase(c, {two}))) << c.name;
    EXPECT_TRUE(SameBytes(expected, RunCase(c, {three}))) << c.name;
  }
}

TEST(CpuGradient, OfFrozenWeightsAndUnwantedRowsIsNotWrittenAndChangesNoOther) {
  TrainBackend cpu = CpuTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients all = RunCase(c, {cpu});
    const Gradients frozen = RunCase(c, {.backend = cpu, .trained = false});
    const Gradients base = RunCase(c, {.backend = cpu, .deltas_trained = false});
    const Gradients weights = RunCase(c, {.backend = cpu, .rows_wanted = false});
    for (const auto& [name, gradient] : all) {
      EXPECT_EQ(frozen.contains(name), OfRows(c, name) || IsDelta(c, name)) << c.name << " by " << name;
      EXPECT_EQ(base.contains(name), !IsDelta(c, name)) << c.name << " by " << name;
      for (const Gradients& some : {frozen, base}) {
        if (some.contains(name)) {
          EXPECT_EQ(some.at(name).values, gradient.values) << c.name << " by " << name;
        }
      }
      if (weights.contains(name)) {
        EXPECT_EQ(weights.at(name).values, gradient.values) << c.name << " by " << name;
      } else {
        EXPECT_TRUE(OfRows(c, name)) << c.name << " by " << name;
      }
    }
  }
}

TEST(CpuGradient, IsAddedWhereItSaysSo) {
  TrainBackend cpu = CpuTrain();
  for (const TrainCase& c : AllCases()) {
    const Gradients once = RunCase(c, {cpu}), twice = RunCase(c, {.backend = cpu, .times = 2});
    for (const auto& [name, gradient] : once) {
      if (!gradient.added) {
        EXPECT_EQ(twice.at(name).values, gradient.values) << c.name << " by " << name;
        continue;
      }
      const double bound = 2 * Bound(c, gradient.values);
      for (size_t i = 0; i < gradient.values.size(); ++i) {
        EXPECT_NEAR(twice.at(name).values[i], 2 * gradient.values[i], bound) << c.name << " by " << name;
      }
    }
  }
}

/// Where activations come from an earlier operation, the backends may round one of them to either side, see CodeStep: off by 2^-7 of
/// itself, or by 1 / 127 of the largest of its row, some 2.5 deviations.
double FlipShare(const WeightType& type) {
  if (type.format == kFloat32Weights) return 0;
  return type.format.grouped() ? 2.5 / 127 : 0x1p-7;
}

TEST(CpuGradient, AgreesWithRefThroughFrozenWeightsOfEveryFormat) {
  TrainBackend ref = RefTrain(), cpu = CpuTrain();
  for (const WeightType& type : AllTypes()) {
    for (const TrainCase& c :
         {LinearCase(33, 70, 300, 1), GatedMlpCase(33, 70, 83, 2), QkvCase({33, 70, {4, 2, 16}, 8, true}, 3),
          QkvCase({5, 70, {3, 1, 24}, 5, false}, 4), RouteCase({33, 70, 19, 3, 3}, 5),
          ExpertsCase({33, 70, 7, 3, 21}, 6), CrossEntropyCase({33, 70, 131, 30, 1}, 7),
          LinearCase(33, 70, 300, 8, {8, 3, 2}), GatedMlpCase(33, 70, 83, 9, {8, 3, 2}),
          QkvCase({33, 70, {4, 2, 16}, 8, true}, 10, {8, 3, 2}), RouteCase({33, 70, 19, 3, 3}, 11, {8, 3, 2}),
          ExpertsCase({33, 70, 7, 3, 21}, 12, {8, 3, 2})}) {
      const TrainRun on_ref{.backend = ref, .trained = false, .type = type};
      const TrainRun on_cpu{.backend = cpu, .trained = false, .type = type};
      const Gradients expected = RunCase(c, on_ref), actual = RunCase(c, on_cpu);
      for (const auto& [name, gradient] : expected) {
        double bound = Bound(c, gradient.values) * type.Walk();
        if (name == "weight" || name == "h") bound += FlipShare(type) * Largest(gradient.values);
        ExpectNear(c.name + " " + type.Name() + " by " + name, gradient.values, actual.at(name).values, bound);
      }
    }
  }
}

TEST(CpuGradient, UsesNoKeyThatNoRowSees) {
  TrainBackend cpu = CpuTrain();
  for (const AttendCaseShape& shape : AttendShapes()) {
    const TrainCase c = AttendCase(shape, 17);
    const Gradients expected = RunCase(c, {cpu});
    Tensors poisoned = c.inputs;
    int64_t unseen = 0;
    for (size_t store = 0; store < shape.slots.size(); ++store) {
      const std::string keys = "k" + std::to_string(store), values = "v" + std::to_string(store);
      const int64_t width = c.inputs.at(keys).in;
      for (int64_t at = 0; at < shape.slots[store] * width; at += width) {
        const auto first = expected.at(values).values.begin() + at;
        if (std::any_of(first, first + width, [](float value) { return value != 0; })) continue;
        std::fill_n(poisoned.at(keys).values.begin() + at, width, kNan);
        std::fill_n(poisoned.at(values).values.begin() + at, width, kNan);
        ++unseen;
      }
    }
    EXPECT_GT(unseen, 0) << shape.name;
    EXPECT_TRUE(SameBytes(expected, c.gradients({cpu}, poisoned))) << shape.name;
  }
}

TEST(CpuGradient, DoesNotDependOnWhatRanBefore) {
  TrainBackend used = CpuTrain();
  std::vector<TrainCase> cases = AllCases();
  for (const TrainCase& c : cases) {
    Tensors poisoned = c.inputs;
    for (auto& [name, tensor] : poisoned) {
      if (tensor.kind == Tensor::Kind::kRows) std::ranges::fill(tensor.values, kNan);
    }
    c.gradients({used}, poisoned);
  }
  for (const TrainCase& c : cases) {
    TrainBackend fresh = CpuTrain();
    EXPECT_TRUE(SameBytes(RunCase(c, {fresh}), RunCase(c, {used}))) << c.name;
  }
}

/// With up = 0 a delta changes nothing but the sign of zeros, and has a gradient by `up` only.
TEST(CpuGradient, OfDeltasThatStartAtZeroLeavesTheOthersAsTheyAre) {
  TrainBackend cpu = CpuTrain();
  for (const WeightType& type : AllTypes()) {
    const TrainRun run{.backend = cpu, .trained = type.format == kFloat32Weights, .type = type};
    const auto check = [&](const TrainCase& plain, const TrainCase& with) {
      Tensors started = with.inputs;
      for (auto& [name, tensor] : started) {
        if (name.ends_with(".up")) std::ranges::fill(tensor.values, 0.0f);
      }
      const Gradients expected = RunCase(plain, run), actual = with.gradients(run, started);
      for (const auto& [name, gradient] : expected)
        EXPECT_EQ(gradient.values, actual.at(name).values) << plain.name << " by " << name << ", " << type.Name();
      for (const auto& [name, gradient] : actual) {
        if (IsDelta(with, name)) {
          EXPECT_EQ(Largest(gradient.values) > 0, name.ends_with(".up")) << with.name << " by " << name;
        }
      }
    };
    constexpr CaseDeltas kDeltas{8, 3, 2};
    check(LinearCase(33, 70, 37, 1), LinearCase(33, 70, 37, 1, kDeltas));
    check(GatedMlpCase(33, 70, 83, 2), GatedMlpCase(33, 70, 83, 2, kDeltas));
    check(QkvCase({33, 70, {3, 1, 24}, 5, false}, 3), QkvCase({33, 70, {3, 1, 24}, 5, false}, 3, kDeltas));
    check(ExpertsCase({33, 70, 7, 3, 21}, 4), ExpertsCase({33, 70, 7, 3, 21}, 4, kDeltas));
  }
}

TEST(CpuCrossEntropy, LooksAtNoRowWithoutATarget) {
  TrainBackend cpu = CpuTrain();
  const TrainCase c = CrossEntropyCase({33, 17, 131, 30, 1}, 13);
  Tensors poisoned = c.inputs;
  for (int64_t row = 1; row < 33; row += 5) std::fill_n(poisoned.at("hidden").values.begin() + row * 17, 17, kNan);
  EXPECT_TRUE(SameBytes(RunCase(c, {cpu}), c.gradients({cpu}, poisoned)));
}

TEST(CpuCrossEntropy, ShowsARowThatIsNotFinite) {
  TrainBackend cpu = CpuTrain();
  const TrainCase c = CrossEntropyCase({33, 17, 131, 30, 1}, 13);
  Tensors poisoned = c.inputs;
  poisoned.at("hidden").values[4 * 17 + 3] = kNan;
  const Gradients expected = RunCase(c, {cpu}), actual = c.gradients({cpu}, poisoned);
  for (size_t row = 0; row < 33; ++row) {
    EXPECT_EQ(actual.at("row finite").values[row], row == 4 ? 0.0f : 1.0f);
    EXPECT_EQ(std::isnan(actual.at("hidden").values[row * 17]), row == 4);
    if (row != 4) {
      EXPECT_EQ(actual.at("row loss").values[row], expected.at("row loss").values[row]);
    }
  }
  EXPECT_TRUE(std::isnan(actual.at("table").values[0])) << "it shows in the norm of the gradients";
}

std::vector<float> Unpacked(TrainBackend& backend, const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.count * weight.out * weight.in));
  for (int64_t row = 0; row < weight.count * weight.out; ++row) {
    backend.train->Unpack(
        weight, row / weight.out, row % weight.out,
        std::span(values).subspan(static_cast<size_t>(row * weight.in), static_cast<size_t>(weight.in)));
  }
  return values;
}

/// Ten steps on matrices whose last panel is padded: the reference's values within a few roundings of each step, and padding 0.
TEST(CpuOptimizer, TakesTheStepsOfRef) {
  constexpr int64_t kCount = 2, kOut = 37, kIn = 1100;
  TrainBackend ref = RefTrain(), cpu = CpuTrain(2);
  const Stored start(DType::kF32, kCount, kOut, kIn, 1);
  std::array<Weight, 2> weight, m, v, average;
  const std::array<TrainBackend*, 2> backends = {&ref, &cpu};
  for (size_t b = 0; b < 2; ++b) {
    weight[b] = Packed(*backends[b]->forward, start);
    m[b] = Gradient(*backends[b], weight[b]);
    v[b] = Gradient(*backends[b], weight[b]);
    average[b] = Gradient(*backends[b], weight[b]);
  }
  AdamStep step{.rate = 0.01f, .decay = 0.1f, .beta2 = 0.95f, .grad_scale = 0.5f};
  for (int t = 1; t <= 10; ++t) {
    const Stored gradient(DType::kF32, kCount, kOut, kIn, static_cast<uint32_t>(t + 1), 0.1f);
    step.correction1 = static_cast<float>(1 - std::pow(0.9, t));
    step.correction2 = static_cast<float>(1 - std::pow(0.95, t));
    std::array<double, 2> squares;
    for (size_t b = 0; b < 2; ++b) {
      const Weight packed = Packed(*backends[b]->forward, gradient);
      squares[b] = backends[b]->train->SumSquares(packed);
      backends[b]->train->Adam(step, packed, m[b], v[b], weight[b]);
      backends[b]->train->Average(weight[b], 0.25f, average[b]);
    }
    EXPECT_NEAR(squares[0], squares[1], squares[0] * 1e-12);
    ExpectNear("adam", Unpacked(ref, weight[0]), Unpacked(cpu, weight[1]), t * kEps * (8 + 32 * 0.01));
    ExpectNear("average", Unpacked(ref, average[0]), Unpacked(cpu, average[1]), t * kEps * (8 + 32 * 0.01));
  }
  for (const Weight& w : {weight[1], m[1], v[1], average[1]}) {
    for (int64_t i = 0; i < kCount * kIn; ++i) {
      const float* last = w.buffer.Floats() + (i / kIn * 3 + 2) * kIn * 16 + i % kIn * 16;
      EXPECT_TRUE(std::all_of(last + kOut % 16, last + 16, [](float value) { return value == 0; }));
    }
  }
  cpu.train->Average(weight[1], 1.0f, average[1]);
  EXPECT_EQ(Unpacked(cpu, average[1]), Unpacked(cpu, weight[1]));
  cpu.train->Average(m[1], 0.0f, average[1]);
  EXPECT_EQ(Unpacked(cpu, average[1]), Unpacked(cpu, weight[1]));
  cpu.train->Clear(m[1]);
  EXPECT_EQ(cpu.train->SumSquares(m[1]), 0);
}

TEST(CpuOptimizer, SumOfSquaresShowsWhatIsNotFinite) {
  TrainBackend cpu = CpuTrain();
  const Weight gradient = Gradient(cpu, Packed(*cpu.forward, Stored(DType::kF32, 1, 3, 70, 1)));
  gradient.buffer.Floats()[5] = 3e30f;
  EXPECT_NEAR(cpu.train->SumSquares(gradient) / 9e60, 1, 1e-6);
  gradient.buffer.Floats()[21] = kNan;
  EXPECT_TRUE(std::isnan(cpu.train->SumSquares(gradient)));
}

TEST(CpuGradient, LeavesPaddingOfWeightsAtZero) {
  TrainBackend cpu = CpuTrain();
  constexpr int64_t kRows = 33, kIn = 20, kOut = 37;
  const Weight w = Packed(*cpu.forward, Stored(DType::kF32, 1, kOut, kIn, 1)), dw = Gradient(cpu, w);
  const Rows x(kRows, kIn, Normals(kRows * kIn, 2)), dout(kRows, kOut, Normals(kRows * kOut, 3));
  cpu.train->LinearBackward(x.view, {}, w, dout.view, dw, {});
  const float* last = dw.buffer.Floats() + 2 * kIn * 16;
  for (int64_t i = 0; i < kIn * 16; ++i) EXPECT_EQ(last[i] == 0, i % 16 >= kOut % 16);
}

TEST(CpuTrainRows, AreZeroedCopiedAndAdded) {
  TrainBackend cpu = CpuTrain(2);
  const std::vector<float> a = Normals(300 * 500, 1), b = Normals(300 * 500, 2);
  const Rows x(300, 500, a), sum(300, 500, b), expected(300, 500, b);
  RefTrain().train->Add(x.view, expected.view);
  cpu.train->Add(x.view, sum.view);
  EXPECT_TRUE(SameBits(sum.view, expected.view));
  cpu.train->Copy(x.view, sum.view);
  EXPECT_TRUE(SameBits(sum.view, x.view));
  cpu.train->Zero(sum.view);
  EXPECT_TRUE(SameBits(sum.view, Rows(300, 500, std::vector<float>(300 * 500, 0.0f)).view));
  EXPECT_TRUE(std::isnan(sum.storage[500])) << "values between rows stay";
}

/// Every operation at the shape of the plan; the sums that it states are reached or nearly so.
TEST(CpuTrainScratch, IsWithinThePlan) {
  constexpr int64_t kRows = 100, kWidth = 128, kVocab = 3000;
  for (const auto& [type, rank] : {std::pair<WeightType, int64_t>{DType::kF32, 0},
                                   {DType::kBF16, 0},
                                   {kGroupedTypes[1], 0},
                                   {DType::kF32, 1},
                                   {DType::kF32, 20},
                                   {DType::kF32, 400},
                                   {DType::kBF16, 20},
                                   {kGroupedTypes[1], 20}}) {
    const CaseDeltas deltas{rank, 0, 0};
    TrainBackend cpu = CpuTrain(2);
    const QkvShape heads{6, 2, 32};
    const TrainRun run{.backend = cpu, .trained = type.format == kFloat32Weights, .type = type};
    for (const TrainCase& c :
         {RmsNormCase(kRows, kWidth, NormWeight::kPresent, 1), JoinCase(kRows, kWidth, 2),
          LinearCase(kRows, 192, kWidth, 3, deltas), QkvCase({kRows, kWidth, heads, 16, true}, 4, deltas),
          GatedMlpCase(kRows, kWidth, 200, 5, deltas), RouteCase({kRows, kWidth, 8, 3, 40}, 6, deltas),
          ExpertsCase({kRows, kWidth, 8, 3, 40}, 7, deltas),
          CrossEntropyCase({kRows * 5 / 4, kWidth, kVocab, 30, 1}, 8),  // one row in 5 has no target
          AttendCase({"attend", heads, {128}, {{kRows, 0, 0, 0, 0, 0}}}, 9)}) {
      RunCase(c, run);
    }
    const CpuShape shape{.rows = kRows,
                         .width = kWidth,
                         .kv_width = 64,
                         .query_width = 192,
                         .head_size = 32,
                         .group = 3,
                         .dense_width = 200,
                         .experts = 8,
                         .active = 3,
                         .expert_width = 40,
                         .vocab = kVocab,
                         .grouped = type.format.grouped(),
                         .bf16 = type.format.kind == WeightKind::kBf16,
                         .head_rows = kRows,
                         .rank = rank,
                         .expert_rank = rank};
    const int64_t held = static_cast<const CpuTrainKernels&>(*cpu.train).ScratchBytes();
    EXPECT_LE(held, CpuTrainScratchBytes(shape, 2)) << type.Name() << " rank " << rank;
    if (run.trained) {
      EXPECT_GE(held, CpuTrainScratchBytes(shape, 2)) << " rank " << rank;
    }
  }
}

}  // namespace
}  // namespace dgemma::test
