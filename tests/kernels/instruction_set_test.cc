// Every instruction set this machine can run computes the same model: forced in turn and compared with ref.
#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/cpu/simd.h"
#include "tensor/targets.h"

#include "hwy/targets.h"
#include "op_cases.h"
#include "tensor/groups.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

class InstructionSet : public ::testing::Test {
 protected:
  static void Force(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~InstructionSet() override { Force(0); }
};

TEST_F(InstructionSet, NeverChangesAResultBeyondRounding) {
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    const std::string name = hwy::TargetName(target);
    for (const WeightType& type : {kPlainTypes[0], kPlainTypes[1], kGroupedTypes[1], kGroupedTypes[6]}) {
      const Stored gate(type, 1, 70, 48, 1, UnitDeviation(48)), up(type, 1, 70, 48, 2, UnitDeviation(48)),
          down(type, 1, 48, 70, 3, UnitDeviation(70));
      const std::vector<float> x = Normals(29 * 48, 4);
      Rows gates(29, 70), ups(29, 70);
      Ref()->Linear(Rows(29, 48, x).view, {}, Packed(*Ref(), gate), gates.view);
      Ref()->Linear(Rows(29, 48, x).view, {}, Packed(*Ref(), up), ups.view);
      const double step = CodeStep(type, LargestGated(gates.view, ups.view), down.Largest());
      CheckOp({"gated mlp " + type.Name() + " " + name, 29, GatedBound(48, 70, LargestRowNorm(x, 48)) * type.Walk(),
               [&](const OpRun& run) {
                 Rows out(run.rows, 48);
                 run.kernels.GatedMlp(run.Input(x, 48).view, {},
                                      {Packed(run.kernels, gate), Packed(run.kernels, up), Packed(run.kernels, down)},
                                      out.view);
                 return out;
               },
               step});
      const Stored table(type, 1, 2500, 24, 5, 0.5f);
      const std::vector<float> hidden = Normals(9 * 24, 6, 4.0f), temperature(9, 0.7f);
      const double logit = (SumBound(24, LargestRowNorm(hidden, 24), 0.5 * type.Walk()) + 240 * kEps) / 0.7;
      const double dropped = table.format != kFloat32Weights ? 0x1p-9 * table.Largest() : 0;  // see head_op_test.cc
      CheckOp({"denoise " + type.Name() + " " + name, 9, (2 * logit + 50 * kEps) * 10 + dropped, [&](const OpRun& run) {
                 HeadParams params;
                 params.temperature = temperature;
                 const std::unique_ptr<HeadScratch> scratch = run.kernels.MakeHeadScratch();
                 std::vector<HeadRow> rows(static_cast<size_t>(run.rows));
                 Rows soft(run.rows, 24);
                 run.kernels.Denoise(run.Input(hidden, 24).view, Packed(run.kernels, table), params, *scratch, rows,
                                     soft.view);
                 for (int64_t row = 0; row < run.rows; ++row)
                   soft.view.Row(row)[0] = rows[static_cast<size_t>(row)].entropy;
                 return soft;
               }});
    }
  }
}

/// Bits of float32 values, some of them special.
std::vector<float> ValuesOfEveryKind(int64_t count) {
  std::mt19937 engine(3);
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<uint32_t>(engine());
    // Every other one lies on a border between two bfloat16 values or next to it.
    values.push_back(std::bit_cast<float>(i % 2 == 0 ? bits : (bits & 0xFFFF0000u) | (0x7FFFu + bits % 3)));
  }
  const std::array<uint32_t, 10> special = {0,           0x80000000u, 0x7F800000u, 0xFF800000u, 0x7F800001u,
                                            0xFFFFFFFFu, 0x7F7FFFFFu, 0x00000001u, 0x807FFFFFu, 0x7FC00000u};
  for (size_t i = 0; i < values.size() && i < special.size(); ++i)
    values[values.size() - 1 - i] = std::bit_cast<float>(special[i]);
  return values;
}

TEST_F(InstructionSet, RoundsToBfloat16AsTheDefinition) {
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    const RowOps ops = ChooseRowOps();
    for (const int64_t size : {1, 2, 3, 7, 8, 15, 16, 17, 33, 70, 255, 100000}) {
      const std::vector<float> x = ValuesOfEveryKind(size);
      std::vector<uint16_t> expected, actual(x.size() + 1, uint16_t{99});
      for (const float value : x) expected.push_back(ToBf16(value));
      ops.round_bf16(x.data(), size, actual.data());
      EXPECT_EQ(actual.back(), 99) << "written past the row";
      actual.pop_back();
      EXPECT_EQ(actual, expected) << hwy::TargetName(target) << ", " << size << " values";
    }
  }
}

