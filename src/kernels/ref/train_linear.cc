// Gradients of linear layers and of the dense feed-forward in the reference backend.
#include "kernels/gelu.h"
#include "kernels/ref/train_row.h"

namespace dgemma {

namespace {

/// dx += dout w for matrix `index` of plain values, and dw += dout^T x where it is wanted.
void AddProducts(const std::vector<double>& x, const Weight& w, int64_t index, const std::vector<double>& dout,
                 GradientSum& dw, std::vector<double>& dx) {
  for (int64_t o = 0; o < w.out; ++o) {
    const double g = dout[static_cast<size_t>(o)];
    const float* weights = w.Vector() + (index * w.out + o) * w.in;
    for (size_t i = 0; i < dx.size(); ++i) dx[i] += g * static_cast<double>(weights[i]);
    if (!dw.wanted()) continue;
    for (size_t i = 0; i < dx.size(); ++i) dw.Row(index, o)[i] += g * x[i];
  }
}

}  // namespace

WeightSum::WeightSum(const Weight& gradient)
    : base(gradient),
      down(gradient.low_rank != nullptr ? gradient.low_rank->down : kNoGradient),
      up(gradient.low_rank != nullptr ? gradient.low_rank->up : kNoGradient) {}

std::vector<double> ProductBackward(const std::vector<double>& x, RowRole role, const Weight& w, int64_t index,
                                    const std::vector<double>& dout, WeightSum& dw) {
  std::vector<double> dx(static_cast<size_t>(w.in), 0.0);
  AddProducts(x, w, index, dout, dw.base, dx);
  if (w.low_rank == nullptr) return dx;
  const LowRank& delta = *w.low_rank;
  std::vector<double> du(static_cast<size_t>(delta.rank()), 0.0);
  AddProducts(DeltaRow(x.data(), role, delta, index), delta.up, index, dout, dw.up, du);
  const ColumnRange masked = MaskedColumns(delta, role);
  for (int64_t c = 0; c < delta.rank(); ++c) {
    const bool counts = c < masked.begin || c >= masked.end;
    du[static_cast<size_t>(c)] *= counts ? static_cast<double>(delta.scale[static_cast<size_t>(c)]) : 0.0;
  }
  AddProducts(x, delta.down, index, du, dw.down, dx);
  return dx;
}

std::vector<double> RefTrainKernels::Product(const std::vector<double>& x, RowRole role, const Weight& w,
                                             int64_t index) const {
  std::vector<float> input(x.begin(), x.end()), output(static_cast<size_t>(w.out));
  forward_.LinearRow(input.data(), role, w, index, output.data());
  return Widened(output.data(), w.out);
}

void RefTrainKernels::LinearBackward(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix dout,
                                     const Weight& dw, Matrix dx) {
  WeightSum sum(dw);
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::vector<double> gradient =
        ProductBackward(WidenedRow(x, row), RoleOf(roles, row), w, 0, WidenedRow(dout, row), sum);
    if (dx.data != nullptr) StoreRow(gradient, dx.Row(row));
  }
  sum.Store();
}

GatedRow::GatedRow(const std::vector<double>& gate, const std::vector<double>& up) {
  for (size_t i = 0; i < gate.size(); ++i) hidden.push_back(GeluTanh(gate[i]) * up[i]);
}

void GatedRow::Backward(const std::vector<double>& gate, const std::vector<double>& up,
                        const std::vector<double>& dhidden) {
  for (size_t i = 0; i < gate.size(); ++i) {
    dgate.push_back(dhidden[i] * up[i] * GeluTanhDerivative(gate[i]));
    dup.push_back(dhidden[i] * GeluTanh(gate[i]));
  }
}

void RefTrainKernels::GatedMlpBackward(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix dout,
                                       const MlpWeights& dw, Matrix dx) {
  WeightSum dgate(dw.gate), dup(dw.up), ddown(dw.down);
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::vector<double> input = WidenedRow(x, row);
    const RowRole role = RoleOf(roles, row);
    const std::vector<double> gate = Product(input, role, w.gate, 0), up = Product(input, role, w.up, 0);
    GatedRow gated(gate, up);
    gated.Backward(gate, up, ProductBackward(gated.hidden, role, w.down, 0, WidenedRow(dout, row), ddown));
    std::vector<double> dinput = ProductBackward(input, role, w.gate, 0, gated.dgate, dgate);
    AddRow(ProductBackward(input, role, w.up, 0, gated.dup, dup), dinput);
    if (dx.data != nullptr) StoreRow(dinput, dx.Row(row));
  }
  dgate.Store();
  dup.Store();
  ddown.Store();
}

}  // namespace dgemma
