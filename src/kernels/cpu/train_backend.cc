// Gradients on the CPU: construction, memory, elementwise operations, the embedding and the optimiser's step.
#include "kernels/cpu/train_backend.h"

#include <algorithm>
#include <cstring>

#include "base/try.h"

namespace dgemma {
namespace {

int64_t ValueCount(const Weight& weight) { return weight.buffer.bytes / static_cast<int64_t>(sizeof(float)); }

/// Vectors are in plain order and matrices in panels of 16 outputs: the size says which.
bool IsVector(const Weight& weight) {
  return weight.format == kFloat32Weights && weight.count == 1 && weight.out == 1 && ValueCount(weight) == weight.in;
}

}  // namespace

std::unique_ptr<TrainKernels> MakeCpuTrainKernels(Kernels& forward) {
  return std::make_unique<CpuTrainKernels>(static_cast<CpuKernels&>(forward));
}

CpuTrainKernels::CpuTrainKernels(CpuKernels& forward)
    : forward_(forward), row_(forward.row_ops()), train_(ChooseTrainRowOps()) {}

Result<Weight> CpuTrainKernels::MakeGradient(const Weight& weight) {
  Weight gradient{weight.count, weight.out, weight.in, kFloat32Weights, {}};
  const int64_t bytes =
      IsVector(weight) ? weight.buffer.bytes : PackedWeightBytes(kFloat32Weights, weight.count, weight.out, weight.in);
  DG_TRY(gradient.buffer, forward_.Allocate(bytes));
  return gradient;
}

void CpuTrainKernels::Unpack(const Weight& weight, int64_t index, int64_t row, std::span<float> out) const {
  if (IsVector(weight))
    std::copy_n(weight.Vector(), weight.in, out.begin());
  else
    ReadPackedRow(PackedMatrix(weight, index), row, 1.0f, out.data());
}

void CpuTrainKernels::Zero(Matrix x) {
  auto zero = [&](int64_t row) { std::fill_n(x.Row(row), x.cols, 0.0f); };
  forward_.RunRows(x.rows, x.cols, zero);
}

void CpuTrainKernels::Copy(Matrix x, Matrix to) {
  auto copy = [&](int64_t row) { std::copy_n(x.Row(row), x.cols, to.Row(row)); };
  forward_.RunRows(x.rows, x.cols, copy);
}

void CpuTrainKernels::Add(Matrix x, Matrix sum) {
  auto add = [&](int64_t row) { row_.add(sum.Row(row), x.Row(row), x.cols, sum.Row(row)); };
  forward_.RunRows(x.rows, x.cols, add);
}

void CpuTrainKernels::EmbedBackward(std::span<const int32_t> ids, float scale, Matrix dout, const Weight& dtable) {
  if (!dtable.present()) return;
  const int64_t width = dout.cols, panel_floats = width * kPanel;
  auto add = [&](int64_t task, int) {  // by columns: an id that comes twice is added to in the order of rows
    const int64_t begin = task * kColumnBlock, end = std::min(width, begin + kColumnBlock);
    for (int64_t row = 0; row < dout.rows; ++row) {
      const int64_t id = ids[static_cast<size_t>(row)];
      const float* from = dout.Row(row);
      float* lane = dtable.buffer.Floats() + id / kPanel * panel_floats + id % kPanel;
      for (int64_t col = begin; col < end; ++col) lane[col * kPanel] += scale * from[col];
    }
  };
  forward_.Run((width + kColumnBlock - 1) / kColumnBlock, 8 * dout.rows * width, add);
}

double CpuTrainKernels::SumSquares(const Weight& gradient) {
  const int64_t count = ValueCount(gradient);
  partial_sums_.assign(static_cast<size_t>((count + kValuesPart - 1) / kValuesPart), 0.0);
  auto sum = [&](int64_t begin, int64_t values) {
    partial_sums_[static_cast<size_t>(begin / kValuesPart)] =
        train_.sum_squares(gradient.buffer.Floats() + begin, values);
  };
  RunValues(count, sum);
  double total = 0;
  for (const double part : partial_sums_) total += part;
  return total;
}

void CpuTrainKernels::Adam(const AdamStep& step, const Weight& gradient, const Weight& m, const Weight& v,
                           const Weight& weight) {
  auto update = [&](int64_t begin, int64_t values) {
    train_.adam(step, gradient.buffer.Floats() + begin, values, m.buffer.Floats() + begin, v.buffer.Floats() + begin,
                weight.buffer.Floats() + begin);
  };
  RunValues(ValueCount(weight), update);
}

void CpuTrainKernels::Average(const Weight& value, float share, const Weight& average) {
  auto update = [&](int64_t begin, int64_t values) {
    train_.average(value.buffer.Floats() + begin, values, share, average.buffer.Floats() + begin);
  };
  RunValues(ValueCount(average), update);
}

void CpuTrainKernels::Clear(const Weight& gradient) {
  auto clear = [&](int64_t begin, int64_t values) {
    std::memset(gradient.buffer.Floats() + begin, 0, static_cast<size_t>(values) * sizeof(float));
  };
  RunValues(ValueCount(gradient), clear);
}

}  // namespace dgemma
