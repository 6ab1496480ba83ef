// Arithmetic on sizes that come from outside: every product, sum and narrowing either fits or is a Status.
// Sizes are uint64_t on the way in (as files state them) and int64_t once they are known to be sane.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "base/try.h"

namespace dgemma {

/// a * b, or kInvalidArgument when it does not fit 64 bits.
inline Result<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) return Fail(StatusCode::kInvalidArgument, "size overflows 64 bits");
  return out;
}

/// a + b, or kInvalidArgument when it does not fit 64 bits.
inline Result<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t out = 0;
  if (__builtin_add_overflow(a, b, &out)) return Fail(StatusCode::kInvalidArgument, "size overflows 64 bits");
  return out;
}

/// Product of all factors; the empty product is 1.
inline Result<uint64_t> CheckedProduct(std::span<const uint64_t> factors) {
  uint64_t out = 1;
  for (uint64_t factor : factors) {
    DG_TRY(out, CheckedMul(out, factor));
  }
  return out;
}

/// value as another integer type, or kInvalidArgument when it does not fit. The only narrowing conversion for outside data.
template <typename To, typename From>
Result<To> CheckedCast(From value) {
  if (!std::in_range<To>(value)) return Fail(StatusCode::kInvalidArgument, "number out of range");
  return static_cast<To>(value);
}

}  // namespace dgemma
