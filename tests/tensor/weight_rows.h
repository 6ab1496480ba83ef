// Rows of weights of every kind that an encoder may meet: ordinary, constant, tiny, huge, subnormal, on ties. The same bits with every compiler
// and library, so that hashes of what is made from them can be recorded.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace dgemma {

inline constexpr int kWeightRowKinds = 16;

/// `cols` finite values of one kind.
inline std::vector<float> WeightRow(int kind, size_t cols) {
  std::mt19937 bits(static_cast<uint32_t>(kind) + 1);
  const auto below = [&bits](uint32_t bound) { return static_cast<int32_t>(bits() % bound); };
  const auto uniform = [&] { return static_cast<float>(below(1 << 24) - (1 << 23)) * 0x1p-23f; };
  const auto bell = [&] {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += uniform();
    return sum * 0.02f;
  };
  const auto from_bits = [](int32_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value)); };
  const float constant = bell();
  std::vector<float> row(cols);
  for (size_t i = 0; i < cols; ++i) {
    const float value = bell(), sign = below(2) == 0 ? 1.0f : -1.0f;
    switch (kind) {
      case 0:
        row[i] = value;
        break;
      case 1:
        row[i] = constant;
        break;
      case 2:
        row[i] = sign * constant;
        break;
      case 3:
        row[i] = std::abs(value) + 0.5f;
        break;
      case 4:
        row[i] = -std::abs(value) - 0.01f;
        break;
      case 5:  // outliers
        row[i] = value * (below(37) == 0 ? 40.0f : 1.0f);
        break;
      case 6:  // mostly zeros of both signs
        row[i] = below(5) == 0 ? value : sign * 0.0f;
        break;
      case 7:  // subnormal
        row[i] = sign * from_bits(below(4000));
        break;
      case 8:  // a few units of the smallest number
        row[i] = sign * from_bits(below(40));
        break;
      case 9:  // around the smallest normal number
        row[i] = sign * from_bits(0x00800000 + below(0x02000000));
        break;
      case 10:  // scales that are subnormal in half precision
        row[i] = uniform() * (i % 64 < 32 ? 2e-4f : 2e-6f);
        break;
      case 11:  // scales at the end of half precision
        row[i] = uniform() * 400'000.0f;
        break;
      case 12:  // ties
        row[i] = static_cast<float>(below(31) - 15) * 0.5f;
        break;
      case 13:
        row[i] = static_cast<float>(below(256) - 128);
        break;
      case 14:  // exponents far apart
        row[i] = uniform();
        row[i] = std::ldexp(row[i], below(60) - 50);
        break;
      default:  // any bits of numbers up to 32768
        row[i] = sign * from_bits(below(0x47000000));
        break;
    }
  }
  return row;
}

}  // namespace dgemma
