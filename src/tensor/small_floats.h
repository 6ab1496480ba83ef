// Floating-point numbers of four and eight bits as checkpoints store them, widened to float32 exactly. Nothing here
// rounds to them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace dgemma {

/// F8_E4M3 (finite kind: no infinity, all ones is NaN): sign, 4 exponent bits of bias 7, 3 mantissa bits; at most 448.
constexpr float FromF8E4M3(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24, exponent = (bits >> 3) & 0xFu,
                 mantissa = bits & 0x7u;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  return sign != 0 ? -magnitude : magnitude;
}

/// F8_E8M0: a power of two, 2^(bits - 127); 255 is NaN.
constexpr float FromF8E8M0(uint8_t bits) {
  if (bits == 255) return std::numeric_limits<float>::quiet_NaN();
  return bits == 0 ? 0x1p-127f : std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
}

/// Twice the value of an FP4 (E2M1) number, which is an integer: sign, then 0, 0.5, 1, 1.5, 2, 3, 4, 6 doubled.
inline constexpr std::array<int8_t, 16> kTwiceF4E2M1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace dgemma
