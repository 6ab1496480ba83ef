// See panels.h.
#include "tensor/panels.h"

#include <algorithm>
#include <cstring>

#include "tensor/rounding.h"

namespace dgemma {
namespace {

constexpr int64_t kScaleAlignment = 64;

/// Up to four inputs of a row, which lie side by side among a panel's codes.
struct Quad {
  size_t input;  ///< the first
  size_t count;
  size_t byte;  ///< of the first
  bool high;    ///< in the high halves of these bytes
};

/// Calls visit(quad) for all inputs of a row, in their order.
template <typename Visit>
void ForEachQuad(const WeightFormat& format, int64_t in, int64_t lane, const Visit& visit) {
  const auto quads = static_cast<size_t>(format.group) / 4,
             stored = format.kind == WeightKind::kInt8 ? quads : quads / 2;
  const auto inputs = static_cast<size_t>(in), lanes = static_cast<size_t>(kPanelLanes);
  size_t input = 0;
  for (size_t begin = 0; input < inputs; begin += stored) {
    for (size_t quad = 0; quad < quads && input < inputs; ++quad, input += 4) {
      const bool high = quad >= stored;
      const size_t place = begin + (high ? quad - stored : quad);
      visit(Quad{input, std::min<size_t>(4, inputs - input), (place * lanes + static_cast<size_t>(lane)) * 4, high});
    }
  }
}

/// Where the steps and bases of a group lie in a stepped panel.
int64_t Steps(int64_t group) { return kStepsBegin + group * kStepBytes; }
int64_t Bases(int64_t group) { return Steps(group) + kPanelLanes; }

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
  int64_t bytes = ScaleCount(format, in) * kPanelLanes * 2 * (format.has_min ? 2 : 1);
  if (format.stepped()) bytes += GroupCount(format, in) * kStepBytes;
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
  if (!format.stepped()) return;
  for (int64_t group = 0; group < GroupCount(format, in); ++group)
    std::fill_n(panel.begin() + Bases(group), kPanelLanes, std::byte{128});
}

void StoreRow(const GroupedRow& row, const WeightFormat& format, int64_t in, int64_t lane, std::span<std::byte> panel) {
  const int64_t scales = ScaleCount(format, in);
  for (int64_t group = 0; group < scales; ++group) {
    const auto g = static_cast<size_t>(group);
    StoreHalf(panel.data() + (group * kPanelLanes + lane) * 2, row.scale[g]);
    if (format.has_min) StoreHalf(panel.data() + ((scales + group) * kPanelLanes + lane) * 2, row.min[g]);
  }
  for (size_t g = 0; g < row.step.size(); ++g) {
    panel[static_cast<size_t>(Steps(static_cast<int64_t>(g)) + lane)] = static_cast<std::byte>(row.step[g] - 1);
    panel[static_cast<size_t>(Bases(static_cast<int64_t>(g)) + lane)] = static_cast<std::byte>(row.base[g]);
  }
  std::byte* codes = panel.data() + PanelScaleBytes(format, in);
  const bool int8 = format.kind == WeightKind::kInt8;
  ForEachQuad(format, in, lane, [&, offset = StoredOffset(format)](const Quad& quad) {
    const size_t g = quad.input / static_cast<size_t>(format.group);
    for (size_t i = 0; i < quad.count; ++i) {
      const int32_t code = row.code[quad.input + i];
      const auto stored =
          static_cast<std::byte>(format.stepped() ? (code + 128 - row.base[g]) / row.step[g] : code + offset);
      std::byte& byte = codes[quad.byte + i];
      if (int8)
        byte = stored;
      else
        byte = quad.high ? (byte & std::byte{0x0F}) | (stored << 4) : (byte & std::byte{0xF0}) | stored;
    }
  });
}

void LoadRow(std::span<const std::byte> panel, const WeightFormat& format, int64_t in, int64_t lane, GroupedRow& row) {
  const int64_t scales = ScaleCount(format, in);
  row.scale.resize(static_cast<size_t>(scales));
  row.min.resize(format.has_min ? row.scale.size() : 0);
  row.code.resize(static_cast<size_t>(in));
  row.step.resize(format.stepped() ? static_cast<size_t>(GroupCount(format, in)) : 0);
  row.base.resize(row.step.size());
  for (int64_t group = 0; group < scales; ++group) {
    const auto g = static_cast<size_t>(group);
    row.scale[g] = LoadHalf(panel.data() + (group * kPanelLanes + lane) * 2);
    if (format.has_min) row.min[g] = LoadHalf(panel.data() + ((scales + group) * kPanelLanes + lane) * 2);
  }
  for (size_t g = 0; g < row.step.size(); ++g) {
    const auto step = panel[static_cast<size_t>(Steps(static_cast<int64_t>(g)) + lane)] & std::byte{15};
    row.step[g] = static_cast<uint8_t>(std::to_integer<int32_t>(step) + 1);
    row.base[g] = std::to_integer<uint8_t>(panel[static_cast<size_t>(Bases(static_cast<int64_t>(g)) + lane)]);
  }
  const std::byte* codes = panel.data() + PanelScaleBytes(format, in);
  const bool int8 = format.kind == WeightKind::kInt8;
  ForEachQuad(format, in, lane, [&, offset = StoredOffset(format)](const Quad& quad) {
    const size_t g = quad.input / static_cast<size_t>(format.group);
    for (size_t i = 0; i < quad.count; ++i) {
      std::byte stored = codes[quad.byte + i];
      if (!int8) stored = quad.high ? stored >> 4 : stored & std::byte{0x0F};
      const auto value = std::to_integer<int32_t>(stored);
      row.code[quad.input + i] =
          static_cast<int8_t>(format.stepped() ? (row.step[g] * value + row.base[g]) % 256 - 128 : value - offset);
    }
  });
}

}  // namespace dgemma
