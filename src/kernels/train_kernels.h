// The second seam: gradients of the operations of kernels.h, the losses, and the optimiser's step. Implemented in ref/ (scalar, the
// specification) and cpu/. The order of operations lives in train/backward.cc; what an operation computes forward, in kernels.h.
//
// Letters as in kernels.h. dX is the derivative of the loss by X. A gradient of weights is a Weight of the same shape in the same
// packed layout as the weights themselves, in float32, and is always added to; where it is absent (not present()) the weights are
// frozen and nothing is written. Frozen weights may have any format; weights that are trained are float32.
// Deltas (Weight::low_rank): with u = scale . mask . (x down^T) and du = scale . mask . (dout up), of y = x W^T + u up^T:
//   dup += dout^T u,   ddown += du^T x,   dx = dout W + du down.
// The gradients of a weight's up and down are those of its gradient's low_rank, of which nothing else counts; each of W, up and down
// may be frozen on its own. They are float32 weights like others: MakeGradient(weight.low_rank->up) makes one.
// Gradients of rows are overwritten unless "added to" is said; a Matrix without data is not wanted.
// Results do not depend on the number of threads: sums over rows run in ascending order.
#pragma once

#include <span>

#include "kernels/kernels.h"

namespace dgemma {

/// What a cross-entropy found out about one row.
struct LossRow {
  float loss = 0;        ///< -log p(target), nats, not weighted; 0 where the row has no target
  bool correct = false;  ///< the target is the most likely id (lowest among equal ones)
  bool finite = true;    ///< false when any logit was NaN or infinite
};

/// One step of AdamW on values that share its settings (decoupled decay, as torch.optim.AdamW):
///   m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2, w = w (1 - rate decay) - rate (m / c1) / (sqrt(v / c2) + eps)
/// with g = grad * grad_scale and c1 = 1 - b1^t, c2 = 1 - b2^t given by the caller.
struct AdamStep {
  float rate = 0;
  float decay = 0;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float correction1 = 1;  ///< 1 - beta1^t
  float correction2 = 1;  ///< 1 - beta2^t
  float grad_scale = 1;   ///< of clipping and of accumulation
};

class TrainKernels {
 public:
  virtual ~TrainKernels() = default;

  /// Zeroed gradients (or moments) for weights: same shape and layout, float32. kResourceExhausted when there is no memory.
  virtual Result<Weight> MakeGradient(const Weight& weight) = 0;
  /// Row `row` of matrix `index` of a packed weight or gradient as plain values [in]; exact.
  virtual void Unpack(const Weight& weight, int64_t index, int64_t row, std::span<float> out) const = 0;
  /// x = 0, all rows.
  virtual void Zero(Matrix x) = 0;
  /// to = x; [R, D] both.
  virtual void Copy(Matrix x, Matrix to) = 0;
  /// sum += x; [R, D] both.
  virtual void Add(Matrix x, Matrix sum) = 0;

  // ---- gradients of operations, in the order of kernels.h -----------------------------------------------------------------

  /// dtable[ids[r]] += scale dout[r]. dout [R, D].
  virtual void EmbedBackward(std::span<const int32_t> ids, float scale, Matrix dout, const Weight& dtable) = 0;

  /// Of out = RmsNorm(x, weight). With s = (mean(x^2) + eps)^-1/2 and n = x s:
  ///   dweight += sum_r dout n,   dx += s (g - n mean(g n)), g = dout weight.
  /// x, dout, dx [R, D]; dx is added to and must not alias dout. weight absent = ones.
  virtual void RmsNormBackward(Matrix x, const Weight& weight, Matrix dout, const Weight& dweight, Matrix dx) = 0;

  /// Of out = x w^T: dw += dout^T x, dx = dout w. x, dx [R, in], dout [R, out].
  virtual void LinearBackward(Matrix x, std::span<const RowRole> roles, const Weight& w, Matrix dout, const Weight& dw,
                              Matrix dx) = 0;

  /// Of ProjectQkv. dq [R, H*Q] is overwritten with scratch; dtarget[r] is where Attend's gradients of row r's K and V lie, in
  /// stores laid out as the forward ones. Raw projections are computed again from `a`. da [R, D].
  /// On layers without v the gradient of V is added to that of the raw K.
  virtual void ProjectQkvBackward(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                                  const Rotary& rotary, std::span<const KvTarget> dtarget, Matrix dq,
                                  const QkvWeights& dw, Matrix da) = 0;

