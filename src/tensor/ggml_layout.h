// What decoding and encoding of block types share: the code table of IQ4_XS, and the twelve bytes that hold eight
// six-bit scales and eight six-bit minima in Q4_K and Q5_K. Used by ggml_blocks.cc and ggml_encode.cc only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dgemma {

/// What a four-bit code of IQ4_XS stands for.
inline constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};

/// Six-bit integers of the eight groups of a block.
struct ScalesAndMins {
  std::array<uint8_t, 8> scale{};
  std::array<uint8_t, 8> min{};
};

/// Groups 0..3: scale in the low six bits of byte g, minimum in those of byte 4 + g. Groups 4..7: low four bits of
/// scale and minimum in byte 8 + g - 4 (scale below), their upper two bits on top of bytes g - 4 and g.
inline ScalesAndMins UnpackSixBits(const std::byte* bytes) {
  const auto at = [bytes](size_t i) { return static_cast<uint32_t>(bytes[i]); };
  ScalesAndMins out;
  for (size_t g = 0; g < 4; ++g) {
    out.scale[g] = static_cast<uint8_t>(at(g) & 63u);
    out.min[g] = static_cast<uint8_t>(at(g + 4) & 63u);
    out.scale[g + 4] = static_cast<uint8_t>((at(g + 8) & 15u) | (at(g) >> 6) << 4);
    out.min[g + 4] = static_cast<uint8_t>(at(g + 8) >> 4 | (at(g + 4) >> 6) << 4);
  }
  return out;
}

/// The inverse.
inline void PackSixBits(const ScalesAndMins& in, std::byte* bytes) {
  for (size_t g = 0; g < 4; ++g) {
    const uint32_t scale = in.scale[g + 4], min = in.min[g + 4];
    bytes[g] = static_cast<std::byte>(in.scale[g] | (scale >> 4) << 6);
    bytes[g + 4] = static_cast<std::byte>(in.min[g] | (min >> 4) << 6);
    bytes[g + 8] = static_cast<std::byte>((scale & 15u) | (min & 15u) << 4);
  }
}

}  // namespace dgemma
