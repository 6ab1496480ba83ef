// See panels.h.
#include "tensor/panels.h"

#include <algorithm>
#include <cstring>

#include "tensor/rounding.h"

namespace dgemma {
namespace {

constexpr int64_t kScaleAlignment = 64;

/// Place of input `k` (of a row) among a panel's codes, and whether it is the high half of that byte.
struct CodePlace {
  int64_t byte;
  bool high;
};

CodePlace PlaceOf(const WeightFormat& format, int64_t k, int64_t lane) {
  const int64_t group = k / format.group, quad = k % format.group / 4, i = k % 4;
  if (format.kind == WeightKind::kInt8)
    return {((group * format.group / 4 + quad) * kPanelLanes + lane) * 4 + i, false};
  const int64_t half = format.group / 8;
  return {((group * half + quad % half) * kPanelLanes + lane) * 4 + i, quad >= half};
}

void StoreHalf(std::byte* to, float value) {
  const uint16_t bits = ToF16(value);
  std::memcpy(to, &bits, sizeof(bits));
}

float LoadHalf(const std::byte* from) {
  uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  return FromF16(bits);
}

}  // namespace

int64_t PanelScaleBytes(const WeightFormat& format, int64_t in) {
  const int64_t bytes = GroupCount(format, in) * kPanelLanes * 2 * (format.has_min ? 2 : 1);
  return (bytes + kScaleAlignment - 1) / kScaleAlignment * kScaleAlignment;
}

int64_t PanelCodeBytes(const WeightFormat& format, int64_t in) {
  const int64_t codes = GroupCount(format, in) * format.group * kPanelLanes;
  return format.kind == WeightKind::kInt8 ? codes : codes / 2;
}

int64_t GroupedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) {
  return count * ((out + kPanelLanes - 1) / kPanelLanes) * PanelBytes(format, in);
}

void ClearPanel(const WeightFormat& format, int64_t in, std::span<std::byte> panel) {
  const auto scales = static_cast<size_t>(PanelScaleBytes(format, in));
  const int32_t zero = StoredOffset(format);
  std::fill_n(panel.begin(), scales, std::byte{0});
  std::fill(panel.begin() + static_cast<std::ptrdiff_t>(scales), panel.end(),
            static_cast<std::byte>(format.kind == WeightKind::kInt8 ? zero : zero * 17));
}

void StoreRow(const GroupedRow& row, const WeightFormat& format, int64_t in, int64_t lane, std::span<std::byte> panel) {
  const int64_t groups = GroupCount(format, in);
  for (int64_t group = 0; group < groups; ++group) {
    const auto g = static_cast<size_t>(group);
    StoreHalf(panel.data() + (group * kPanelLanes + lane) * 2, row.scale[g]);
    if (format.has_min) StoreHalf(panel.data() + ((groups + group) * kPanelLanes + lane) * 2, row.min[g]);
  }
  std::byte* codes = panel.data() + PanelScaleBytes(format, in);
  for (int64_t k = 0; k < in; ++k) {
    const CodePlace place = PlaceOf(format, k, lane);
    const auto stored = static_cast<std::byte>(row.code[static_cast<size_t>(k)] + StoredOffset(format));
    std::byte& byte = codes[place.byte];
    if (format.kind == WeightKind::kInt8)
      byte = stored;
    else
      byte = place.high ? (byte & std::byte{0x0F}) | (stored << 4) : (byte & std::byte{0xF0}) | stored;
  }
}

void LoadRow(std::span<const std::byte> panel, const WeightFormat& format, int64_t in, int64_t lane, GroupedRow& row) {
  const int64_t groups = GroupCount(format, in);
  row.scale.resize(static_cast<size_t>(groups));
  row.min.resize(format.has_min ? row.scale.size() : 0);
  row.code.resize(static_cast<size_t>(in));
  for (int64_t group = 0; group < groups; ++group) {
    const auto g = static_cast<size_t>(group);
    row.scale[g] = LoadHalf(panel.data() + (group * kPanelLanes + lane) * 2);
    if (format.has_min) row.min[g] = LoadHalf(panel.data() + ((groups + group) * kPanelLanes + lane) * 2);
  }
  const std::byte* codes = panel.data() + PanelScaleBytes(format, in);
  for (int64_t k = 0; k < in; ++k) {
    const CodePlace place = PlaceOf(format, k, lane);
    std::byte stored = codes[place.byte];
    if (format.kind == WeightKind::kInt4) stored = place.high ? stored >> 4 : stored & std::byte{0x0F};
    row.code[static_cast<size_t>(k)] = static_cast<int8_t>(std::to_integer<int32_t>(stored) - StoredOffset(format));
  }
}

}  // namespace dgemma
