// Conversions between float32 and the 16-bit formats, and the rounding mode of the reference backend.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace dgemma {

/// bfloat16 bits -> float32, exact.
inline float FromBf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// float32 -> bfloat16 bits, round to nearest, ties to even; NaN stays NaN (quiet).
inline uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

/// IEEE half bits -> float32, exact, subnormals included.
inline float FromF16(uint16_t bits) {
  const uint32_t sign = (static_cast<uint32_t>(bits) & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1Fu;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/// float32 -> IEEE half bits, round to nearest, ties to even; subnormals included, beyond the range infinity, NaN stays NaN.
inline uint16_t ToF16(float value) {
  const auto sign = static_cast<uint32_t>(std::bit_cast<uint32_t>(value) >> 16) & 0x8000u;
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x1p-14f)
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(magnitude * 0x1p24f)));
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude) - (112u << 23);
  return static_cast<uint16_t>(sign | ((bits + 0xFFF + ((bits >> 13) & 1)) >> 13));
}

/// FromF16(ToF16(value)) in a few operations that work on vectors alike.
inline float RoundToF16(float value) {
  const float magnitude = std::abs(value);
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const float normal = std::bit_cast<float>((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFFu);
  const float subnormal = (magnitude + 0.75f) - 0.75f;  // float32 from 0.5 to 1 is as fine as subnormal halves
  const float finite = magnitude < 0x1p-14f ? subnormal : normal;
  const float rounded = magnitude < 65520.0f ? finite : magnitude + std::numeric_limits<float>::infinity();
  return std::copysign(rounded, value);
}

/// What a stored activation is rounded to. kBfloat16 rounds exactly where Transformers does for a bfloat16 model.
enum class Rounding : uint8_t { kFloat32, kBfloat16 };

/// value rounded to the mode's precision, as a float32.
inline float Round(Rounding rounding, float value) {
  return rounding == Rounding::kBfloat16 ? FromBf16(ToBf16(value)) : value;
}

}  // namespace dgemma
