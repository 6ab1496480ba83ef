// Gradients of the router and the experts on the CPU: rows are grouped by expert as in the forward pass.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/train_backend.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {
namespace {

/// The chosen experts' probabilities normalised to sum 1, which is the softmax over their z alone.
void ChosenShares(const float* z, std::span<const int32_t> experts, std::span<double> shares) {
  double max = static_cast<double>(z[experts[0]]), sum = 0;
  for (const int32_t expert : experts) max = std::max(max, static_cast<double>(z[expert]));
  for (size_t k = 0; k < experts.size(); ++k) sum += shares[k] = std::exp(static_cast<double>(z[experts[k]]) - max);
  for (double& share : shares) share /= sum;
}

}  // namespace

void CpuTrainKernels::RouteBackward(Matrix h, const RouterWeights& w, const Routes& routes,
                                    std::span<const float> dweight, const RouterWeights& dw, Matrix dh) {
  const int64_t experts = w.proj.out, width = h.cols;
  const auto active = static_cast<size_t>(routes.active);
  const float root = static_cast<float>(std::pow(static_cast<double>(width), -0.5));
  MatrixRoom room(memory_.Floats(2 * MatrixFloats(h.rows, width) + MatrixFloats(h.rows, experts)));
  const Matrix input = room.Take(h.rows, width), dinput = room.Take(h.rows, width), z = room.Take(h.rows, experts);
  auto scale = [&](int64_t row) {
    forward_.NormRow(h.Row(row), width, w.scale.Vector(), input.Row(row));
    row_.scale(input.Row(row), width, root, nullptr, input.Row(row));
  };
  forward_.RunRows(h.rows, 5 * width, scale);
  const LinearJob project{forward_.Input(input, {&w.proj}, codes_), PackedMatrix(w.proj, 0), z};
  forward_.RunLinear({&project, 1});
  std::vector<double> shares(active), dshares(active);
  for (int64_t row = 0; row < h.rows; ++row) {  // few values, and sums over rows
    const auto first = static_cast<size_t>(row) * active;
    const auto chosen = std::span(routes.expert).subspan(first, active);
    ChosenShares(z.Row(row), chosen, shares);
    double mean = 0;
    for (size_t k = 0; k < active; ++k) {
      const auto gradient = static_cast<double>(dweight[first + k]);
      dshares[k] = gradient * static_cast<double>(w.per_expert_scale.Vector()[chosen[k]]);
      mean += shares[k] * dshares[k];
      if (dw.per_expert_scale.present())
        dw.per_expert_scale.buffer.Floats()[chosen[k]] += static_cast<float>(gradient * shares[k]);
    }
    std::fill_n(z.Row(row), experts, 0.0f);
    for (size_t k = 0; k < active; ++k) z.Row(row)[chosen[k]] = static_cast<float>(shares[k] * (dshares[k] - mean));
  }
  if (dw.proj.present()) AddGradient(Columns(input), z, dw.proj);
  if (dh.data == nullptr && !dw.scale.present()) return;
  const BackwardJob back{z, PackedMatrix(w.proj, 0), dinput};
  RunBackward({&back, 1});
  auto rescale = [&](int64_t row) { row_.scale(dinput.Row(row), width, root, nullptr, dinput.Row(row)); };
  forward_.RunRows(h.rows, width, rescale);
  NormGradients(h, 1, w.scale, dinput, dh, Start::kAdd, dw.scale.present() ? input : Matrix{});
  if (dw.scale.present()) AddColumns(input, 1, dw.scale);
}