TEST_F(InstructionSet, PairsRowsAsTheDefinition) {
  constexpr int64_t kStride = 51, kPairs = 5, kWidth = 48;
  const std::vector<float> x = ValuesOfEveryKind(2 * kPairs * kStride);
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    for (const ProductOps& ops : SupportedProductOps()) {
      std::vector<float> pairs(static_cast<size_t>(kPairs * kWidth) + 1, 99.0f);
      ops.pair_rows(x.data(), kStride, kPairs, kWidth, pairs.data());
      EXPECT_EQ(pairs.back(), 99.0f) << "written past the pairs";
      int64_t wrong = 0;
      for (int64_t row = 0; row < 2 * kPairs; ++row) {
        for (int64_t col = 0; col < kWidth; ++col) {
          const float value = x[static_cast<size_t>(row * kStride + col)];
          uint32_t pair = 0;
          const int64_t place = (col / kPanel * kPairs + row / 2) * kPanel + col % kPanel;
          std::memcpy(&pair, pairs.data() + place, sizeof(pair));
          const auto half = static_cast<uint16_t>(row % 2 == 0 ? pair : pair >> 16);
          const bool flushed = std::abs(value) < FLT_MIN && (half & 0x7FFF) == 0;
          wrong += half == ToBf16(value) || flushed ? 0 : 1;
        }
      }
      EXPECT_EQ(wrong, 0) << ops.target;
    }
  }
}

/// Attention of a canvas whose sides are rounded: 23 rows see 37 of the canvas's 64 slots, the others hold NaN.
TEST_F(InstructionSet, AttendsInPairsAsTheDefinition) {
  constexpr QkvShape kShape{4, 2, 32};
  constexpr int64_t kRows = 23, kSeen = 37;
  std::vector<float> k(2 * 32 * kKeyBlock, std::numeric_limits<float>::quiet_NaN()), v = k;
  AttentionSpan span;
  span.rows = kRows;
  span.causal = false;
  span.rounds = true;
  span.local = {k.data(), v.data(), 2, 32, kKeyBlock};
  span.cache = span.local;  // nothing of it is seen
  span.local_rows = kSeen;
  const std::vector<float> keys = Normals(2 * kSeen * 32, 1, 2 / std::sqrt(32.0f)), values = Normals(2 * kSeen * 32, 2);
  for (int64_t i = 0; i < 2 * kSeen * 32; ++i) {
    const int64_t head = i / (kSeen * 32), slot = i / 32 % kSeen, dim = i % 32;
    k[static_cast<size_t>(span.local.KeyIndex(head, slot, dim))] = keys[static_cast<size_t>(i)];
    v[static_cast<size_t>(span.local.ValueIndex(head, slot, dim))] = values[static_cast<size_t>(i)];
  }
  const Rows q(kRows, 128, Normals(kRows * 128, 3));
  Rows expected(kRows, 128);
  Ref()->Attend({&span, 1}, kShape, q.view, expected.view);
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    Rows actual(kRows, 128);
    Cpu()->Attend({&span, 1}, kShape, q.view, actual.view);
    // Both round probabilities, by up to 2^-9 of themselves and with different factors; values are below 5.
    ExpectClose(std::string("attention in pairs ") + hwy::TargetName(target), expected.view, actual.view,
                2 * 5 * 0x1p-9);
  }
}

