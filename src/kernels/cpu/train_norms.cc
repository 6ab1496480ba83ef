// Gradients of norms on the CPU: of rows, of parts of rows, and of the join of branches.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/train_backend.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {

void CpuTrainKernels::NormGradients(Matrix x, int64_t heads, const Weight& weight, Matrix dout, Matrix dx, Start start,
                                    Matrix terms) {
  const int64_t size = x.cols / heads;
  auto gradient = [&](int64_t row) {
    for (int64_t first = 0; first < x.cols; first += size) {
      const float* values = x.Row(row) + first;
      const auto part = [&](Matrix wanted) { return wanted.data == nullptr ? nullptr : wanted.Row(row) + first; };
      train_.norm_gradient({values, weight.Vector(), dout.Row(row) + first, size, forward_.NormScale(values, size)},
                           part(dx), start, part(terms));
    }
  };
  forward_.RunRows(x.rows, 10 * x.cols, gradient);
}

void CpuTrainKernels::AddColumns(Matrix x, int64_t heads, const Weight& sum) {
  const int64_t size = x.cols / heads;
  auto add = [&](int64_t task, int) {
    const int64_t begin = task * kColumnBlock, count = std::min(kColumnBlock, size - begin);
    float* to = sum.buffer.Floats() + begin;
    for (int64_t row = 0; row < x.rows; ++row) {
      for (int64_t head = 0; head < heads; ++head) row_.add(to, x.Row(row) + head * size + begin, count, to);
    }
  };
  forward_.Run((size + kColumnBlock - 1) / kColumnBlock, x.rows * x.cols, add);
}

void CpuTrainKernels::RmsNormBackward(Matrix x, const Weight& weight, Matrix dout, const Weight& dweight, Matrix dx) {
  Matrix terms;
  if (dweight.present()) terms = MatrixRoom(memory_.Floats(MatrixFloats(x.rows, x.cols))).Take(x.rows, x.cols);
  NormGradients(x, 1, weight, dout, dx, Start::kAdd, terms);
  if (dweight.present()) AddColumns(terms, 1, dweight);
}

void CpuTrainKernels::JoinBranchesBackward(Matrix dense, Matrix experts, const BranchNorms& norms,
                                           std::span<const float> scalar, const BranchNorms& dnorms, Matrix dh,
                                           Matrix ddense, Matrix dexperts) {
  const int64_t width = dh.cols;
  MatrixRoom room(memory_.Floats(3 * MatrixFloats(dh.rows, width)));
  const Matrix joined = room.Take(dh.rows, width), djoined = room.Take(dh.rows, width),
               terms = room.Take(dh.rows, width);
  auto join = [&](int64_t row) {
    forward_.NormRow(dense.Row(row), width, norms.dense.Vector(), joined.Row(row));
    forward_.NormRow(experts.Row(row), width, norms.experts.Vector(), terms.Row(row));
    row_.add(joined.Row(row), terms.Row(row), width, joined.Row(row));
    row_.scale(dh.Row(row), width, scalar[static_cast<size_t>(row)], nullptr, dh.Row(row));
  };
  forward_.RunRows(dh.rows, 12 * width, join);
  const auto backward = [&](Matrix x, const Weight& weight, Matrix dout, const Weight& dweight, Matrix dx) {
    NormGradients(x, 1, weight, dout, dx, Start::kZero, dweight.present() ? terms : Matrix{});
    if (dweight.present()) AddColumns(terms, 1, dweight);
  };
  backward(joined, norms.joined, dh, dnorms.joined, djoined);
  backward(dense, norms.dense, djoined, dnorms.dense, ddense);
  backward(experts, norms.experts, djoined, dnorms.experts, dexperts);
}

}  // namespace dgemma
