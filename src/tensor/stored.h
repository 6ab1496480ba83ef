// Reading values out of stored tensors of any supported type, one row at a time. Loaders and packers use it; kernels do not.
#pragma once

#include "dgemma/status.h"
#include "tensor/matrix.h"

namespace dgemma {

/// True for the types a weight may be stored in: F32, F16, BF16.
bool IsWeightType(DType dtype);

/// Widens row `row` of matrix `index` to float32: out[0 .. tensor.cols). The tensor's type must satisfy IsWeightType.
void ReadRow(const StoredTensor& tensor, int64_t index, int64_t row, float* out);

}  // namespace dgemma
