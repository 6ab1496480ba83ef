// Router and experts of the reference backend.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/gelu.h"
#include "kernels/ref/ref_kernels.h"

namespace dgemma {

namespace {

/// The `active` largest probabilities, descending. Ties come out as torch.topk orders them on a CPU, which runs exactly these two
/// standard algorithms (ATen TopKImpl.h): with bfloat16 scores ties are common, and another order is another model. NaN counts as
/// largest, so the order stays a valid one.
std::vector<int32_t> ChooseExperts(const std::vector<float>& p, int64_t active) {
  std::vector<std::pair<float, int32_t>> queue;
  for (size_t e = 0; e < p.size(); ++e) queue.emplace_back(p[e], static_cast<int32_t>(e));
  const auto before = [](const auto& a, const auto& b) {
    return (std::isnan(a.first) && !std::isnan(b.first)) || a.first > b.first;
  };
  if (active * 64 <= std::ssize(queue)) {
    std::partial_sort(queue.begin(), queue.begin() + active, queue.end(), before);
  } else {
    std::nth_element(queue.begin(), queue.begin() + active - 1, queue.end(), before);
    std::sort(queue.begin(), queue.begin() + active - 1, before);
  }
  std::vector<int32_t> chosen;
  for (int64_t k = 0; k < active; ++k) chosen.push_back(queue[static_cast<size_t>(k)].second);
  return chosen;
}

}  // namespace

void RefKernels::Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active,
                       Routes& routes) {
  const int64_t experts = w.proj.out;
  const float root = static_cast<float>(std::pow(static_cast<double>(h.cols), -0.5));
  std::vector<float> input(static_cast<size_t>(h.cols)), z(static_cast<size_t>(experts)), p(z.size());
  routes.active = active;
  routes.expert.resize(static_cast<size_t>(h.rows * active));
  routes.weight.resize(routes.expert.size());
  for (int64_t row = 0; row < h.rows; ++row) {
    NormRow(h.Row(row), h.cols, nullptr, input.data());
    for (size_t i = 0; i < input.size(); ++i) {
      const float scaled = Rounded(static_cast<double>(input[i] * w.scale.Vector()[i]));
      input[i] = Rounded(static_cast<double>(scaled * root));
    }
    LinearRow(input.data(), RoleOf(roles, row), w.proj, 0, z.data());
    const float max = *std::max_element(z.begin(), z.end());
    double sum = 0;
    for (float value : z) sum += std::exp(static_cast<double>(value) - max);
    for (size_t e = 0; e < p.size(); ++e) p[e] = static_cast<float>(std::exp(static_cast<double>(z[e]) - max) / sum);
    const std::vector<int32_t> order = ChooseExperts(p, active);
    float total = 0;
    for (int64_t k = 0; k < active; ++k) total += p[static_cast<size_t>(order[static_cast<size_t>(k)])];
    for (int64_t k = 0; k < active; ++k) {
      const auto expert = static_cast<size_t>(order[static_cast<size_t>(k)]);
      const auto slot = static_cast<size_t>(row * active + k);
      routes.expert[slot] = static_cast<int32_t>(expert);
      routes.weight[slot] = p[expert] / total * w.per_expert_scale.Vector()[expert];
    }
  }
}

void RefKernels::Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
                         Matrix out) {
  const auto hidden = static_cast<size_t>(w.down.in), width = static_cast<size_t>(x.cols);
  std::vector<float> gate_up(2 * hidden), y(width);
  for (int64_t row = 0; row < x.rows; ++row) {
    std::vector<int64_t> order(static_cast<size_t>(routes.active));
    std::iota(order.begin(), order.end(), row * routes.active);
    if (options_.rounding == Rounding::kBfloat16) {  // eager experts add in ascending expert order
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return routes.expert[static_cast<size_t>(a)] < routes.expert[static_cast<size_t>(b)];
      });
    }
    float* total = out.Row(row);
    std::fill_n(total, width, 0.0f);
    for (int64_t slot : order) {
      const int64_t expert = routes.expert[static_cast<size_t>(slot)];
      const float weight = routes.weight[static_cast<size_t>(slot)];
      LinearRow(x.Row(row), RoleOf(roles, row), w.gate_up, expert, gate_up.data());
      for (size_t i = 0; i < hidden; ++i) {
        const float activated = Rounded(GeluTanh(static_cast<double>(gate_up[i])));
        gate_up[i] = Rounded(static_cast<double>(activated * gate_up[hidden + i]));
      }
      LinearRow(gate_up.data(), RoleOf(roles, row), w.down, expert, y.data());
      for (size_t i = 0; i < width; ++i) {
        total[i] = Rounded(static_cast<double>(total[i] + Rounded(static_cast<double>(y[i] * weight))));
      }
    }
  }
}

}  // namespace dgemma
