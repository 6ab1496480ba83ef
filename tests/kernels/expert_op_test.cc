// Router and experts: cpu against ref.
#include <algorithm>
#include <array>
#include <cmath>

#include "op_cases.h"

namespace dgemma::test {
namespace {

struct ExpertShape {
  int64_t rows, width, experts, active, hidden;
};

std::string Label(const std::string& op, const WeightType& type, const ExpertShape& s) {
  return op + " " + type.Name() + " rows " + std::to_string(s.rows) + " D " + std::to_string(s.width) + " E " +
         std::to_string(s.experts) + " A " + std::to_string(s.active) + " X " + std::to_string(s.hidden);
}

constexpr std::array<ExpertShape, 10> kShapes = {{{1, 48, 8, 3, 16},
                                                  {2, 64, 16, 4, 24},
                                                  {7, 33, 8, 8, 24},
                                                  {255, 48, 8, 3, 16},
                                                  {256, 64, 32, 4, 24},
                                                  {257, 20, 128, 8, 10},
                                                  {31, 17, 128, 2, 704},
                                                  {40, 64, 2, 1, 72},
                                                  {9, 3, 5, 2, 17},
                                                  {6, 70, 4, 2, 255}}};

TEST(Route, ChoosesTheExpertsOfRefWithItsWeights) {
  for (const WeightType& type : AllTypes()) {
    for (const ExpertShape& s : kShapes) {
      // The backends' norms differ by rounding, so that a code may flip; in many rows one would do so where two experts are level.
      if (type.format != kFloat32Weights && s.rows > 40) continue;
      const Stored scale(type.file, 1, 1, s.width, 1), proj(type, 1, s.experts, s.width, 2),
          per_expert(type.file, 1, 1, s.experts, 3);
      const std::vector<float> h = Normals(s.rows * s.width, 4);
      // z has values of a few units with the error of a sum over the width; the softmax carries it to p, the scale is below 4.
      OpCase op{Label("route", type, s), s.rows, 0, {}};
      const double largest = 5 * scale.Largest() / std::sqrt(static_cast<double>(s.width));
      op.bound = 4 * SumBound(s.width, 4, type.Walk());
      op.step = 4 * CodeStep(type, largest, proj.Largest());
      op.run = [&](const OpRun& run) {
        const RouterWeights w{PackedVector(run.kernels, scale), Packed(run.kernels, proj),
                              PackedVector(run.kernels, per_expert)};
        Routes routes;
        run.kernels.Route(run.Input(h, s.width).view, {}, w, s.active, routes);
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

/// Distinct experts in an order of no pattern, for rows [begin, begin + rows); the last expert stays without rows.
Routes MakeRoutes(const ExpertShape& s, const std::vector<float>& weights, int64_t begin, int64_t rows) {
  const int64_t usable = s.experts > s.active ? s.experts - 1 : s.experts;
  Routes routes;
  routes.active = s.active;
  for (int64_t row = begin; row < begin + rows; ++row) {
    for (int64_t k = 0; k < s.active; ++k) {
      routes.expert.push_back(static_cast<int32_t>((row * 7 + (row % 2 == 0 ? k : s.active - 1 - k)) % usable));
      routes.weight.push_back(weights[static_cast<size_t>(row * s.active + k)]);
    }
  }
  return routes;
}

/// The largest hidden value of any row in any of its experts.
double LargestHidden(const Stored& gate_up, const ExpertShape& s, const std::vector<float>& x, const Routes& routes) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Weight all = Packed(*ref, gate_up);
  const Rows input(s.rows, s.width, x);
  Rows y(1, 2 * s.hidden);
  double largest = 0;
  for (int64_t slot = 0; slot < s.rows * s.active; ++slot) {
    Weight one = all;
    one.count = 1;
    one.buffer.owner = {all.buffer.owner,
                        all.buffer.Floats() + routes.expert[static_cast<size_t>(slot)] * 2 * s.hidden * s.width};
    ref->Linear(input.view.Rows(slot / s.active, 1), {}, one, y.view);
    largest =
        std::max(largest, LargestGated(y.view.Cols(s.hidden), {y.view.data + s.hidden, 1, s.hidden, y.view.stride}));
  }
  return largest;
}

TEST(Experts, AgreeWithRefOnEveryShapeAndType) {
  for (const WeightType& type : AllTypes()) {
    for (const ExpertShape& s : kShapes) {
      if (s.hidden == 704 && type.format.grouped() && type.format.group != 64)
        continue;  // millions of weights to quantise
      const Stored gate_up(type, s.experts, 2 * s.hidden, s.width, 1, UnitDeviation(s.width));
      const Stored down(type, s.experts, s.width, s.hidden, 2, UnitDeviation(s.hidden));
      const std::vector<float> x = Normals(s.rows * s.width, 3), weights = Normals(s.rows * s.active, 4, 0.3f);
      OpCase op{Label("experts", type, s), s.rows, 0, {}};
      op.bound = GatedBound(s.width, s.hidden, LargestRowNorm(x, s.width)) * type.Walk() * 0.3 *
                 std::sqrt(static_cast<double>(s.active));
      if (type.format != kFloat32Weights) {  // one of an expert's hidden values, times that expert's weight
        const double hidden = LargestHidden(gate_up, s, x, MakeRoutes(s, weights, 0, s.rows));
        const float weight = std::ranges::max(weights, {}, [](float value) { return std::abs(value); });
        op.step = CodeStep(type, hidden, down.Largest()) * std::abs(static_cast<double>(weight));
      }
      op.run = [&](const OpRun& run) {
        Rows out(run.rows, s.width);
        run.kernels.Experts(run.Input(x, s.width).view, {}, {Packed(run.kernels, gate_up), Packed(run.kernels, down)},
                            MakeRoutes(s, weights, run.begin, run.rows), out.view);
        return out;
      };
      CheckOp(op);
    }
  }
}

}  // namespace
}  // namespace dgemma::test
