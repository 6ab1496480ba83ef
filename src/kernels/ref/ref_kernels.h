// The reference backend: scalar loops, float64 sums, no threads, written to be read. It is the specification of kernels.h, and in
// its bfloat16 mode it rounds exactly where Transformers (eager attention, eager experts) rounds for a bfloat16 model.
#pragma once

#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/low_rank.h"
#include "tensor/rounding.h"

namespace dgemma {

struct RefOptions {
  Rounding rounding = Rounding::kFloat32;
  float norm_eps = 1e-6f;
};

std::unique_ptr<Kernels> MakeRefKernels(const RefOptions& options);

/// u [rank] = scale . mask . (x down^T) of one row and one matrix of a weight that has deltas.
template <typename Value>
std::vector<double> DeltaRow(const Value* x, RowRole role, const LowRank& delta, int64_t index) {
  std::vector<double> u(static_cast<size_t>(delta.rank()));
  const ColumnRange masked = MaskedColumns(delta, role);
  for (int64_t c = 0; c < delta.rank(); ++c) {
    if (c >= masked.begin && c < masked.end) continue;
    const float* down = delta.down.Vector() + (index * delta.rank() + c) * delta.down.in;
    double sum = 0;
    for (int64_t i = 0; i < delta.down.in; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(down[i]);
    u[static_cast<size_t>(c)] = static_cast<double>(delta.scale[static_cast<size_t>(c)]) * sum;
  }
  return u;
}

/// Weights are plain float32 rows here: [count, out, in].
class RefKernels final : public Kernels {
 public:
  explicit RefKernels(const RefOptions& options) : options_(options) {}

  std::string Description() const override;
  Rounding rounding() const override { return options_.rounding; }
  Result<Buffer> Allocate(int64_t bytes) override;
  Result<Weight> Pack(const StoredTensor& tensor, const WeightFormat& format) override;
  Result<Weight> PackVector(const StoredTensor& tensor) override;
  int64_t PackedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) const override;
  void Upload(std::span<const float> source, Matrix target) override;
  void Download(Matrix source, std::span<float> target) override;
  void Copy(Matrix source, Matrix target) override;
  void Embed(std::span<const int32_t> ids, const Weight& table, float scale, Matrix out) override;
  void RmsNorm(Matrix x, const Weight& weight, Matrix out) override;
  void Linear(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix out) override;
  void AddRmsNorm(Matrix x, Matrix sum) override;
  void NormAdd(Matrix y, const Weight& weight, Matrix residual) override;
  void ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                  const Rotary& rotary, std::span<const KvTarget> target, Matrix q) override;
  void Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) override;
  void GatedMlp(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix out) override;
  void Route(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, int64_t active, Routes& routes) override;
  void Experts(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
               Matrix out) override;
  void JoinBranches(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                    Matrix h) override;
  std::unique_ptr<HeadScratch> MakeHeadScratch() override;
  void Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
               std::span<HeadRow> rows, Matrix soft) override;
  void Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
              std::span<int32_t> ids) override;
  void Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) override;
  void SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) override;

  /// bf(x . w^T) for one row and one matrix of w, deltas included.
  void LinearRow(const float* x, RowRole role, const Weight& w, int64_t index, float* out) const;

 private:
  float Rounded(double value) const { return Round(options_.rounding, static_cast<float>(value)); }
  /// bf(x * (mean(x^2) + eps)^-1/2 * weight); weight null = ones; may alias.
  void NormRow(const float* x, int64_t size, const float* weight, float* out) const;
  /// In-place rotation of one head.
  void RotateHead(const Rotary& rotary, int64_t row, int64_t head_size, float* x) const;
  void LogitsRow(const float* hidden, const Weight& table, float softcap, float* out) const;
  void SoftEmbedRow(const float* logits, const Weight& table, float scale, float* soft) const;

  RefOptions options_;
};

}  // namespace dgemma