void CpuTrainKernels::ExpertsBackward(Matrix x, const ExpertWeights& w, const Routes& routes, Matrix dout,
                                      const ExpertWeights& dw, std::span<float> droute, Matrix dx) {
  const int64_t slots = x.rows * routes.active, width = x.cols, hidden = w.down.in;
  groups_.Sort(routes, w.down.count);
  const bool rounds = w.down.format != kFloat32Weights;
  MatrixRoom room(memory_.Floats(ExpertsBackwardFloats(slots, width, hidden, rounds)));
  const Matrix rows = room.Take(slots, width), drows = room.Take(slots, width), both = room.Take(slots, 2 * hidden),
               dh = room.Take(slots, hidden);  // in the order of experts; `both` is gate and up
  const auto bytes = static_cast<size_t>(width) * sizeof(float);
  auto gather = [&](int64_t row) {
    for (int64_t slot = row * routes.active; slot < (row + 1) * routes.active; ++slot) {
      std::memcpy(rows.Row(groups_.Place(slot)), x.Row(row), bytes);
      std::memcpy(drows.Row(groups_.Place(slot)), dout.Row(row), bytes);
    }
  };
  forward_.RunRows(x.rows, 2 * routes.active * width, gather);
  const auto each_expert = [&](auto visit) {
    for (int64_t e = 0; e < w.down.count; ++e) {
      if (groups_.Rows(e) > 0) visit(e, groups_.Begin(e), groups_.Rows(e));
    }
  };
  const ProductInput input = forward_.Input(rows, {&w.gate_up}, codes_);
  linear_jobs_.clear();
  backward_jobs_.clear();
  each_expert([&](int64_t e, int64_t begin, int64_t count) {
    linear_jobs_.push_back({input.Rows(begin, count), PackedMatrix(w.gate_up, e), both.Rows(begin, count)});
    backward_jobs_.push_back({drows.Rows(begin, count), PackedMatrix(w.down, e), dh.Rows(begin, count)});
  });
  forward_.RunLinear(linear_jobs_);
  const Matrix y = rounds ? room.Take(slots, width) : Matrix{};
  if (rounds) {
    auto activate = [&](int64_t place) {
      row_.gelu_multiply(both.Row(place), both.Row(place) + hidden, hidden, dh.Row(place));
    };
    forward_.RunRows(slots, 20 * hidden, activate);
    const ProductInput activated = forward_.Input(dh, {&w.down}, codes_);
    linear_jobs_.clear();
    each_expert([&](int64_t e, int64_t begin, int64_t count) {
      linear_jobs_.push_back({activated.Rows(begin, count), PackedMatrix(w.down, e), y.Rows(begin, count)});
    });
    forward_.RunLinear(linear_jobs_);
  }
  RunBackward(backward_jobs_);
  auto gradient = [&](int64_t row) {
    for (int64_t slot = row * routes.active; slot < (row + 1) * routes.active; ++slot) {
      const int64_t place = groups_.Place(slot);
      const auto index = static_cast<size_t>(slot);
      const float dot =
          train_.gated_gradient(both.Row(place), both.Row(place) + hidden, dh.Row(place), hidden, routes.weight[index]);
      // dout . (Down h) is (dout Down) . h, which needs no output of the expert unless h was rounded for it.
      droute[index] = rounds ? train_.sum_products(y.Row(place), drows.Row(place), nullptr, width) : dot;
    }
  };
  forward_.RunRows(x.rows, 40 * routes.active * hidden, gradient);
  const auto add_gradients = [&](Matrix columns, Matrix douts, const Weight& dweight) {
    const RowPanels panels = Panels(douts);
    gradient_jobs_.clear();
    each_expert([&](int64_t e, int64_t begin, int64_t count) {
      float* to = dweight.buffer.Floats() + e * PanelsFloats(dweight.in, dweight.out);
      gradient_jobs_.push_back({columns, panels, begin, count, to});
    });
    RunGradients(gradient_jobs_);
  };
  if (dw.down.present()) add_gradients(Columns(dh), drows, dw.down);
  if (dw.gate_up.present()) add_gradients(Columns(rows), both, dw.gate_up);
  if (dx.data == nullptr) return;
  backward_jobs_.clear();
  each_expert([&](int64_t e, int64_t begin, int64_t count) {
    backward_jobs_.push_back({both.Rows(begin, count), PackedMatrix(w.gate_up, e), rows.Rows(begin, count)});
  });
  RunBackward(backward_jobs_);
  auto combine = [&](int64_t row) {
    std::fill_n(dx.Row(row), width, 0.0f);
    for (int64_t slot = row * routes.active; slot < (row + 1) * routes.active; ++slot) {
      row_.add(dx.Row(row), rows.Row(groups_.Place(slot)), width, dx.Row(row));
    }
  };
  forward_.RunRows(x.rows, routes.active * width, combine);
}

}  // namespace dgemma
