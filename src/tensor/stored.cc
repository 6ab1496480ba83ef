// Widening of stored rows. memcpy because a tensor in a file may lie at any alignment.
#include "tensor/stored.h"

#include <cstring>

#include "tensor/rounding.h"

namespace dgemma {

bool IsWeightType(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

void ReadRow(const StoredTensor& tensor, int64_t index, int64_t row, float* out) {
  const auto width = static_cast<int64_t>(BytesPerValue(tensor.dtype));
  const std::byte* source = tensor.bytes.data() + (index * tensor.rows + row) * tensor.cols * width;
  if (tensor.dtype == DType::kF32) {
    std::memcpy(out, source, static_cast<size_t>(tensor.cols) * sizeof(float));
    return;
  }
  for (int64_t col = 0; col < tensor.cols; ++col) {
    uint16_t bits = 0;
    std::memcpy(&bits, source + col * 2, sizeof(bits));
    out[col] = tensor.dtype == DType::kBF16 ? FromBf16(bits) : FromF16(bits);
  }
}

}  // namespace dgemma
