// float32 where Transformers has float32: exponent, frequency and angle. The powers and cosines themselves are taken in double.
#include "model/rotary.h"

#include <cmath>

namespace dgemma {

int64_t RotaryPairs(const RopeConfig& rope, int64_t head_size) {
  return static_cast<int64_t>(std::floor(rope.rotated_share * static_cast<double>(head_size) / 2.0));
}

RotaryTable MakeRotaryTable(const RopeConfig& rope, int64_t head_size, std::span<const int64_t> positions,
                            Rounding rounding) {
  RotaryTable table;
  table.pairs = RotaryPairs(rope, head_size);
  std::vector<float> frequency;
  for (int64_t i = 0; i < table.pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_size);
    const auto wavelength = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    frequency.push_back(1.0f / wavelength / static_cast<float>(rope.factor));
  }
  table.cos.reserve(positions.size() * frequency.size());
  table.sin.reserve(table.cos.capacity());
  for (int64_t position : positions) {
    for (float f : frequency) {
      const double angle = static_cast<double>(static_cast<float>(position) * f);
      table.cos.push_back(Round(rounding, static_cast<float>(std::cos(angle))));
      table.sin.push_back(Round(rounding, static_cast<float>(std::sin(angle))));
    }
  }
  return table;
}

}  // namespace dgemma
