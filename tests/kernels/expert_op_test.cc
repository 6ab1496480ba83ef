// Router and experts: cpu against ref.
#include <array>
#include <cmath>

#include "op_cases.h"

namespace dgemma::test {
namespace {

struct ExpertShape {
  int64_t rows, width, experts, active, hidden;
};

std::string Label(const std::string& op, DType dtype, const ExpertShape& s) {
  return op + " " + TypeName(dtype) + " rows " + std::to_string(s.rows) + " D " + std::to_string(s.width) + " E " +
         std::to_string(s.experts) + " A " + std::to_string(s.active) + " X " + std::to_string(s.hidden);
}

constexpr std::array<ExpertShape, 8> kShapes = {{{1, 48, 8, 3, 16},
                                                 {2, 64, 16, 4, 24},
                                                 {7, 33, 8, 8, 24},
                                                 {255, 48, 8, 3, 16},
                                                 {256, 64, 32, 4, 24},
                                                 {257, 20, 128, 8, 10},
                                                 {31, 17, 128, 2, 704},
                                                 {40, 64, 2, 1, 72}}};

TEST(Route, ChoosesTheExpertsOfRefWithItsWeights) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    for (const ExpertShape& s : kShapes) {
      const Stored scale(dtype, 1, 1, s.width, 1), proj(dtype, 1, s.experts, s.width, 2),
          per_expert(dtype, 1, 1, s.experts, 3);
      const std::vector<float> h = Normals(s.rows * s.width, 4);
      // z has values of a few units with the error of a sum over the width; the softmax carries it to p, the scale is below 4.
      OpCase op{Label("route", dtype, s), s.rows, 0, {}};
      op.bound = 4 * SumBound(s.width, 4, 1);
      op.run = [&](const OpRun& run) {
        const RouterWeights w{PackedVector(run.kernels, scale), Packed(run.kernels, proj),
                              PackedVector(run.kernels, per_expert)};
        Routes routes;
        run.kernels.Route(run.Input(h, s.width).view, w, s.active, routes);
        Rows out(run.rows, 2 * s.active);
        for (int64_t i = 0; i < run.rows * s.active; ++i) {
          const auto slot = static_cast<size_t>(i);
          out.view.Row(i / s.active)[i % s.active] = static_cast<float>(routes.expert[slot]);
          out.view.Row(i / s.active)[s.active + i % s.active] = routes.weight[slot];
        }
        return out;
      };
      CheckOp(op);
    }
  }
}

TEST(Experts, AgreeWithRefOnEveryShapeAndType) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const ExpertShape& s : kShapes) {
      const Stored gate_up(dtype, s.experts, 2 * s.hidden, s.width, 1, UnitDeviation(s.width));
      const Stored down(dtype, s.experts, s.width, s.hidden, 2, UnitDeviation(s.hidden));
      const std::vector<float> x = Normals(s.rows * s.width, 3), weights = Normals(s.rows * s.active, 4, 0.3f);
      OpCase op{Label("experts", dtype, s), s.rows, 0, {}};
      op.bound =
          GatedBound(s.width, s.hidden, LargestRowNorm(x, s.width)) * 0.3 * std::sqrt(static_cast<double>(s.active));
      op.run = [&](const OpRun& run) {
        Routes routes;
        routes.active = s.active;
        for (int64_t row = run.begin; row < run.begin + run.rows; ++row) {
          for (int64_t k = 0; k < s.active;
               ++k) {  // distinct experts, in an order of no pattern; the last expert stays without rows
            const int64_t usable = s.experts > s.active ? s.experts - 1 : s.experts;
            routes.expert.push_back(static_cast<int32_t>((row * 7 + (row % 2 == 0 ? k : s.active - 1 - k)) % usable));
            routes.weight.push_back(weights[static_cast<size_t>(row * s.active + k)]);
          }
        }
        Rows out(run.rows, s.width);
        run.kernels.Experts(run.Input(x, s.width).view, {Packed(run.kernels, gate_up), Packed(run.kernels, down)},
                            routes, out.view);
        return out;
      };
      CheckOp(op);
    }
  }
}

}  // namespace
}  // namespace dgemma::test
