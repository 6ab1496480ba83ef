// See scaled_rows.h. memcpy because a tensor in a file may lie at any alignment.
#include "tensor/scaled_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/rounding.h"
#include "tensor/small_floats.h"

namespace dgemma {
namespace {

constexpr int32_t kZeroCode = 8;  // what INT4 codes and zero points are stored with, so that they are not negative

constexpr std::array<float, 256> MakeF8Table() {
  std::array<float, 256> table{};
  for (size_t bits = 0; bits < table.size(); ++bits) table[bits] = FromF8E4M3(static_cast<uint8_t>(bits));
  return table;
}
constexpr std::array<float, 256> kF8E4M3 = MakeF8Table();

uint8_t Byte(std::span<const std::byte> bytes, int64_t place) {
  return std::to_integer<uint8_t>(bytes[static_cast<size_t>(place)]);
}

/// Four bits, the low half of a byte first.
int32_t Nibble(std::span<const std::byte> bytes, int64_t place) {
  return Byte(bytes, place / 2) >> (4 * (place % 2)) & 0xF;
}

template <typename T>
T Load(std::span<const std::byte> bytes, int64_t place) {
  T value{};
  std::memcpy(&value, bytes.data() + static_cast<size_t>(place) * sizeof(T), sizeof(T));
  return value;
}

float LoadScale(DType dtype, std::span<const std::byte> bytes, int64_t place) {
  switch (dtype) {
    case DType::kF16:
      return FromF16(Load<uint16_t>(bytes, place));
    case DType::kBF16:
      return FromBf16(Load<uint16_t>(bytes, place));
    case DType::kF8E8M0:
      return FromF8E8M0(Byte(bytes, place));
    case DType::kF8E4M3:
      return kF8E4M3[Byte(bytes, place)];
    default:
      return Load<float>(bytes, place);
  }
}

/// Scale `block` of a row.
float ScaleOf(const CodeScales& scales, int64_t row, int64_t block) {
  const float scale = LoadScale(scales.dtype, scales.scales, row / scales.block_rows * scales.grid_cols + block);
  return scale * scales.factor / scales.divisor;
}

/// The zero point of a row's group as it is stored: between 0 and 15, 8 where the file has none.
int32_t StoredZero(const CodeScales& scales, int64_t row, int64_t block) {
  if (scales.zero_points.empty()) return kZeroCode;
  return Nibble(scales.zero_points, (row / 8 * scales.grid_cols + block) * 8 + row % 8);
}

}  // namespace

const char* Name(CodeKind kind) {
  switch (kind) {
    case CodeKind::kFp8:
      return "FP8";
    case CodeKind::kInt4:
      return "INT4";
    case CodeKind::kNvfp4:
      return "NVFP4";
    case CodeKind::kNone:
      break;
  }
  return "plain";
}

int64_t CodeBytes(CodeKind kind, int64_t cols) {
  if (kind == CodeKind::kInt4) return (cols + 7) / 8 * 4;
  return kind == CodeKind::kNvfp4 ? (cols + 1) / 2 : cols;
}

std::optional<WeightFormat> GroupsOf(const CodeScales& scales) {
  if (scales.kind == CodeKind::kNvfp4) return WeightFormat{WeightKind::kInt8, 16, false};
  if (scales.kind != CodeKind::kInt4) return std::nullopt;
  for (const int32_t group : {64, 32, 16}) {
    if (scales.grid_cols == 1 || scales.block_cols % group == 0) {
      return WeightFormat{WeightKind::kInt4, group, !scales.zero_points.empty()};
    }
  }
  return std::nullopt;
}

void DecodeScaledRow(const CodeScales& scales, std::span<const std::byte> codes, int64_t row, std::span<float> out) {
  for (int64_t block = 0; block < scales.grid_cols; ++block) {
    const float scale = ScaleOf(scales, row, block);
    const int32_t zero = StoredZero(scales, row, block);
    const int64_t end = std::min((block + 1) * scales.block_cols, std::ssize(out));
    for (int64_t col = block * scales.block_cols; col < end; ++col) {
      float code = 0;
      if (scales.kind == CodeKind::kFp8) {
        code = kF8E4M3[Byte(codes, col)];
      } else if (scales.kind == CodeKind::kInt4) {
        code = static_cast<float>(Nibble(codes, col) - zero);
      } else {
        code = 0.5f * static_cast<float>(kTwiceF4E2M1[static_cast<size_t>(Nibble(codes, col))]);
      }
      out[static_cast<size_t>(col)] = scale * code;
    }
  }
}

void DecodeScaledGroups(const CodeScales& scales, std::span<const std::byte> codes, int64_t row, int64_t cols,
                        GroupedRow& out) {
  const WeightFormat format = *GroupsOf(scales);
  const int64_t groups = GroupCount(format, cols);
  const bool fp4 = scales.kind == CodeKind::kNvfp4;
  out.code.resize(static_cast<size_t>(cols));
  out.scale.resize(static_cast<size_t>(groups));
  out.min.resize(format.has_min ? static_cast<size_t>(groups) : 0);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t block = group * format.group / scales.block_cols;
    const auto place = static_cast<size_t>(group);
    out.scale[place] = RoundToF16(ScaleOf(scales, row, block) * (fp4 ? 0.5f : 1.0f));
    if (format.has_min)
      out.min[place] = RoundToF16(out.scale[place] * static_cast<float>(StoredZero(scales, row, block)));
  }
  const int32_t offset = format.has_min ? 0 : kZeroCode;
  for (int64_t col = 0; col < cols; ++col) {
    const int32_t nibble = Nibble(codes, col);
    out.code[static_cast<size_t>(col)] =
        fp4 ? kTwiceF4E2M1[static_cast<size_t>(nibble)] : static_cast<int8_t>(nibble - offset);
  }
}

Result<void> CheckRowScales(const CodeScales& scales, int64_t row) {
  for (int64_t block = 0; block < scales.grid_cols; ++block) {
    if (std::isfinite(ScaleOf(scales, row, block))) continue;
    return Fail(StatusCode::kInvalidFile,
                fmt::format("scale {} of row {}: is NaN or infinite (scales are finite numbers)", block, row));
  }
  return {};
}

}  // namespace dgemma
