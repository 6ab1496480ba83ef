// One row in float64 between two steps of a backward operation of the reference.
#pragma once

#include <vector>

#include "kernels/ref/ref_train_kernels.h"

namespace dgemma {

/// For values that have no weights.
inline const Weight kNoGradient;

/// `size` floats as a row.
inline std::vector<double> Widened(const float* values, int64_t size) { return {values, values + size}; }
inline std::vector<double> WidenedRow(Matrix x, int64_t row) { return Widened(x.Row(row), x.cols); }

/// out = values, rounded to float32.
inline void StoreRow(const std::vector<double>& values, float* out) {
  for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<float>(values[i]);
}
/// sum += values.
inline void AddRow(const std::vector<double>& values, std::vector<double>& sum) {
  for (size_t i = 0; i < values.size(); ++i) sum[i] += values[i];
}

/// One row of out = x w^T, which has this role, with matrix `index` of w: adds to the gradients of w and of its deltas where
/// they are wanted; returns that of x.
std::vector<double> ProductBackward(const std::vector<double>& x, RowRole role, const Weight& w, int64_t index,
                                    const std::vector<double>& dout, WeightSum& dw);

/// One row of hidden = gelu(gate) up: `hidden` again, and the gradients of both from dhidden.
struct GatedRow {
  GatedRow(const std::vector<double>& gate, const std::vector<double>& up);
  /// dgate and dup.
  void Backward(const std::vector<double>& gate, const std::vector<double>& up, const std::vector<double>& dhidden);

  std::vector<double> hidden, dgate, dup;
};

}  // namespace dgemma
