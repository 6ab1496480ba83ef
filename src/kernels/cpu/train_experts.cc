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

void CpuTrainKernels::RouteBackward(Matrix h, std::span<const RowRole> roles, const RouterWeights& w,
                                    const Routes& routes, std::span<const float> dweight, const RouterWeights& dw,
                                    Matrix dh) {
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
  MatrixRoom deltas = DeltaRoom(h.rows, {&w.proj});
  const DeltaRows u = forward_.FindDeltas(input, roles, {}, {&w.proj}, deltas);
  const LinearJob project{forward_.Input(input, {&w.proj}, codes_), PackedMatrix(w.proj, 0), z, {w.proj, 0, u[0]}};
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
  const RowPart all{0, 0, h.rows};
  BackwardProduct proj(w.proj, dw.proj, z);
  proj.u = u[0];
  FindDeltaGradients({roles, {&all, 1}}, {&proj, 1}, deltas);
  AddGradients(input, {&all, 1}, {&proj, 1});
  if (dh.data == nullptr && !dw.scale.present()) return;
  FindInputGradient({&all, 1}, {&proj, 1}, dinput);
  auto rescale = [&](int64_t row) { row_.scale(dinput.Row(row), width, root, nullptr, dinput.Row(row)); };
  forward_.RunRows(h.rows, width, rescale);
  NormGradients(h, 1, w.scale, dinput, dh, Start::kAdd, dw.scale.present() ? input : Matrix{});
  if (dw.scale.present()) AddColumns(input, 1, dw.scale);
}

void CpuTrainKernels::ExpertsBackward(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w,
                                      const Routes& routes, Matrix dout, const ExpertWeights& dw,
                                      std::span<float> droute, Matrix dx) {
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
  const BackwardRows grouped{groups_.Roles(roles), groups_.parts()};
  MatrixRoom deltas = DeltaRoom(slots, {&w.gate_up, &w.down});
  const auto multiply = [&](const ProductInput& input, const Weight& weight, Matrix u, Matrix out) {
    linear_jobs_.clear();
    for (const auto& [index, begin, count] : grouped.parts) {
      linear_jobs_.push_back({input.Rows(begin, count), PackedMatrix(weight, index), out.Rows(begin, count),
                              DeltaTerm(weight, index, u).Rows(begin, count)});
    }
    forward_.RunLinear(linear_jobs_);
  };
  const DeltaRows u = forward_.FindDeltas(rows, grouped.roles, grouped.parts, {&w.gate_up}, deltas);
  multiply(forward_.Input(rows, {&w.gate_up}, codes_), w.gate_up, u[0], both);
  BackwardProduct down(w.down, dw.down, drows), first(w.gate_up, dw.gate_up, both);
  first.u = u[0];
  const Matrix y = rounds ? room.Take(slots, width) : Matrix{};
  if (rounds) {
    auto activate = [&](int64_t place) {
      row_.gelu_multiply(both.Row(place), both.Row(place) + hidden, hidden, dh.Row(place));
    };
    forward_.RunRows(slots, 20 * hidden, activate);
    MatrixRoom once = deltas;  // the same place as below, where hidden values have their routes' weights
    const DeltaRows plain = forward_.FindDeltas(dh, grouped.roles, grouped.parts, {&w.down}, once);
    multiply(forward_.Input(dh, {&w.down}, codes_), w.down, plain[0], y);
  }
  FindDeltaGradients(grouped, {&down, 1}, deltas);
  FindInputGradient(grouped.parts, {&down, 1}, dh);
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
  // dh is now the hidden values times their routes' weights, which makes `drows` the gradient of the outputs.
  if (down.trains_up()) down.u = forward_.FindDeltas(dh, grouped.roles, grouped.parts, {&w.down}, deltas)[0];
  AddGradients(dh, grouped.parts, {&down, 1});
  FindDeltaGradients(grouped, {&first, 1}, deltas);
  AddGradients(rows, grouped.parts, {&first, 1});
  if (dx.data == nullptr) return;
  FindInputGradient(grouped.parts, {&first, 1}, rows);
  auto combine = [&](int64_t row) {
    std::fill_n(dx.Row(row), width, 0.0f);
    for (int64_t slot = row * routes.active; slot < (row + 1) * routes.active; ++slot) {
      row_.add(dx.Row(row), rows.Row(groups_.Place(slot)), width, dx.Row(row));
    }
  };
  forward_.RunRows(x.rows, routes.active * width, combine);
}

}  // namespace dgemma
