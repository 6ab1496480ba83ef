// Encoding into blocks. A group's scale (and minimum) comes from a least-squares fit over a few candidate codings
// (tensor/fit.h); the types with 256 values then round these to the integers the block has room for, and choose the nearest codes again.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "base/try.h"
#include "tensor/fit.h"
#include "tensor/ggml_blocks.h"
#include "tensor/ggml_layout.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// The nearest of these integers.
int32_t Nearest(CodeRange codes, float value) {
  return static_cast<int32_t>(
      std::nearbyint(std::clamp(value, static_cast<float>(codes.lowest), static_cast<float>(codes.highest))));
}

/// value / scale, and 0 where the scale is 0.
float Ratio(float value, float scale) { return scale == 0 ? 0.0f : value / scale; }

void StoreHalf(float value, std::byte* bytes) {
  const uint16_t bits = ToF16(value);
  std::memcpy(bytes, &bits, sizeof(bits));
}

Result<void> RequireHalf(float scale) {
  if (std::isfinite(RoundToF16(scale))) return {};
  return Fail(StatusCode::kInvalidFile, "holds values too large for this type (scales are half precision)");
}

/// With its sign, of two that are alike the positive one. Not as a loop that keeps the value itself: Clang 19 at -O3 forgets the first of 16 values there.
float LargestMagnitude(std::span<const float> values) {
  const auto [low, high] = std::ranges::minmax(values);
  return -low > high ? low : high;
}

/// `count` low halves and `count` high halves into `count` bytes.
void PackNibbles(const int8_t* code, size_t count, std::byte* bytes) {
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((code[i] & 15) | (code[count + i] & 15) << 4);
}

/// As the reference encoder: scale from the largest magnitude, halves away from zero.
Result<void> EncodeQ8_0(std::span<const float> row, std::byte* bytes) {
  const float d = std::abs(LargestMagnitude(row)) / 127;
  DG_CHECK_OK(RequireHalf(d));
  const float inverse = d == 0 ? 0.0f : 1 / d;
  StoreHalf(d, bytes);
  for (size_t i = 0; i < row.size(); ++i) {
    bytes[2 + i] =
        static_cast<std::byte>(static_cast<int8_t>(std::round(std::clamp(row[i] * inverse, -127.0f, 127.0f))));
  }
  return {};
}

Result<void> EncodeQ4_0(std::span<const float> row, std::byte* bytes) {
  constexpr CodeRange kCodes{-8, 7};
  const float d = FitScale(row, kCodes);
  DG_CHECK_OK(RequireHalf(d));
  StoreHalf(d, bytes);
  std::array<int8_t, 32> code{};
  NearestCodes(row, {RoundToF16(d), 0}, kCodes, code.data());
  for (int8_t& c : code) c = static_cast<int8_t>(c + 8);
  PackNibbles(code.data(), 16, bytes + 2);
  return {};
}

/// Q4_K (`highest` 15) and Q5_K (31) up to the codes: writes d, dmin and the packed integers, returns the codes.
Result<std::array<int8_t, 256>> EncodeWithMins(std::span<const float> row, int32_t highest, std::byte* bytes) {
  std::array<ScaleAndMin, 8> fit;
  float largest_scale = 0, largest_min = 0;
  for (size_t g = 0; g < 8; ++g) {
    fit[g] = FitScaleAndMin(row.subspan(32 * g).first<32>(), highest);
    largest_scale = std::max(largest_scale, fit[g].scale);
    largest_min = std::max(largest_min, fit[g].min);
  }
  constexpr CodeRange kSixBits{0, 63};
  DG_CHECK_OK(RequireHalf(largest_scale / 63));
  DG_CHECK_OK(RequireHalf(largest_min / 63));
  const float d = RoundToF16(largest_scale / 63), dmin = RoundToF16(largest_min / 63);
  StoreHalf(d, bytes);
  StoreHalf(dmin, bytes + 2);
  ScalesAndMins packed;
  std::array<int8_t, 256> code{};
  for (size_t g = 0; g < 8; ++g) {
    packed.scale[g] = static_cast<uint8_t>(Nearest(kSixBits, Ratio(fit[g].scale, d)));
    packed.min[g] = static_cast<uint8_t>(Nearest(kSixBits, Ratio(fit[g].min, dmin)));
    const ScaleAndMin kept{d * static_cast<float>(packed.scale[g]), dmin * static_cast<float>(packed.min[g])};
    NearestCodes(row.subspan(32 * g, 32), kept, {0, highest}, code.data() + 32 * g);
  }
  PackSixBits(packed, bytes + 4);
  return code;
}

Result<void> EncodeQ4K(std::span<const float> row, std::byte* bytes) {
  DG_TRY(const auto code, EncodeWithMins(row, 15, bytes));
  for (size_t pair = 0; pair < 4; ++pair) PackNibbles(code.data() + 64 * pair, 32, bytes + 16 + 32 * pair);
  return {};
}

