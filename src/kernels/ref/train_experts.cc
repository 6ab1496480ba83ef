// Gradients of the router and the experts in the reference backend.
#include <algorithm>
#include <cmath>

#include "kernels/ref/train_row.h"

namespace dgemma {

void RefTrainKernels::RouteBackward(Matrix h, std::span<const RowRole> roles, const RouterWeights& w,
                                    const Routes& routes, std::span<const float> dweight, const RouterWeights& dw,
                                    Matrix dh) {
  const auto active = static_cast<size_t>(routes.active);
  const double root = std::pow(static_cast<double>(h.cols), -0.5);
  GradientSum dscale(dw.scale), dper_expert(dw.per_expert_scale), none{kNoGradient};
  WeightSum dproj(dw.proj);
  std::vector<float> normed_values(static_cast<size_t>(h.cols));
  const Matrix normed_row{normed_values.data(), 1, h.cols, h.cols};
  for (int64_t row = 0; row < h.rows; ++row) {
    forward_.RmsNorm(h.Rows(row, 1), {}, normed_row);
    const std::vector<double> normed = WidenedRow(normed_row, 0), scale = Widened(w.scale.Vector(), h.cols);
    std::vector<double> input(normed.size());
    for (size_t i = 0; i < input.size(); ++i) input[i] = normed[i] * scale[i] * root;
    const std::vector<double> z = Product(input, RoleOf(roles, row), w.proj, 0);

    // The largest p normalised to sum 1 are the softmax over the chosen z: share.
    const int32_t* expert = routes.expert.data() + row * routes.active;
    std::vector<double> share(active), dshare(active);
    double max = z[static_cast<size_t>(expert[0])], sum = 0, mean = 0;
    for (size_t k = 0; k < active; ++k) max = std::max(max, z[static_cast<size_t>(expert[k])]);
    for (size_t k = 0; k < active; ++k) {
      share[k] = std::exp(z[static_cast<size_t>(expert[k])] - max);
      sum += share[k];
    }
    for (size_t k = 0; k < active; ++k) {
      const auto gradient = static_cast<double>(dweight[static_cast<size_t>(row * routes.active) + k]);
      share[k] /= sum;
      dshare[k] = gradient * static_cast<double>(w.per_expert_scale.Vector()[expert[k]]);
      mean += share[k] * dshare[k];
      if (dper_expert.wanted()) dper_expert.Row(0, 0)[expert[k]] += gradient * share[k];
    }
    std::vector<double> dz(z.size(), 0.0);
    for (size_t k = 0; k < active; ++k) dz[static_cast<size_t>(expert[k])] += share[k] * (dshare[k] - mean);

    std::vector<double> dnormed = ProductBackward(input, RoleOf(roles, row), w.proj, 0, dz, dproj);
    for (size_t i = 0; i < dnormed.size(); ++i) {
      if (dscale.wanted()) dscale.Row(0, 0)[i] += dnormed[i] * normed[i] * root;
      dnormed[i] *= scale[i] * root;
    }
    if (dh.data == nullptr) continue;
    std::vector<double> gradient = NormBackward(WidenedRow(h, row), nullptr, dnormed, none);
    AddRow(WidenedRow(dh, row), gradient);
    StoreRow(gradient, dh.Row(row));
  }
  dproj.Store();
  for (GradientSum* gradient : {&dscale, &dper_expert}) gradient->Store();
}

void RefTrainKernels::ExpertsBackward(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w,
                                      const Routes& routes, Matrix dout, const ExpertWeights& dw,
                                      std::span<float> droute, Matrix dx) {
  const int64_t hidden = w.down.in;
  WeightSum dgate_up(dw.gate_up), ddown(dw.down);
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::vector<double> input = WidenedRow(x, row), gradient = WidenedRow(dout, row);
    const RowRole role = RoleOf(roles, row);
    std::vector<double> dinput(input.size(), 0.0);
    for (int64_t slot = row * routes.active; slot < (row + 1) * routes.active; ++slot) {
      const int64_t expert = routes.expert[static_cast<size_t>(slot)];
      const auto weight = static_cast<double>(routes.weight[static_cast<size_t>(slot)]);
      const std::vector<double> gate_up = Product(input, role, w.gate_up, expert);
      const std::vector<double> gate(gate_up.begin(), gate_up.begin() + hidden),
          up(gate_up.begin() + hidden, gate_up.end());
      GatedRow gated(gate, up);
      const std::vector<double> y = Product(gated.hidden, role, w.down, expert);
      std::vector<double> dy(y.size());
      double dweight = 0;
      for (size_t i = 0; i < y.size(); ++i) {
        dweight += gradient[i] * y[i];
        dy[i] = gradient[i] * weight;
      }
      droute[static_cast<size_t>(slot)] = static_cast<float>(dweight);
      gated.Backward(gate, up, ProductBackward(gated.hidden, role, w.down, expert, dy, ddown));
      std::vector<double> dboth = gated.dgate;
      dboth.insert(dboth.end(), gated.dup.begin(), gated.dup.end());
      AddRow(ProductBackward(input, role, w.gate_up, expert, dboth, dgate_up), dinput);
    }
    if (dx.data != nullptr) StoreRow(dinput, dx.Row(row));
  }
  dgate_up.Store();
  ddown.Store();
}

}  // namespace dgemma
