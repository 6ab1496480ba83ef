// Gradients of rows in, rows out in the reference backend: embedding, norms, and the join of a layer's branches.
#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "kernels/host_memory.h"
#include "kernels/ref/train_row.h"

namespace dgemma {

std::unique_ptr<TrainKernels> MakeRefTrainKernels(const RefOptions& options) {
  return std::make_unique<RefTrainKernels>(options);
}

Result<Weight> RefTrainKernels::MakeGradient(const Weight& weight) {
  Weight gradient{weight.count, weight.out, weight.in, kFloat32Weights, {}};
  DG_TRY(gradient.buffer, AllocateHost(forward_.PackedBytes(kFloat32Weights, weight.count, weight.out, weight.in)));
  return gradient;
}

void RefTrainKernels::Unpack(const Weight& weight, int64_t index, int64_t row, std::span<float> out) const {
  std::copy_n(weight.Vector() + (index * weight.out + row) * weight.in, weight.in, out.begin());
}

void RefTrainKernels::Zero(Matrix x) {
  for (int64_t row = 0; row < x.rows; ++row) std::fill_n(x.Row(row), x.cols, 0.0f);
}

void RefTrainKernels::Copy(Matrix x, Matrix to) {
  for (int64_t row = 0; row < x.rows; ++row) std::copy_n(x.Row(row), x.cols, to.Row(row));
}

void RefTrainKernels::Add(Matrix x, Matrix sum) {
  for (int64_t row = 0; row < x.rows; ++row) {
    for (int64_t col = 0; col < x.cols; ++col) sum.Row(row)[col] += x.Row(row)[col];
  }
}

void RefTrainKernels::EmbedBackward(std::span<const int32_t> ids, float scale, Matrix dout, const Weight& dtable) {
  GradientSum sum(dtable);
  if (!sum.wanted()) return;
  for (int64_t row = 0; row < dout.rows; ++row) {
    double* embedding = sum.Row(0, ids[static_cast<size_t>(row)]);
    for (int64_t col = 0; col < dout.cols; ++col) {
      embedding[col] += static_cast<double>(scale) * static_cast<double>(dout.Row(row)[col]);
    }
  }
  sum.Store();
}

std::vector<double> RefTrainKernels::NormBackward(const std::vector<double>& x, const float* weight,
                                                  const std::vector<double>& dout, GradientSum& dweight) const {
  const auto size = static_cast<double>(x.size());
  double squares = 0;
  for (double value : x) squares += value * value;
  const double scale = 1 / std::sqrt(squares / size + static_cast<double>(norm_eps_));
  std::vector<double> normed(x.size()), g(x.size());
  double dot = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    normed[i] = x[i] * scale;
    g[i] = weight != nullptr ? dout[i] * static_cast<double>(weight[i]) : dout[i];
    if (dweight.wanted()) dweight.Row(0, 0)[i] += dout[i] * normed[i];
    dot += normed[i] * g[i];
  }
  std::vector<double> dx(x.size());
  for (size_t i = 0; i < x.size(); ++i) dx[i] = scale * (g[i] - normed[i] * dot / size);
  return dx;
}

void RefTrainKernels::RmsNormBackward(Matrix x, const Weight& weight, Matrix dout, const Weight& dweight, Matrix dx) {
  GradientSum sum(dweight);
  for (int64_t row = 0; row < x.rows; ++row) {
    std::vector<double> gradient = NormBackward(WidenedRow(x, row), weight.Vector(), WidenedRow(dout, row), sum);
    if (dx.data == nullptr) continue;
    AddRow(WidenedRow(dx, row), gradient);
    StoreRow(gradient, dx.Row(row));
  }
  sum.Store();
}

void RefTrainKernels::JoinBranchesBackward(Matrix dense, Matrix experts, const BranchNorms& norms,
                                           std::span<const float> scalar, const BranchNorms& dnorms, Matrix dh,
                                           Matrix ddense, Matrix dexperts) {
  GradientSum ddense_norm(dnorms.dense), dexperts_norm(dnorms.experts), djoined_norm(dnorms.joined);
  std::vector<float> m1(static_cast<size_t>(dh.cols)), m2(m1.size());
  const Matrix first{m1.data(), 1, dh.cols, dh.cols}, second{m2.data(), 1, dh.cols, dh.cols};
  for (int64_t row = 0; row < dh.rows; ++row) {
    forward_.RmsNorm(dense.Rows(row, 1), norms.dense, first);
    forward_.RmsNorm(experts.Rows(row, 1), norms.experts, second);
    std::vector<double> joined = WidenedRow(first, 0);
    AddRow(WidenedRow(second, 0), joined);
    std::vector<double> dresidual = WidenedRow(dh, row);
    for (double& value : dresidual) value *= static_cast<double>(scalar[static_cast<size_t>(row)]);
    StoreRow(dresidual, dh.Row(row));
    const std::vector<double> dsum = NormBackward(joined, norms.joined.Vector(), dresidual, djoined_norm);
    const std::vector<double> d1 = NormBackward(WidenedRow(dense, row), norms.dense.Vector(), dsum, ddense_norm);
    const std::vector<double> d2 = NormBackward(WidenedRow(experts, row), norms.experts.Vector(), dsum, dexperts_norm);
    if (ddense.data != nullptr) StoreRow(d1, ddense.Row(row));
    if (dexperts.data != nullptr) StoreRow(d2, dexperts.Row(row));
  }
  ddense_norm.Store();
  dexperts_norm.Store();
  djoined_norm.Store();
}

}  // namespace dgemma
