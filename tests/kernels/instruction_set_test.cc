// Every instruction set this machine can run computes the same model: forced in turn and compared with ref.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/targets.h"

#include "hwy/targets.h"
#include "op_cases.h"
#include "tensor/groups.h"

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
      Ref()->Linear(Rows(29, 48, x).view, Packed(*Ref(), gate), gates.view);
      Ref()->Linear(Rows(29, 48, x).view, Packed(*Ref(), up), ups.view);
      const double step = CodeStep(type, LargestGated(gates.view, ups.view), down.Largest());
      CheckOp({"gated mlp " + type.Name() + " " + name, 29, GatedBound(48, 70, LargestRowNorm(x, 48)) * type.Walk(),
               [&](const OpRun& run) {
                 Rows out(run.rows, 48);
                 run.kernels.GatedMlp(run.Input(x, 48).view,
                                      {Packed(run.kernels, gate), Packed(run.kernels, up), Packed(run.kernels, down)},
                                      out.view);
                 return out;
               },
               step});
      const Stored table(type, 1, 2500, 24, 5, 0.5f);
      const std::vector<float> hidden = Normals(9 * 24, 6, 4.0f), temperature(9, 0.7f);
      const double logit = (SumBound(24, LargestRowNorm(hidden, 24), 0.5 * type.Walk()) + 240 * kEps) / 0.7;
      const double dropped = type.format.grouped() ? 0x1p-9 * table.Largest() : 0;  // see head_op_test.cc
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

TEST_F(InstructionSet, QuantizesActivationsToTheSameBits) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    const RowOps ops = ChooseRowOps();
    auto check = [&](const std::vector<float>& x) {
      std::vector<int8_t> expected(x.size()), actual(x.size() + 1, int8_t{99});
      const float scale = QuantizeActivations(x, expected);
      const float found = ops.quantize(x.data(), std::ssize(x), actual.data());
      EXPECT_EQ(actual.back(), 99) << "written past the row";
      actual.pop_back();
      EXPECT_EQ(actual, expected) << hwy::TargetName(target) << ", " << x.size() << " values up to " << scale * 127;
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
