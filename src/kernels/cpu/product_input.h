// The left side of the CPU backend's products.
#pragma once

#include "kernels/cpu/grouped.h"
#include "tensor/matrix.h"

namespace dgemma {

/// Rows that enter a product: as they are, or as codes where the weights are grouped.
struct ProductInput {
  Matrix rows;
  QuantizedRows codes;

  int64_t Count() const { return rows.rows; }
  ProductInput Rows(int64_t begin, int64_t count) const {
    return {rows.Rows(begin, count), codes.code == nullptr ? QuantizedRows{} : codes.Rows(begin, count)};
  }
};

}  // namespace dgemma