Result<void> EncodeQ5K(std::span<const float> row, std::byte* bytes) {
  DG_TRY(const auto code, EncodeWithMins(row, 31, bytes));
  for (size_t i = 0; i < 32; ++i) {
    int32_t high = 0;
    for (size_t g = 0; g < 8; ++g) high |= (code[32 * g + i] >> 4) << g;
    bytes[16 + i] = static_cast<std::byte>(high);
  }
  for (size_t pair = 0; pair < 4; ++pair) PackNibbles(code.data() + 64 * pair, 32, bytes + 48 + 32 * pair);
  return {};
}

/// Scales of equal groups as integers times d; the one of largest magnitude becomes integers.lowest.
struct IntegerScales {
  float d = 0;
  std::array<int32_t, 16> scale{};
};

Result<IntegerScales> RoundScales(std::span<const float> scales, CodeRange integers) {
  IntegerScales out;
  out.d = LargestMagnitude(scales) / static_cast<float>(integers.lowest);
  DG_CHECK_OK(RequireHalf(out.d));
  out.d = RoundToF16(out.d);
  for (size_t g = 0; g < scales.size(); ++g) out.scale[g] = Nearest(integers, Ratio(scales[g], out.d));
  return out;
}

Result<void> EncodeQ6K(std::span<const float> row, std::byte* bytes) {
  constexpr CodeRange kCodes{-32, 31};
  std::array<float, 16> fit{};
  for (size_t g = 0; g < 16; ++g) fit[g] = FitScale(row.subspan(16 * g, 16), kCodes);
  DG_TRY(const IntegerScales scales, RoundScales(fit, {-128, 127}));
  std::array<int8_t, 256> code{};
  for (size_t g = 0; g < 16; ++g) {
    const ScaleAndMin kept{scales.d * static_cast<float>(scales.scale[g]), 0};
    NearestCodes(row.subspan(16 * g, 16), kept, kCodes, code.data() + 16 * g);
  }
  for (int8_t& c : code) c = static_cast<int8_t>(c + 32);
  for (size_t half = 0; half < 2; ++half) {
    const int8_t* from = code.data() + 128 * half;
    PackNibbles(from, 64, bytes + 64 * half);
    for (size_t i = 0; i < 32; ++i) {
      int32_t high = 0;
      for (size_t part = 0; part < 4; ++part) high |= (from[32 * part + i] >> 4) << (2 * part);
      bytes[128 + 32 * half + i] = static_cast<std::byte>(high);
    }
  }
  for (size_t g = 0; g < 16; ++g) bytes[192 + g] = static_cast<std::byte>(static_cast<int8_t>(scales.scale[g]));
  StoreHalf(scales.d, bytes + 208);
  return {};
}

Result<void> EncodeIq4Xs(std::span<const float> row, std::byte* bytes) {
  std::array<float, 8> fit{};
  for (size_t g = 0; g < 8; ++g) fit[g] = FitIq4Scale(row.subspan(32 * g).first<32>());
  DG_TRY(const IntegerScales scales, RoundScales(fit, {-32, 31}));
  StoreHalf(scales.d, bytes);
  uint32_t high = 0;
  std::array<uint32_t, 4> low{};
  for (size_t g = 0; g < 8; ++g) {
    const auto stored = static_cast<uint32_t>(scales.scale[g] + 32);
    low[g / 2] |= (stored & 15u) << (4 * (g % 2));
    high |= (stored >> 4) << (2 * g);
    std::array<int8_t, 32> code{};
    NearestIq4Codes(row.subspan(32 * g, 32), scales.d * static_cast<float>(scales.scale[g]), code.data());
    PackNibbles(code.data(), 16, bytes + 8 + 16 * g);
  }
  bytes[2] = static_cast<std::byte>(high & 255u);
  bytes[3] = static_cast<std::byte>(high >> 8);
  for (size_t i = 0; i < 4; ++i) bytes[4 + i] = static_cast<std::byte>(low[i]);
  return {};
}

Result<void> EncodeBlock(DType dtype, std::span<const float> row, std::byte* bytes) {
  switch (dtype) {
    case DType::kQ8_0:
      return EncodeQ8_0(row, bytes);
    case DType::kQ4_0:
      return EncodeQ4_0(row, bytes);
    case DType::kQ4K:
      return EncodeQ4K(row, bytes);
    case DType::kQ5K:
      return EncodeQ5K(row, bytes);
    case DType::kQ6K:
      return EncodeQ6K(row, bytes);
    case DType::kIq4Xs:
      return EncodeIq4Xs(row, bytes);
    default:
      return Fail(StatusCode::kUnsupported, "type " + std::string(Name(dtype)) + " is only read, not written");
  }
}

}  // namespace

Result<void> EncodeBlocks(DType dtype, std::span<const float> row, std::span<std::byte> blocks) {
  for (const float value : row) {
    if (!std::isfinite(value)) return Fail(StatusCode::kInvalidFile, "holds NaN or infinity, which no block can hold");
  }
  const auto values = static_cast<size_t>(ValuesPerBlock(dtype)), bytes = static_cast<size_t>(BytesPerBlock(dtype));
  for (size_t b = 0; b < row.size() / values; ++b) {
    DG_CHECK_OK(EncodeBlock(dtype, row.subspan(b * values, values), blocks.data() + b * bytes));
  }
  return {};
}

}  // namespace dgemma
