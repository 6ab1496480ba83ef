// Decoding. Every type unpacks into integer codes, scales and minima; floats and groups are made from these. Integers
// are little-endian, d and dmin are half precision, "nibbles" below are the low halves of n bytes, then their high
// halves:
//   Q8_0    d, i8 code[32]                                            w = d code
//   Q4_0    d, nibbles[16]                                            w = d (nibble - 8)
//   Q4_1    d, m, nibbles[16]                                         w = d nibble + m
//   Q5_0    d, u8 high[4], nibbles[16]                                w = d (code - 16), code = nibble + 16 (bit i of high)
//   Q5_1    d, m, u8 high[4], nibbles[16]                             w = d code + m
//   Q4_K    d, dmin, packed[12], 4 x nibbles[32]                      w = d scale nibble - dmin min, groups of 32
//   Q5_K    d, dmin, packed[12], u8 high[32], 4 x nibbles[32]         as Q4_K with nibble + 16 (bit g of high[i])
//   Q6_K    u8 low[128], u8 high[64], i8 scale[16], d                 w = d scale (code - 32), groups of 16
//   IQ4_XS  d, u16 scale_high, u8 scale_low[4], 8 x nibbles[16]       w = d (scale - 32) table[nibble], groups of 32
#include "tensor/ggml_blocks.h"

#include <array>
#include <cstring>

#include "tensor/ggml_layout.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// One block, unpacked. Groups of ValuesPerBlock / scales values share scale[g], min[g].
struct Block {
  std::array<int8_t, 256> code;
  std::array<float, 16> scale;
  std::array<float, 8> min;
};

uint8_t Byte(const std::byte* bytes, size_t i) { return static_cast<uint8_t>(bytes[i]); }

float HalfAt(const std::byte* bytes) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof(bits));
  return FromF16(bits);
}

/// `count` bytes give 2 * count codes: low halves, then high halves.
void UnpackNibbles(const std::byte* bytes, size_t count, int8_t* code) {
  for (size_t i = 0; i < count; ++i) {
    code[i] = static_cast<int8_t>(Byte(bytes, i) & 15);
    code[count + i] = static_cast<int8_t>(Byte(bytes, i) >> 4);
  }
}

void UnpackQ8_0(const std::byte* bytes, Block& block) {
  block.scale[0] = HalfAt(bytes);
  std::memcpy(block.code.data(), bytes + 2, 32);
}

void UnpackQ4_0(const std::byte* bytes, Block& block) {
  block.scale[0] = HalfAt(bytes);
  UnpackNibbles(bytes + 2, 16, block.code.data());
  for (size_t i = 0; i < 32; ++i) block.code[i] = static_cast<int8_t>(block.code[i] - 8);
}

/// d and m, common to Q4_1 and Q5_1. Adding m is subtracting a minimum of -m, to the bit.
void UnpackScaleAndMin(const std::byte* bytes, Block& block) {
  block.scale[0] = HalfAt(bytes);
  block.min[0] = -HalfAt(bytes + 2);
}

void UnpackQ4_1(const std::byte* bytes, Block& block) {
  UnpackScaleAndMin(bytes, block);
  UnpackNibbles(bytes + 4, 16, block.code.data());
}

/// The four bytes of fifth bits and the sixteen of nibbles, common to Q5_0 and Q5_1: codes 0..31 less `zero`.
void UnpackFiveBits(const std::byte* bytes, int zero, int8_t* code) {
  UnpackNibbles(bytes + 4, 16, code);
  for (size_t i = 0; i < 32; ++i) {
    const int bit = (Byte(bytes, i / 8) >> (i % 8)) & 1;
    code[i] = static_cast<int8_t>(code[i] + 16 * bit - zero);
  }
}

void UnpackQ5_0(const std::byte* bytes, Block& block) {
  block.scale[0] = HalfAt(bytes);
  UnpackFiveBits(bytes + 2, 16, block.code.data());
}

void UnpackQ5_1(const std::byte* bytes, Block& block) {
  UnpackScaleAndMin(bytes, block);
  UnpackFiveBits(bytes + 4, 0, block.code.data());
}

/// d, dmin and the twelve bytes of six-bit scales and minima, common to Q4_K and Q5_K.
void UnpackScalesAndMins(const std::byte* bytes, Block& block) {
  const float d = HalfAt(bytes), dmin = HalfAt(bytes + 2);
  const ScalesAndMins packed = UnpackSixBits(bytes + 4);
  for (size_t g = 0; g < 8; ++g) {
    block.scale[g] = d * static_cast<float>(packed.scale[g]);
    block.min[g] = dmin * static_cast<float>(packed.min[g]);
  }
}

void UnpackQ4K(const std::byte* bytes, Block& block) {
  UnpackScalesAndMins(bytes, block);
  for (size_t pair = 0; pair < 4; ++pair) UnpackNibbles(bytes + 16 + 32 * pair, 32, block.code.data() + 64 * pair);
}

