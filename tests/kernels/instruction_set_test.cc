// Every instruction set this machine can run computes the same model: forced in turn and compared with ref.
#include <cmath>

#include "kernels/cpu/targets.h"

#include "hwy/targets.h"
#include "op_cases.h"

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
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      const Stored gate(dtype, 1, 70, 48, 1, UnitDeviation(48)), up(dtype, 1, 70, 48, 2, UnitDeviation(48)),
          down(dtype, 1, 48, 70, 3, UnitDeviation(70));
      const std::vector<float> x = Normals(29 * 48, 4);
      CheckOp({"gated mlp " + TypeName(dtype) + " " + name, 29, GatedBound(48, 70, LargestRowNorm(x, 48)),
               [&](const OpRun& run) {
                 Rows out(run.rows, 48);
                 run.kernels.GatedMlp(run.Input(x, 48).view,
                                      {Packed(run.kernels, gate), Packed(run.kernels, up), Packed(run.kernels, down)},
                                      out.view);
                 return out;
               }});
      const Stored table(dtype, 1, 2500, 24, 5, 0.5f);
      const std::vector<float> hidden = Normals(9 * 24, 6, 4.0f), temperature(9, 0.7f);
      const double logit = (SumBound(24, LargestRowNorm(hidden, 24), 0.5) + 240 * kEps) / 0.7;
      CheckOp({"denoise " + TypeName(dtype) + " " + name, 9, (2 * logit + 50 * kEps) * 10, [&](const OpRun& run) {
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

}  // namespace
}  // namespace dgemma::test
