// Whether numbers are numbers, for many at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace dgemma {

/// No value is NaN or infinite.
inline bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kMagnitude = 0x7FFF'FFFF, kInfinity = 0x7F80'0000;
  // Magnitudes are in the order of their bits; a maximum becomes vector code, an early end does not.
  uint32_t largest = 0;
  for (const float value : values) largest = std::max(largest, std::bit_cast<uint32_t>(value) & kMagnitude);
  return largest < kInfinity;
}

}  // namespace dgemma
