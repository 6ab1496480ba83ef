// Figures as people read them.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string>

namespace dgemma {

/// "512 B", "6.7 MB", "52 GB": powers of 1000, two or three digits.
inline std::string BytesText(int64_t bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 || value >= 100 ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                   : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace dgemma
