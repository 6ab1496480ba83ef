// Memory, packing, norms, linear layers and the dense feed-forward of the reference backend.
#include <cstring>
#include <new>

#include "base/checked.h"
#include "kernels/gelu.h"
#include "kernels/host_memory.h"
#include "kernels/ref/ref_kernels.h"
#include "tensor/stored.h"

namespace dgemma {

std::unique_ptr<Kernels> MakeRefKernels(const RefOptions& options) { return std::make_unique<RefKernels>(options); }

std::string RefKernels::Description() const {
  return options_.rounding == Rounding::kBfloat16 ? "ref bfloat16" : "ref float32";
}

Result<Buffer> RefKernels::Allocate(int64_t bytes) { return AllocateHost(bytes); }

int64_t RefKernels::PackedBytes(const WeightFormat&, int64_t count, int64_t out, int64_t in) const {
  return count * out * in * static_cast<int64_t>(sizeof(float));
}

Result<Weight> RefKernels::Pack(const StoredTensor& tensor, const WeightFormat& format) {
  Weight weight{tensor.count, tensor.rows, tensor.cols, format, {}};
  DG_TRY(weight.buffer, Allocate(PackedBytes(format, tensor.count, tensor.rows, tensor.cols)));
  GroupedRow grouped;
  for (int64_t index = 0; index < tensor.count; ++index) {
    for (int64_t row = 0; row < tensor.rows; ++row) {
      float* out = weight.buffer.Floats() + (index * tensor.rows + row) * tensor.cols;
      if (format.grouped()) {
        DG_CHECK_OK(ReadGroupedRow(tensor, index, row, format, {}, grouped));
        DequantizeRow(grouped, format, {out, static_cast<size_t>(tensor.cols)});
      } else {
        ReadRow(tensor, index, row, out);
      }
    }
  }
  return weight;
}

Result<Weight> RefKernels::PackVector(const StoredTensor& tensor) { return Pack(tensor, kFloat32Weights); }

void RefKernels::Upload(std::span<const float> source, Matrix target) { CopyRows(source.data(), target); }

void RefKernels::Download(Matrix source, std::span<float> target) { CopyRows(source, target.data()); }

void RefKernels::Copy(Matrix source, Matrix target) { CopyRows(source, target); }

void RefKernels::Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) {
  for (int64_t row = 0; row < out.rows; ++row) {
    const float* source = table.Vector() + ids[static_cast<size_t>(row)] * table.in;
    for (int64_t col = 0; col < out.cols; ++col) out.Row(row)[col] = Rounded(static_cast<double>(source[col] * scale));
  }
}

void RefKernels::NormRow(const float* x, int64_t size, const float* weight, float* out) const {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float mean = static_cast<float>(sum / static_cast<double>(size)) + options_.norm_eps;
  const float scale = static_cast<float>(std::pow(static_cast<double>(mean), -0.5));
  for (int64_t i = 0; i < size; ++i) {
    const float normed = x[i] * scale;
    out[i] = Rounded(static_cast<double>(weight ? normed * weight[i] : normed));
  }
}

void RefKernels::RmsNorm(Matrix x, const Weight& weight, Matrix out) {
  for (int64_t row = 0; row < x.rows; ++row) NormRow(x.Row(row), x.cols, weight.Vector(), out.Row(row));
}

void RefKernels::LinearRow(const float* x, RowRole role, const Weight& w, int64_t index, float* out) const {
  std::vector<double> u;
  if (w.low_rank != nullptr) u = DeltaRow(x, role, *w.low_rank, index);
  std::vector<float> rounded;
  if (w.format.grouped()) {  // products with groups see activations as int8
    std::vector<int8_t> code(static_cast<size_t>(w.in));
    const float scale = QuantizeActivations({x, code.size()}, code);
    for (const int8_t value : code) rounded.push_back(scale * static_cast<float>(value));
    x = rounded.data();
  } else if (w.format.kind == WeightKind::kBf16) {
    for (int64_t i = 0; i < w.in; ++i) rounded.push_back(Round(Rounding::kBfloat16, x[i]));
    x = rounded.data();
  }
  for (int64_t o = 0; o < w.out; ++o) {
    const float* weights = w.Vector() + (index * w.out + o) * w.in;
    double sum = 0;
    for (int64_t i = 0; i < w.in; ++i) sum += static_cast<double>(x[i]) * weights[i];
    if (w.low_rank != nullptr) {
      const float* up = w.low_rank->up.Vector() + (index * w.out + o) * w.low_rank->rank();
      for (size_t c = 0; c < u.size(); ++c) sum += u[c] * static_cast<double>(up[c]);
    }
    out[o] = Rounded(sum);
  }
}

void RefKernels::Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) {
  for (int64_t row = 0; row < x.rows; ++row) LinearRow(x.Row(row), RoleOf(roles, row), w, 0, out.Row(row));
}

void RefKernels::AddRmsNorm(Matrix x, Matrix sum) {
  for (int64_t row = 0; row < x.rows; ++row) {
    float* total = sum.Row(row);
    for (int64_t col = 0; col < x.cols; ++col) total[col] = Rounded(static_cast<double>(total[col] + x.Row(row)[col]));
    NormRow(total, x.cols, nullptr, total);
  }
}

void RefKernels::NormAdd(Matrix y, const Weight& weight, Matrix residual) {
  std::vector<float> normed(static_cast<size_t>(y.cols));
  for (int64_t row = 0; row < y.rows; ++row) {
    NormRow(y.Row(row), y.cols, weight.Vector(), normed.data());
    float* h = residual.Row(row);
    for (int64_t col = 0; col < y.cols; ++col)
      h[col] = Rounded(static_cast<double>(h[col] + normed[static_cast<size_t>(col)]));
  }
}

void RefKernels::GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) {
  std::vector<float> gate(static_cast<size_t>(w.gate.out)), up(gate.size());
  for (int64_t row = 0; row < x.rows; ++row) {
    const RowRole role = RoleOf(roles, row);
    LinearRow(x.Row(row), role, w.gate, 0, gate.data());
    LinearRow(x.Row(row), role, w.up, 0, up.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      gate[i] = Rounded(static_cast<double>(Rounded(GeluTanh(static_cast<double>(gate[i]))) * up[i]));
    }
    LinearRow(gate.data(), role, w.down, 0, out.Row(row));
  }
}

void RefKernels::JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                              Matrix h) {
  const auto width = static_cast<size_t>(h.cols);
  std::vector<float> m1(width), m2(width);
  for (int64_t row = 0; row < h.rows; ++row) {
    NormRow(dense.Row(row), h.cols, norms.dense.Vector(), m1.data());
    NormRow(experts.Row(row), h.cols, norms.experts.Vector(), m2.data());
    for (size_t i = 0; i < width; ++i) m1[i] = Rounded(static_cast<double>(m1[i] + m2[i]));
    NormRow(m1.data(), h.cols, norms.joined.Vector(), m1.data());
    float* residual = h.Row(row);
    for (size_t i = 0; i < width; ++i) {
      const float sum = Rounded(static_cast<double>(residual[i] + m1[i]));
      residual[i] = Rounded(static_cast<double>(sum * scalar[static_cast<size_t>(row)]));
    }
  }
}

}  // namespace dgemma
