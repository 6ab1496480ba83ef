// The reference of train_kernels.h: scalar loops, float64 sums, no threads, written to be read. Weights and gradients
// are plain float32 rows [count, out, in], whatever their format. Only float32 rounding exists here. Values that are
// computed again come from RefKernels and are those of its float32 mode, activations rounded for packed weights
// included; the derivative of that rounding counts as 1 (straight-through), and the products of gradients with weights
// round nothing.
#pragma once

#include <memory>
#include <vector>

#include "kernels/ref/ref_kernels.h"
#include "kernels/train_kernels.h"

namespace dgemma {

/// Of `options` only norm_eps counts.
std::unique_ptr<TrainKernels> MakeRefTrainKernels(const RefOptions& options);

/// What one operation adds to a gradient of weights: summed over all rows in float64, added to the float32 values at
/// the end.
class GradientSum {
 public:
  explicit GradientSum(const Weight& gradient)
      : gradient_(gradient), sum_(static_cast<size_t>(gradient.count * gradient.out * gradient.in), 0.0) {}

  bool wanted() const { return gradient_.present(); }
  /// Row `out` of matrix `index`; only where wanted.
  double* Row(int64_t index, int64_t out) { return sum_.data() + (index * gradient_.out + out) * gradient_.in; }
  /// Adds what was summed to the gradient; once, at the end.
  void Store() const {
    for (size_t i = 0; i < sum_.size(); ++i) gradient_.buffer.Floats()[i] += static_cast<float>(sum_[i]);
  }

 private:
  const Weight& gradient_;
  std::vector<double> sum_;
};

/// The same of a weight and its deltas.
class WeightSum {
 public:
  explicit WeightSum(const Weight& gradient);

  void Store() const {
    for (const GradientSum* sum : {&base, &down, &up}) sum->Store();
  }

  GradientSum base, down, up;
};

class RefTrainKernels final : public TrainKernels {
 public:
  explicit RefTrainKernels(const RefOptions& options)
      : norm_eps_(options.norm_eps), forward_({.rounding = Rounding::kFloat32, .norm_eps = options.norm_eps}) {}

  Result<Weight> MakeGradient(const Weight& weight) override;
  void Unpack(const Weight& weight, int64_t index, int64_t row, std::span<float> out) const override;
  void Zero(Matrix x) override;
  void Copy(Matrix x, Matrix to) override;
  void Add(Matrix x, Matrix sum) override;
  void EmbedBackward(std::span<const int32_t> ids, float scale, Matrix dout, const Weight& dtable) override;
  void RmsNormBackward(Matrix x, const Weight& weight, Matrix dout, const Weight& dweight, Matrix dx) override;
  void LinearBackward(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix dout, const Weight& dw,
                      Matrix dx) override;
  void ProjectQkvBackward(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                          const Rotary& rotary, std::span<const KvTarget> dtarget, Matrix dq, const QkvWeights& dw,
                          Matrix da) override;
  void AttendBackward(std::span<const AttentionSpan> spans, std::span<const AttentionSpan> dspans,
                      const QkvShape& shape, Matrix q, Matrix out, Matrix dout, Matrix dq) override;
  void GatedMlpBackward(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix dout,
                        const MlpWeights& dw, Matrix dx) override;
  void RouteBackward(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, const Routes& routes,
                     std::span<const float> dweight, const RouterWeights& dw, Matrix dh) override;
  void ExpertsBackward(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
                       Matrix dout, const ExpertWeights& dw, std::span<float> droute, Matrix dx) override;
  void JoinBranchesBackward(Matrix dense, Matrix experts, const BranchNorms& norms, std::span<const float> scalar,
                            const BranchNorms& dnorms, Matrix dh, Matrix ddense, Matrix dexperts) override;
  void CrossEntropy(Matrix hidden, const Weight& table, float softcap, std::span<const int32_t> target,
                    std::span<const float> weight, std::span<LossRow> rows, Matrix dhidden,
                    const Weight& dtable) override;
  void SoftEmbedBackward(Matrix hidden, const Weight& table, float softcap, float scale, Matrix dsoft,
                         const Weight& dtable) override;
  double SumSquares(const Weight& gradient) override;
  void Adam(const AdamStep& step, const Weight& gradient, const Weight& m, const Weight& v,
            const Weight& weight) override;
  void Average(const Weight& value, float share, const Weight& average) override;
  void Clear(const Weight& gradient) override;

 private:
  /// One row of x w^T for matrix `index` of w, as the forward operation computes it.
  std::vector<double> Product(const std::vector<double>& x, RowRole role, const Weight& w, int64_t index) const;
  /// Gradient of x where out = RmsNorm(x, weight); dweight takes dout n. weight null = ones.
  std::vector<double> NormBackward(const std::vector<double>& x, const float* weight, const std::vector<double>& dout,
                                   GradientSum& dweight) const;

  float norm_eps_;
  RefKernels forward_;
};

}  // namespace dgemma
