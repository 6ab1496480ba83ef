// The vector loops of gradients, losses and the optimiser as a table of plain functions, chosen as those of simd.h.
// Operations on n values at any alignment; results are the same for every cut into calls unless a function returns a sum.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd.h"
#include "kernels/train_kernels.h"

namespace dgemma {

/// Keys [begin, end) of a run of `count` scores, a multiple of 16, that a row sees.
struct SeenKeys {
  int64_t begin;
  int64_t end;
  int64_t count;
};

/// What the softmax of a row became: exp(score - max) * inverse_sum is a probability.
struct SoftmaxScale {
  float max;
  float inverse_sum;
};

/// A row that was normed, and the gradient of what became of it.
struct NormedRow {
  const float* x;
  const float* weight;  ///< null = ones
  const float* dout;
  int64_t n;
  float scale;  ///< s = (mean(x^2) + eps)^-1/2
};

struct TrainRowOps {
  /// Sum of x * y * weight; weight null = ones.
  float (*sum_products)(const float* x, const float* y, const float* weight, int64_t n);
  /// The gradient of RmsNorm, see TrainKernels::RmsNormBackward; dx may alias dout. terms <- dout x s, what the gradient of the
  /// weight is the sum of; may alias x. Both null where not wanted.
  void (*norm_gradient)(const NormedRow& row, float* dx, Start start, float* terms);
  /// Of h = gelu(gate) * up times `factor`, with dh the gradient of h times factor: gate, up <- their gradients, dh <- h * factor.
  /// Returns the sum of h * dh before.
  float (*gated_gradient)(float* gate, float* up, float* dh, int64_t n, float factor);
  /// scores <- P = exp(score - max) * inverse_sum, dscores <- P (dscores - mean), both 0 for keys that the row does not see.
  void (*score_gradient)(float* scores, float* dscores, const SeenKeys& keys, SoftmaxScale scale, float mean);
  /// z <- exp(z - max) * inverse_sum * weight * (1 - (z / softcap)^2), in place.
  void (*logit_gradient)(float* z, int64_t n, SoftmaxScale scale, float weight, float softcap);
  /// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < cols.
  void (*transpose)(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to, int64_t to_stride);
  /// Sum of x^2 in float64.
  double (*sum_squares)(const float* x, int64_t n);
  /// See AdamStep.
  void (*adam)(const AdamStep& step, const float* gradient, int64_t n, float* m, float* v, float* weight);
  /// average += (value - average) * share
  void (*average)(const float* value, int64_t n, float share, float* average);
};

TrainRowOps ChooseTrainRowOps();

}  // namespace dgemma
