// Router and experts of the CPU backend: rows are grouped by expert, so that every expert's weights are read once for all its rows.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/backend.h"

namespace dgemma {
namespace {

/// Softmax in float64 and the `active` largest, as the reference: the choice of experts must not hang on a rounding of exp.
void ChooseExperts(const float* z, int64_t experts, const float* expert_scale, std::span<int32_t> chosen,
                   std::span<float> weights) {
  std::vector<float> p(static_cast<size_t>(experts));
  const float max = *std::max_element(z, z + experts);
  double sum = 0;
  for (int64_t e = 0; e < experts; ++e) sum += std::exp(static_cast<double>(z[e]) - max);
  for (size_t e = 0; e < p.size(); ++e) p[e] = static_cast<float>(std::exp(static_cast<double>(z[e]) - max) / sum);
  float total = 0;
  for (size_t k = 0; k < chosen.size(); ++k) {  // selection, not sort: a NaN must not break the comparison
    int32_t best = -1;
    for (int32_t e = 0; e < experts; ++e) {
      const bool taken = std::find(chosen.begin(), chosen.begin() + static_cast<int64_t>(k), e) !=
                         chosen.begin() + static_cast<int64_t>(k);
      if (!taken && (best < 0 || p[static_cast<size_t>(e)] > p[static_cast<size_t>(best)])) best = e;
    }
    chosen[k] = best;
    total += p[static_cast<size_t>(best)];
  }
  for (size_t k = 0; k < chosen.size(); ++k) {
    const auto expert = static_cast<size_t>(chosen[k]);
    weights[k] = p[expert] / total * expert_scale[expert];
  }
}

}  // namespace

void CpuKernels::Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active,
                       Routes& routes) {
  const int64_t experts = w.proj.out, stride = PaddedStride(h.cols), z_stride = PaddedStride(experts);
  const float root = static_cast<float>(std::pow(static_cast<double>(h.cols), -0.5));
  routes.active = active;
  routes.expert.resize(static_cast<size_t>(h.rows * active));
  routes.weight.resize(routes.expert.size());
  float* memory = gathered_.Floats(h.rows * (stride + z_stride));
  const Matrix input{memory, h.rows, h.cols, stride}, z{memory + h.rows * stride, h.rows, experts, z_stride};
  auto scale = [&](int64_t row) {
    NormRow(h.Row(row), h.cols, w.scale.Vector(), input.Row(row));
    row_.scale(input.Row(row), h.cols, root, nullptr, input.Row(row));
  };
  RunRows(h.rows, 5 * h.cols, scale);
  const DeltaRows u = Deltas(input, roles, {}, {&w.proj});
  const LinearJob job{Input(input, {&w.proj}, codes_), PackedMatrix(w.proj, 0), z, {w.proj, 0, u[0]}};
  RunLinear({&job, 1});
  auto choose = [&](int64_t row) {
    const auto first = static_cast<size_t>(row * active), count = static_cast<size_t>(active);
    ChooseExperts(z.Row(row), experts, w.per_expert_scale.Vector(), std::span(routes.expert).subspan(first, count),
                  std::span(routes.weight).subspan(first, count));
  };
  RunRows(h.rows, experts * (40 + active), choose);
}

void CpuKernels::Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
                         Matrix out) {
  const int64_t slots = x.rows * routes.active, width = x.cols, hidden = w.down.in;
  groups_.Sort(routes, w.down.count);
  const int64_t hidden_stride = PaddedStride(hidden);
  const ProductInput input = Input(x, {&w.gate_up}, codes_);
  const ProductInput gathered = InputRoom(gathered_.Floats(GatheredFloats(slots, width, w.gate_up.format.grouped())),
                                          slots, width, w.gate_up.format);
  const Matrix activated{hidden_.Floats(slots * hidden_stride), slots, hidden, hidden_stride};
  const auto gather = [&](const ProductInput& from, const ProductInput& to) {
    auto copy = [&](int64_t row) {
      for (int64_t k = 0; k < routes.active; ++k) {
        CopyInputRow(from, row, to, groups_.Place(row * routes.active + k));
      }
    };
    RunRows(x.rows, routes.active * width, copy);
  };
  const std::span<const RowRole> slot_roles = groups_.Roles(roles);
  DeltaRows u;
  if (w.gate_up.low_rank != nullptr) {  // they read floats, which codes then take the place of
    gather({x, {}, {}}, {gathered.rows, {}, {}});
    u = Deltas(gathered.rows, slot_roles, groups_.parts(), {&w.gate_up});
  }
  if (w.gate_up.low_rank == nullptr || w.gate_up.format != kFloat32Weights) gather(input, gathered);
  const auto term_of = [&](const Weight& weight, const RowPart& part) {
    return DeltaTerm(weight, part.index, u[0]).Rows(part.begin, part.rows);
  };
  gated_jobs_.clear();
  for (const RowPart& part : groups_.parts()) {
    const PackedMatrix gate_up(w.gate_up, part.index);
    const DeltaTerm delta = term_of(w.gate_up, part);
    gated_jobs_.push_back({gathered.Rows(part.begin, part.rows), gate_up, gate_up, hidden, hidden,
                           activated.Rows(part.begin, part.rows), delta, delta});
  }
  RunGated(gated_jobs_);
  const ProductInput down = Input(activated, {&w.down}, codes_);
  u = Deltas(activated, slot_roles, groups_.parts(), {&w.down});
  linear_jobs_.clear();
  for (const RowPart& part : groups_.parts()) {
    linear_jobs_.push_back({down.Rows(part.begin, part.rows), PackedMatrix(w.down, part.index),
                            gathered.rows.Rows(part.begin, part.rows), term_of(w.down, part)});
  }
  RunLinear(linear_jobs_);  // the gathered inputs are no longer needed: outputs take their place
  auto combine = [&](int64_t row) {
    const int64_t slot = row * routes.active;
    row_.weighted_sum(gathered.rows.data, gathered.rows.stride, groups_.Places(slot, routes.active),
                      routes.weight.data() + slot, width, out.Row(row));
  };
  RunRows(x.rows, 2 * routes.active * width, combine);
}

}  // namespace dgemma
