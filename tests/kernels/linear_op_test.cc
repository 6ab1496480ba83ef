// Embedding, norms, linear layers, the dense feed-forward and the join of branches: cpu against ref.
#include <algorithm>
#include <array>
#include <cmath>

#include "op_cases.h"

namespace dgemma::test {
namespace {

constexpr std::array<int64_t, 6> kRowCounts = {1, 2, 7, 255, 256, 257};

std::string Label(const std::string& op, const WeightType& type, std::initializer_list<int64_t> sizes) {
  std::string label = op + " " + type.Name();
  for (int64_t size : sizes) label += " " + std::to_string(size);
  return label;
}

void CheckLinear(const WeightType& type, int64_t rows, int64_t in, int64_t out) {
  const Stored w(type, 1, out, in, 7, UnitDeviation(in));
  const std::vector<float> x = Normals(rows * in, 8);
  OpCase op{Label("linear", type, {rows, in, out}), rows, 0, {}};
  op.bound = SumBound(in, LargestRowNorm(x, in), type.Walk() * static_cast<double>(UnitDeviation(in)));
  op.run = [&](const OpRun& run) {
    Rows y(run.rows, out);
    run.kernels.Linear(run.Input(x, in).view, {}, Packed(run.kernels, w), y.view);
    return y;
  };
  CheckOp(op);
}

TEST(Linear, AgreesWithRefOnEveryRowCountAndType) {
  for (const WeightType& type : AllTypes()) {
    for (int64_t rows : kRowCounts) CheckLinear(type, rows, 48, 40);
  }
}

TEST(Linear, AgreesWithRefOnDepthsAndWidthsThatFitNoTile) {
  for (const WeightType& type : AllTypes()) {
    for (int64_t in : {1, 3, 17, 33, 70, 255, 257, 513}) CheckLinear(type, 13, in, 37);
    for (int64_t out : {1, 3, 15, 16, 17, 33, 63, 65, 70, 130, 255}) CheckLinear(type, 9, 50, out);
  }
  for (int64_t rows : {3, 4, 5, 6, 8, 11, 12, 14, 25, 289, 600}) CheckLinear(DType::kF32, rows, 31, 35);
  for (int64_t rows : {3, 4, 5, 6, 8, 11, 12, 14, 25}) CheckLinear(DType::kBF16, rows, 31, 83);
  for (const WeightType& type : {kGroupedTypes[0], kGroupedTypes[6]}) {
    for (int64_t rows : {3, 4, 5, 6, 8, 11, 12, 14, 25, 289, 600}) CheckLinear(type, rows, 70, 83);
  }
}

TEST(Embed, GivesTheScaledRowsOfTheTableExactly) {
  for (const WeightType& type : AllTypes()) {
    for (int64_t width : {1, 3, 17, 33, 48, 70, 255}) {
      const Stored table(type, 1, 160, width, 3);
      OpCase op{Label("embed", type, {160, width}), 257, 0, {}};
      op.run = [&](const OpRun& run) {
        std::vector<int32_t> ids;
        for (int64_t row = 0; row < run.rows; ++row) ids.push_back(static_cast<int32_t>((run.begin + row) * 37 % 160));
        Rows out(run.rows, width);
        run.kernels.Embed(ids, Packed(run.kernels, table), 6.9282f, out.view);
        return out;
      };
      CheckOp(op);
    }
  }
}

TEST(Norms, AgreeWithRefWithAndWithoutWeights) {
  for (int64_t width : {1, 15, 16, 48, 1000}) {
    const Stored weight(DType::kBF16, 1, 1, width, 5);
    const std::vector<float> x = Normals(257 * width, 9, 3.0f), y = Normals(257 * width, 10, 0.5f);
    // Normed values stay below 5 and weights below 4 (sqrt(width) bounds the former for narrow rows). The mean of squares, a sum
    // of positive values in at least four chains, rounds by sqrt(width) / 2; value, scale and weight by one each.
    const double largest = 4 * std::min(5.0, std::sqrt(static_cast<double>(width)));
    const double bound = (std::sqrt(static_cast<double>(width)) / 2 + 4) * kEps * largest;
    OpCase op{"rmsnorm " + std::to_string(width), 257, bound, [&](const OpRun& run) {
                Rows out(run.rows, width);
                run.kernels.RmsNorm(run.Input(x, width).view, PackedVector(run.kernels, weight), out.view);
                return out;
              }};
    CheckOp(op);
    op.name = "rmsnorm in place without weight " + std::to_string(width);
    op.run = [&](const OpRun& run) {
      Rows out = run.Input(x, width);
      run.kernels.RmsNorm(out.view, {}, out.view);
      return out;
    };
    CheckOp(op);
    op.name = "add and norm " + std::to_string(width);
    op.run = [&](const OpRun& run) {
      Rows out = run.Input(x, width);
      run.kernels.AddRmsNorm(run.Input(y, width).view, out.view);
      return out;
    };
    CheckOp(op);
    op.name = "norm and add " + std::to_string(width);
    op.run = [&](const OpRun& run) {
      Rows out = run.Input(x, width);
      run.kernels.NormAdd(run.Input(y, width).view, PackedVector(run.kernels, weight), out.view);
      return out;
    };
    CheckOp(op);
  }
}

struct MlpTypes {
  WeightType gate, up, down;
};

void CheckGatedMlp(const MlpTypes& types, int64_t rows, int64_t width, int64_t hidden) {
  const Stored gate(types.gate, 1, hidden, width, 1, UnitDeviation(width)),
      up(types.up, 1, hidden, width, 2, UnitDeviation(width));
  const Stored down(types.down, 1, width, hidden, 3, UnitDeviation(hidden));
  const std::vector<float> x = Normals(rows * width, 4);
  Rows gates(rows, hidden), ups(rows, hidden);
  Ref()->Linear(Rows(rows, width, x).view, {}, Packed(*Ref(), gate), gates.view);
  Ref()->Linear(Rows(rows, width, x).view, {}, Packed(*Ref(), up), ups.view);
  OpCase op{Label("gated mlp", types.down, {rows, width, hidden}), rows, 0, {}};
  op.bound = GatedBound(width, hidden, LargestRowNorm(x, width)) *
             std::max({types.gate.Walk(), types.up.Walk(), types.down.Walk()});
  op.step = CodeStep(types.down, LargestGated(gates.view, ups.view), down.Largest());
  op.run = [&](const OpRun& run) {
    Rows out(run.rows, width);
    const MlpWeights w{Packed(run.kernels, gate), Packed(run.kernels, up), Packed(run.kernels, down)};
    run.kernels.GatedMlp(run.Input(x, width).view, {}, w, out.view);
    return out;
  };
  CheckOp(op);
}

TEST(GatedMlp, AgreesWithRef) {
  for (const WeightType& type : AllTypes()) {
    for (int64_t rows : kRowCounts) CheckGatedMlp({type, type, type}, rows, 48, 40);
    CheckGatedMlp({type, type, type}, 19, 33, 131);
    CheckGatedMlp({type, type, type}, 5, 3, 17);
    CheckGatedMlp({type, type, type}, 3, 255, 70);
  }
}

TEST(GatedMlp, TakesMatricesOfDifferentFormats) {
  const WeightType plain = DType::kF32, bf16 = DType::kBF16, int8 = kGroupedTypes[0], int4 = kGroupedTypes[6];
  for (const MlpTypes& types : {MlpTypes{plain, int8, plain},
                                {int4, plain, int8},
                                {int8, int4, bf16},
                                {plain, plain, int4},
                                {bf16, plain, bf16},
                                {int8, bf16, plain},
                                {bf16, bf16, int8}})
    CheckGatedMlp(types, 13, 70, 33);
}

TEST(JoinBranches, AgreesWithRef) {
  for (int64_t width : {7, 64, 200}) {
    const Stored w1(DType::kF32, 1, 1, width, 1), w2(DType::kF32, 1, 1, width, 2), w3(DType::kF32, 1, 1, width, 3);
    const std::vector<float> dense = Normals(257 * width, 4), experts = Normals(257 * width, 5, 2.0f),
                             h = Normals(257 * width, 6);
    // Three norms as above, one after the other, times a scalar below 4.
    const double largest = 16 * std::min(5.0, std::sqrt(static_cast<double>(width)));
    OpCase op{"join branches " + std::to_string(width), 257,
              (std::sqrt(static_cast<double>(width)) + 12) * kEps * largest, [&](const OpRun& run) {
                Rows out = run.Input(h, width);
                std::vector<float> scalar;
                for (int64_t row = 0; row < run.rows; ++row)
                  scalar.push_back(0.5f + 0.01f * static_cast<float>(run.begin + row));
                const BranchNorms norms{PackedVector(run.kernels, w1), PackedVector(run.kernels, w2),
                                        PackedVector(run.kernels, w3)};
                run.kernels.JoinBranches(run.Input(dense, width).view, run.Input(experts, width).view, norms, scalar,
                                         out.view);
                return out;
              }};
    CheckOp(op);
  }
}

}  // namespace
}  // namespace dgemma::test
