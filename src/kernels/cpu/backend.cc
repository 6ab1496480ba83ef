// Construction and memory of the CPU backend, and its operations on single rows.
#include "kernels/cpu/backend.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <string>

#include "base/checked.h"
#include "tensor/stored.h"

namespace dgemma {

std::unique_ptr<Kernels> MakeCpuKernels(const CpuOptions& options) { return std::make_unique<CpuKernels>(options); }

CpuKernels::CpuKernels(const CpuOptions& options)
    : options_(options),
      product_(ChooseProductOps()),
      grouped_(SupportedGroupedOps().front()),
      row_(ChooseRowOps()),
      pool_(options.threads) {}

std::string CpuKernels::Description() const {
  std::string target = product_.target;
  std::transform(target.begin(), target.end(), target.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const int threads = pool_.threads();
  return "cpu " + target + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

Result<Buffer> CpuKernels::Allocate(int64_t bytes) { return AllocateHost(bytes); }

int64_t CpuKernels::PackedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) const {
  return PackedWeightBytes(format, count, out, in);
}

Result<Weight> CpuKernels::Pack(const StoredTensor& tensor, const WeightFormat& format) {
  Weight weight{tensor.count, tensor.rows, tensor.cols, format, {}};
  const int64_t bytes = PackedWeightBytes(format, tensor.count, tensor.rows, tensor.cols);
  if (tensor.packed() && tensor.panels.format == format) {  // read where it lies; nothing writes to packed weights
    auto* data = const_cast<std::byte*>(tensor.panels.bytes.data());
    weight.buffer = {{std::const_pointer_cast<void>(tensor.panels.owner), data}, bytes};
    return weight;
  }
  DG_TRY(weight.buffer, Allocate(bytes));
  DG_CHECK_OK(PackPanels(tensor, weight, pool_));
  return weight;
}

Result<Weight> CpuKernels::PackVector(const StoredTensor& tensor) {
  Weight weight{tensor.count, tensor.rows, tensor.cols, kFloat32Weights, {}};
  DG_TRY(weight.buffer, Allocate(tensor.count * tensor.rows * tensor.cols * static_cast<int64_t>(sizeof(float))));
  for (int64_t row = 0; row < tensor.count * tensor.rows; ++row) {
    ReadRow(tensor, row / tensor.rows, row % tensor.rows, weight.buffer.Floats() + row * tensor.cols);
  }
  return weight;
}

void CpuKernels::Upload(std::span<const float> source, Matrix target) { CopyRows(source.data(), target); }

void CpuKernels::Download(Matrix source, std::span<float> target) { CopyRows(source, target.data()); }

void CpuKernels::Copy(Matrix source, Matrix target) { CopyRows(source, target); }

void CpuKernels::Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) {
  const PackedMatrix matrix(table, 0);
  auto embed = [&](int64_t row) { ReadPackedRow(matrix, ids[static_cast<size_t>(row)], scale, out.Row(row)); };
  RunRows(out.rows, 8 * out.cols, embed);
}

float CpuKernels::NormScale(const float* x, int64_t size) const {
  const float mean = row_.sum_squares(x, size) / static_cast<float>(size) + options_.norm_eps;
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(mean)));
}

void CpuKernels::NormRow(const float* x, int64_t size, const float* weight, float* out) const {
  row_.scale(x, size, NormScale(x, size), weight, out);
}

void CpuKernels::RmsNorm(Matrix x, const Weight& weight, Matrix out) {
  auto norm = [&](int64_t row) { NormRow(x.Row(row), x.cols, weight.Vector(), out.Row(row)); };
  RunRows(x.rows, 4 * x.cols, norm);
}

void CpuKernels::AddRmsNorm(Matrix x, Matrix sum) {
  auto norm = [&](int64_t row) {
    row_.add(sum.Row(row), x.Row(row), x.cols, sum.Row(row));
    NormRow(sum.Row(row), x.cols, nullptr, sum.Row(row));
  };
  RunRows(x.rows, 5 * x.cols, norm);
}

void CpuKernels::NormAdd(Matrix y, const Weight& weight, Matrix residual) {
  auto norm = [&](int64_t row) {
    row_.add_scaled(y.Row(row), y.cols, NormScale(y.Row(row), y.cols), weight.Vector(), 1, residual.Row(row));
  };
  RunRows(y.rows, 6 * y.cols, norm);
}

void CpuKernels::JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                              Matrix h) {
  const int64_t width = h.cols;
  float* joined_rows = gathered_.Floats(h.rows * PaddedStride(width));
  auto join = [&](int64_t row) {
    float* joined = joined_rows + row * PaddedStride(width);
    NormRow(dense.Row(row), width, norms.dense.Vector(), joined);
    row_.add_scaled(experts.Row(row), width, NormScale(experts.Row(row), width), norms.experts.Vector(), 1, joined);
    row_.add_scaled(joined, width, NormScale(joined, width), norms.joined.Vector(), scalar[static_cast<size_t>(row)],
                    h.Row(row));
  };
  RunRows(h.rows, 16 * width, join);
}

}  // namespace dgemma
