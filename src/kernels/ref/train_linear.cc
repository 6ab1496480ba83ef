// Gradients of linear layers and of the dense feed-forward in the reference backend.
#include "kernels/gelu.h"
#include "kernels/ref/train_row.h"

namespace dgemma {

std::vector<double> ProductBackward(const std::vector<double>& x, const Weight& w, int64_t index,
                                    const std::vector<double>& dout, GradientSum& dw) {
  std::vector<double> dx(static_cast<size_t>(w.in), 0.0);
  for (int64_t o = 0; o < w.out; ++o) {
    const double g = dout[static_cast<size_t>(o)];
    const float* weights = w.Vector() + (index * w.out + o) * w.in;
    for (size_t i = 0; i < dx.size(); ++i) dx[i] += g * static_cast<double>(weights[i]);
    if (!dw.wanted()) continue;
    for (size_t i = 0; i < dx.size(); ++i) dw.Row(index, o)[i] += g * x[i];
  }
  return dx;
}

std::vector<double> RefTrainKernels::Product(const std::vector<double>& x, const Weight& w, int64_t index) {
  std::vector<float> input(x.begin(), x.end()), output(static_cast<size_t>(w.out));
  Weight matrix = w;
  matrix.count = 1;
  matrix.buffer.owner = {w.buffer.owner, w.buffer.Floats() + index * w.out * w.in};
  forward_.Linear({input.data(), 1, w.in, w.in}, matrix, {output.data(), 1, w.out, w.out});
  return Widened(output.data(), w.out);
}

void RefTrainKernels::LinearBackward(Matrix x, const Weight& w, Matrix dout, const Weight& dw, Matrix dx) {
  GradientSum sum(dw);
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::vector<double> gradient = ProductBackward(WidenedRow(x, row), w, 0, WidenedRow(dout, row), sum);
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

void RefTrainKernels::GatedMlpBackward(Matrix x, const MlpWeights& w, Matrix dout, const MlpWeights& dw, Matrix dx) {
  GradientSum dgate(dw.gate), dup(dw.up), ddown(dw.down);
  for (int64_t row = 0; row < x.rows; ++row) {
    const std::vector<double> input = WidenedRow(x, row);
    const std::vector<double> gate = Product(input, w.gate, 0), up = Product(input, w.up, 0);
    GatedRow gated(gate, up);
    gated.Backward(gate, up, ProductBackward(gated.hidden, w.down, 0, WidenedRow(dout, row), ddown));
    std::vector<double> dinput = ProductBackward(input, w.gate, 0, gated.dgate, dgate);
    AddRow(ProductBackward(input, w.up, 0, gated.dup, dup), dinput);
    if (dx.data != nullptr) StoreRow(dinput, dx.Row(row));
  }
  dgate.Store();
  dup.Store();
  ddown.Store();
}

}  // namespace dgemma