  /// Of Attend. dspans[i] has the stores that take the gradients of spans[i]'s keys and values (fields `cache` and `local`; added
  /// to); everything else is as in spans[i]. With P the probabilities, d_r = dout[r] . out[r]:
  ///   dV[j] += P[r,j] dout[r],  dS[r,j] = P[r,j] (dout[r] . V[j] - d_r),  dq[r] = sum_j dS K[j],  dK[j] += dS q[r].
  /// q, out, dout, dq [R, H*Q].
  virtual void AttendBackward(std::span<const AttentionSpan> spans, std::span<const AttentionSpan> dspans,
                              const QkvShape& shape, Matrix q, Matrix out, Matrix dout, Matrix dq) = 0;

  /// Of GatedMlp; hidden values are computed again from x. x, dout, dx [R, D].
  virtual void GatedMlpBackward(Matrix x, std::span<const RowRole> roles, const MlpWeights& w, Matrix dout,
                                const MlpWeights& dw, Matrix dx) = 0;

  /// Of the weights that Route chose (the choice itself has no gradient): dweight [R, A] in the order of routes. h, dh [R, D]; dh is
  /// added to.
  virtual void RouteBackward(Matrix h, std::span<const RowRole> roles, const RouterWeights& w, const Routes& routes,
                             std::span<const float> dweight, const RouterWeights& dw, Matrix dh) = 0;

  /// Of Experts; hidden values are computed again from x. Fills droute [R, A] with the gradients of the routes' weights. x, dout, dx
  /// [R, D].
  virtual void ExpertsBackward(Matrix x, std::span<const RowRole> roles, const ExpertWeights& w, const Routes& routes,
                               Matrix dout, const ExpertWeights& dw, std::span<float> droute, Matrix dx) = 0;

  /// Of JoinBranches, h' = (h + N(N1(dense) + N2(experts))) scalar: dh comes in as dh' and is overwritten with dh. All [R, D].
  virtual void JoinBranchesBackward(Matrix dense, Matrix experts, const BranchNorms& norms,
                                    std::span<const float> scalar, const BranchNorms& dnorms, Matrix dh, Matrix ddense,
                                    Matrix dexperts) = 0;

  // ---- vocabulary -------------------------------------------------------------------------------------------------------

  /// Cross-entropy of the softcapped logits z = softcap tanh(hidden E^T / softcap) against target[r] (-1: none), in tiles of the
  /// vocabulary: R x V is never stored outside ref. Fills rows[r]; with dz = (softmax(z) - onehot) weight[r] (1 - (z / softcap)^2):
  ///   dhidden = dz E,  dtable += dz^T hidden.
  /// Rows without a target are not looked at: loss 0, not correct, finite, and zeros in dhidden.
  /// hidden, dhidden [R, D], table [V, D]. dhidden without data and dtable absent: losses only.
  virtual void CrossEntropy(Matrix hidden, const Weight& table, float softcap, std::span<const int32_t> target,
                            std::span<const float> weight, std::span<LossRow> rows, Matrix dhidden,
                            const Weight& dtable) = 0;

  /// Of soft[r] = scale softmax(z[r]) E by the table alone, the probabilities being constants (z as in CrossEntropy, from the hidden
  /// states of the pass that gave them): dtable += scale softmax(z)^T dsoft. hidden, dsoft [R, D].
  virtual void SoftEmbedBackward(Matrix hidden, const Weight& table, float softcap, float scale, Matrix dsoft,
                                 const Weight& dtable) = 0;

  // ---- optimiser --------------------------------------------------------------------------------------------------------

  /// Sum of squares in float64, in a fixed order; NaN and infinity show in it.
  virtual double SumSquares(const Weight& gradient) = 0;
  /// AdamW on all values of `weight`; m and v are of MakeGradient. The gradient is left as it is.
  virtual void Adam(const AdamStep& step, const Weight& gradient, const Weight& m, const Weight& v,
                    const Weight& weight) = 0;
  /// average += (value - average) share, elementwise: an exponential moving average of weights.
  virtual void Average(const Weight& value, float share, const Weight& average) = 0;
  /// All values 0.
  virtual void Clear(const Weight& gradient) = 0;
};

}  // namespace dgemma
