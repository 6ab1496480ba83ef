// The CPU backend's gradients: the class behind train_kernels.h, the two products they are made of, and the memory kept between calls.
// train_products.cc, train_norms.cc, train_attention.cc, train_experts.cc and train_head.cc hold the operations, train_rows.cc the
// vector code.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/cpu/train_simd.h"
#include "kernels/low_rank.h"

namespace dgemma {

/// dx (+)= dout w, for all rows. Weights of any format, as float32.
struct BackwardJob {
  Matrix dout;
  PackedMatrix w;
  Matrix dx;
  Start start = Start::kZero;
};

/// Rows as panels of 16 columns, [cols / 16][rows][16], the last one zero padded: the right side of a product over rows.
struct RowPanels {
  float* data = nullptr;
  int64_t rows = 0;  ///< of every panel in memory
  int64_t cols = 0;
};

/// dw += dout^T x over rows [row, row + rows), into packed float32 panels.
struct GradientJob {
  Matrix columns;  ///< x transposed, [in, all rows]
  RowPanels dout;
  int64_t row = 0;
  int64_t rows = 0;
  float* dw = nullptr;  ///< [out / 16][in][16]
};

/// One weight y = x w^T of a backward operation, deltas included.
struct BackwardProduct {
  BackwardProduct(const Weight& weight, const Weight& gradient, Matrix gradient_of_y)
      : w(weight), dw(gradient), dout(gradient_of_y) {}

  const LowRank* delta() const { return w.low_rank.get(); }
  bool trains_down() const { return delta() != nullptr && dw.low_rank != nullptr && dw.low_rank->down.present(); }
  bool trains_up() const { return delta() != nullptr && dw.low_rank != nullptr && dw.low_rank->up.present(); }

  const Weight& w;
  const Weight& dw;
  Matrix dout;
  Matrix u;   ///< [rows, rank] as FindDeltas gives it for x; needed where `up` is trained
  Matrix du;  ///< [rows, rank] of FindDeltaGradients
};

/// Which rows of an operation have which role and meet which matrix of its weights.
struct BackwardRows {
  std::span<const RowRole> roles;
  std::span<const RowPart> parts;
};

/// What the first sweep over the vocabulary finds out about a row.
struct SoftmaxSum {
  float max = 0;
  float target = 0;  ///< the logit of its target
  int32_t argmax = 0;
  bool finite = true;
  double sum = 0;  ///< of exp(z - max)

  SoftmaxScale Scale() const;
};

class CpuTrainKernels final : public TrainKernels {
 public:
  explicit CpuTrainKernels(CpuKernels& forward);

  /// Bytes of the buffers that this backend keeps now.
  int64_t ScratchBytes() const {
    return memory_.bytes() + columns_.bytes() + panels_.bytes() + codes_.bytes() + deltas_.bytes() + threads_.bytes();
  }

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
  /// body(begin, count) for parts of `count` values.
  template <typename Body>
  void RunValues(int64_t count, Body& body) {
    auto run = [&](int64_t part, int) { body(part * kValuesPart, std::min(kValuesPart, count - part * kValuesPart)); };
    forward_.Run((count + kValuesPart - 1) / kValuesPart, count, run);
  }

  /// x transposed, in columns_: valid until the next call.
  Matrix Columns(Matrix x);
  /// x in panels, in panels_: valid until the next call.
  RowPanels Panels(Matrix x);
  void RunBackward(std::span<const BackwardJob> jobs);
  void RunGradients(std::span<const GradientJob> jobs);
  /// dw += dout^T x, part by part. `columns`: x transposed.
  void AddGradient(Matrix columns, std::span<const RowPart> parts, Matrix dout, const Weight& dw);
  /// Room for u and du of these weights; Take them in any order.
  MatrixRoom DeltaRoom(int64_t rows, std::initializer_list<const Weight*> weights);
  /// du = scale . mask . (dout up) of every product that has deltas, from `room`.
  void FindDeltaGradients(const BackwardRows& rows, std::span<BackwardProduct> products, MatrixRoom& room);
  /// Of all weights that are trained; x [rows, in] is what every product read.
  void AddGradients(Matrix x, std::span<const RowPart> parts, std::span<const BackwardProduct> products);
  /// dx = sum of dout w over the products, which read the same rows.
  void FindInputGradient(std::span<const RowPart> parts, std::span<const BackwardProduct> products, Matrix dx);

  /// The gradient of RmsNorm over each of `heads` parts of every row, see TrainRowOps::norm_gradient; weight absent = ones. `terms` gets
  /// what AddColumns adds up to the gradient of the weight, and may alias x; dx may alias dout.
  void NormGradients(Matrix x, int64_t heads, const Weight& weight, Matrix dout, Matrix dx, Start start, Matrix terms);
  /// sum[i] += every x[row, head, i], in the order of rows, then heads.
  void AddColumns(Matrix x, int64_t heads, const Weight& sum);

  struct AttentionTask {
    size_t group;  // of spans that share a store
    int64_t kv_head;
  };
  /// Which spans one thread visits in turn because their gradients meet in a store.
  void GroupSpans(std::span<const AttentionSpan> dspans);

  /// The first sweep over the vocabulary: fills softmax_. `logits` [R, kSweepIds] is room for a step; `target` may be empty.
  void SumLogits(const ProductInput& hidden, const PackedMatrix& table, float softcap, std::span<const int32_t> target,
                 Matrix logits);
  /// Raw logits of ids [id, id + logits.cols).
  void SomeLogits(const ProductInput& hidden, const PackedMatrix& table, int64_t id, Matrix logits);

  /// Values that one task of an elementwise loop takes, and that one partial sum of SumSquares has.
  static constexpr int64_t kValuesPart = 1 << 16;

  CpuKernels& forward_;
  const RowOps& row_;
  TrainRowOps train_;
  GrowingBuffer memory_;   // values computed again and gradients inside of one operation
  GrowingBuffer columns_;  // of Columns
  GrowingBuffer panels_;   // of Panels
  GrowingBuffer codes_;    // activations rounded or quantised, as the forward operations need them
  GrowingBuffer deltas_;   // of DeltaRoom
  GrowingBuffer threads_;  // scratch of each thread
  std::vector<ProductTask> tasks_;
  std::vector<BackwardJob> backward_jobs_;
  std::vector<GradientJob> gradient_jobs_;
  std::vector<LinearJob> linear_jobs_;
  std::vector<AttentionTask> attention_tasks_;
  std::vector<size_t> span_group_;
  std::vector<SoftmaxSum> softmax_;
  std::vector<int64_t> target_rows_;  // rows of a CrossEntropy that have a target
  std::vector<int32_t> targets_;      // theirs
  std::vector<double> partial_sums_;
  ExpertGroups groups_;
};

}  // namespace dgemma