/// Products of bfloat16 pairs, every way that the instruction set has, against sums in float64. A product of two bfloat16 values is
/// exact in float32, so one rounding for each addition is all there is: |error| <= n eps / (1 - n eps) * sum |a| |b|.
TEST_F(InstructionSet, MultipliesBfloat16WithinTheRoundingOfItsSums) {
  struct Shape {
    int64_t rows, in, out;
  };
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    for (const ProductOps& ops : SupportedProductOps()) {
      double worst = 0;
      for (const Shape& s : {Shape{1, 1, 1},
                             {1, 2, 64},
                             {1, 771, 70},
                             {2, 33, 15},
                             {3, 512, 48},
                             {5, 64, 33},
                             {7, 704, 40},
                             {12, 257, 65},
                             {13, 129, 17},
                             {25, 514, 31},
                             {97, 1030, 35},
                             {289, 40, 16}}) {
        const int64_t pairs = (s.in + 1) / 2, a_stride = pairs + 5, panels = (s.out + kPanel - 1) / kPanel;
        const std::vector<float> x = Normals(s.rows * s.in, 1), w = Normals(s.out * s.in, 2);
        std::vector<uint32_t> a(static_cast<size_t>(s.rows * a_stride), 0x7FC07FC0u);  // NaN between the rows
        std::vector<uint32_t> b(static_cast<size_t>(panels * pairs * kPanel), 0u);
        const auto pair_of = [&](const std::vector<float>& values, int64_t row, int64_t k) {
          const float* at = values.data() + row * s.in + 2 * k;
          return ToBf16(at[0]) | (2 * k + 1 < s.in ? static_cast<uint32_t>(ToBf16(at[1])) << 16 : 0u);
        };
        for (int64_t k = 0; k < pairs; ++k) {
          for (int64_t row = 0; row < s.rows; ++row) a[static_cast<size_t>(row * a_stride + k)] = pair_of(x, row, k);
          for (int64_t o = 0; o < s.out; ++o)
            b[static_cast<size_t>((o / kPanel * pairs + k) * kPanel + o % kPanel)] = pair_of(w, o, k);
        }
        std::vector<float> units(a.size());
        std::memcpy(units.data(), a.data(), a.size() * sizeof(float));
        Rows c(s.rows, s.out);
        Product product;
        product.a = units.data();
        product.a_stride = a_stride;
        product.rows = s.rows;
        product.b = b.data();
        product.format = PanelFormat::kBf16Pairs;
        product.b_panel_stride = pairs * kPanel;
        product.depth = pairs;
        product.cols = s.out;
        product.c = c.view.data;
        product.c_stride = c.view.stride;
        ops.multiply(product);
        const double steps = 2.0 * static_cast<double>(pairs) * kEps;
        for (int64_t row = 0; row < s.rows; ++row) {
          for (int64_t o = 0; o < s.out; ++o) {
            double sum = 0, magnitude = 0;
            for (int64_t i = 0; i < s.in; ++i) {
              const double term =
                  static_cast<double>(Round(Rounding::kBfloat16, x[static_cast<size_t>(row * s.in + i)])) *
                  static_cast<double>(Round(Rounding::kBfloat16, w[static_cast<size_t>(o * s.in + i)]));
              sum += term;
              magnitude += std::abs(term);
            }
            const double share =
                std::abs(static_cast<double>(c.view.Row(row)[o]) - sum) / (steps / (1 - steps) * magnitude);
            worst = share <= worst ? worst : share;  // NaN goes through
          }
          EXPECT_TRUE(std::isnan(c.view.Row(row)[s.out])) << "written past the row";
        }
      }
      std::printf("%-12s worst error %.3f of the bound\n", ops.target, worst);
      EXPECT_LE(worst, 1.0) << ops.target;
    }
  }
}

TEST_F(InstructionSet, QuantizesActivationsToTheSameBits) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    const RowOps ops = ChooseRowOps();
    auto check = [&](const std::vector<float>& x) {
      std::vector<int8_t> expected(x.size()), actual(x.size() + 1, int8_t{99});
      const float scale = QuantizeActivations(x, expected);
      const auto [found, sum] = ops.quantize(x.data(), std::ssize(x), actual.data());
      EXPECT_EQ(actual.back(), 99) << "written past the row";
      actual.pop_back();
      EXPECT_EQ(actual, expected) << hwy::TargetName(target) << ", " << x.size() << " values up to " << scale * 127;
      EXPECT_EQ(sum, std::accumulate(expected.begin(), expected.end(), 0)) << hwy::TargetName(target);
      EXPECT_TRUE(std::isnan(scale) ? std::isnan(found)
                                    : std::bit_cast<uint32_t>(scale) == std::bit_cast<uint32_t>(found));
      return scale;
    };
    for (int64_t size : {1, 2, 3, 7, 8, 15, 16, 17, 33, 70, 255, 1000}) {
      // From the largest finite values down to denormal ones; 127 over the largest magnitude must stay finite.
      for (float deviation : {1e38f, 1.0f, 1e-20f, 1e-36f, 1e-37f, 1e-38f, 1e-42f}) {
        std::vector<float> x = Normals(size, 1, deviation);
        for (float& value : x) value = std::clamp(value, -FLT_MAX, FLT_MAX);
        check(x);
        const auto last = static_cast<size_t>(size - 1);
        for (float bad : {kNan, -kNan, kInf, -kInf}) {
          std::vector<float> poisoned = x;
          poisoned[last] = bad;
          EXPECT_TRUE(std::isnan(check(poisoned)));
        }
        x[last / 2] = -0.0f;
        check(x);
      }
      EXPECT_EQ(check(std::vector<float>(static_cast<size_t>(size), 0.0f)), 0.0f);
      std::vector<float> ties;  // every half between codes
      for (int64_t i = 0; i < size; ++i) ties.push_back(static_cast<float>(i % 254) - 126.5f);
      ties.back() = -127.0f;
      EXPECT_EQ(check(ties), 1.0f);
    }
  }
}

}  // namespace
}  // namespace dgemma::test