void UnpackQ5K(const std::byte* bytes, Block& block) {
  UnpackScalesAndMins(bytes, block);
  const std::byte* high = bytes + 16;
  for (size_t pair = 0; pair < 4; ++pair) UnpackNibbles(bytes + 48 + 32 * pair, 32, block.code.data() + 64 * pair);
  for (size_t i = 0; i < 256; ++i) {
    const int bit = (Byte(high, i % 32) >> (i / 32)) & 1;
    block.code[i] = static_cast<int8_t>(block.code[i] + 16 * bit);
  }
}

void UnpackQ6K(const std::byte* bytes, Block& block) {
  const std::byte *low = bytes, *high = bytes + 128, *scale = bytes + 192;
  const float d = HalfAt(bytes + 208);
  for (size_t g = 0; g < 16; ++g) block.scale[g] = d * static_cast<float>(static_cast<int8_t>(Byte(scale, g)));
  for (size_t half = 0; half < 2; ++half) {
    int8_t* code = block.code.data() + 128 * half;
    UnpackNibbles(low + 64 * half, 64, code);
    for (size_t i = 0; i < 128; ++i) {
      const int top = (Byte(high, 32 * half + i % 32) >> (2 * (i / 32))) & 3;
      code[i] = static_cast<int8_t>(code[i] + 16 * top - 32);
    }
  }
}

void UnpackIq4Xs(const std::byte* bytes, Block& block) {
  const float d = HalfAt(bytes);
  const uint32_t scale_high = Byte(bytes, 2) | static_cast<uint32_t>(Byte(bytes, 3)) << 8;
  for (size_t g = 0; g < 8; ++g) {
    const uint32_t low = (Byte(bytes, 4 + g / 2) >> (4 * (g % 2))) & 15u;
    const uint32_t top = (scale_high >> (2 * g)) & 3u;
    block.scale[g] = d * static_cast<float>(static_cast<int32_t>(low | top << 4) - 32);
    UnpackNibbles(bytes + 8 + 16 * g, 16, block.code.data() + 32 * g);
  }
  for (int8_t& code : block.code) code = kIq4Values[static_cast<size_t>(code)];
}

void Unpack(DType dtype, const std::byte* bytes, Block& block) {
  switch (dtype) {
    case DType::kQ8_0:
      return UnpackQ8_0(bytes, block);
    case DType::kQ4_0:
      return UnpackQ4_0(bytes, block);
    case DType::kQ4_1:
      return UnpackQ4_1(bytes, block);
    case DType::kQ5_0:
      return UnpackQ5_0(bytes, block);
    case DType::kQ5_1:
      return UnpackQ5_1(bytes, block);
    case DType::kQ4K:
      return UnpackQ4K(bytes, block);
    case DType::kQ5K:
      return UnpackQ5K(bytes, block);
    case DType::kQ6K:
      return UnpackQ6K(bytes, block);
    default:
      return UnpackIq4Xs(bytes, block);
  }
}

}  // namespace

std::optional<WeightFormat> GroupsOf(DType dtype) {
  switch (dtype) {
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIq4Xs:
      return WeightFormat{WeightKind::kInt8, 32, false};
    case DType::kQ4_0:
      return WeightFormat{WeightKind::kInt4, 32, false};
    case DType::kQ4_1:
    case DType::kQ4K:
      return WeightFormat{WeightKind::kInt4, 32, true};
    case DType::kQ5_1:
    case DType::kQ5K:
      return WeightFormat{WeightKind::kInt8, 32, true};
    case DType::kQ6K:
      return WeightFormat{WeightKind::kInt8, 16, false};
    default:
      return std::nullopt;
  }
}

void DecodeBlocks(DType dtype, std::span<const std::byte> blocks, std::span<float> out) {
  const WeightFormat format = *GroupsOf(dtype);
  const auto values = static_cast<size_t>(ValuesPerBlock(dtype)), group = static_cast<size_t>(format.group);
  Block block;
  for (size_t begin = 0; begin < out.size(); begin += values) {
    Unpack(dtype, blocks.data() + begin / values * BytesPerBlock(dtype), block);
    for (size_t g = 0; g < values / group; ++g) {
      const float min = format.has_min ? block.min[g] : 0.0f;
      for (size_t i = g * group; i < (g + 1) * group; ++i) {
        const float product = block.scale[g] * static_cast<float>(block.code[i]);
        out[begin + i] = format.has_min ? product - min : product;
      }
    }
  }
}

void DecodeGroups(DType dtype, std::span<const std::byte> blocks, GroupedRow& out) {
  const WeightFormat format = *GroupsOf(dtype);
  const auto values = static_cast<size_t>(ValuesPerBlock(dtype));
  const size_t groups = values / static_cast<size_t>(format.group);
  const size_t count = blocks.size() / static_cast<size_t>(BytesPerBlock(dtype));
  out.code.resize(count * values);
  out.scale.resize(count * groups);
  out.min.resize(format.has_min ? count * groups : 0);
  Block block;
  for (size_t b = 0; b < count; ++b) {
    Unpack(dtype, blocks.data() + b * BytesPerBlock(dtype), block);
    std::memcpy(out.code.data() + b * values, block.code.data(), values);
    for (size_t g = 0; g < groups; ++g) {
      out.scale[b * groups + g] = RoundToF16(block.scale[g]);
      if (format.has_min) out.min[b * groups + g] = RoundToF16(block.min[g]);
    }
  }
}

}  // namespace dgemma
