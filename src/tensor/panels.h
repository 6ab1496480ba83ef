// The packed layout of grouped weights: what the kernels read, what quantised files hold, byte for byte; a mapped file needs no
// repacking. It is the same for every instruction set.
//
// A matrix [out, in] is cut into panels of 16 outputs (lanes). With n = groups of a row, one panel is
//   scale  f16 [n, 16]
//   min    f16 [n, 16]            where the format has minima
// or, where one scale belongs to a row,
//   scale  f16 [16]
//   steps  u8 [n, 2, 16]          of stepped formats: step - 1 (the low half of a byte counts), then base
// and in either case
//   (zero bytes up to a multiple of 64)
//   codes  int8: u8 [n, G / 4, 16, 4], stored as code + 128
//          int4: u8 [n, G / 8, 16, 4]: the low half of byte (q, lane, i) is input 4 q + i of the group, the high half is input
//                4 (q + G / 8) + i; stored as code + 8, with minima as code; v of a stepped format is code
//                (step v + base) mod 256 - 128
// Inputs beyond `in` and outputs beyond `out` hold code 0 (stepped: v = 0), scale 0 and min 0. Matrices [count] follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/groups.h"

namespace dgemma {

/// Outputs of one panel.
inline constexpr int64_t kPanelLanes = 16;

/// What is added to a code before it is stored, so that it is not negative.
constexpr int32_t StoredOffset(const WeightFormat& format) {
  if (format.kind == WeightKind::kInt8) return 128;
  return format.has_min || format.stepped() ? 0 : 8;
}

/// Where the steps of a stepped panel begin, and what those of one group take.
inline constexpr int64_t kStepsBegin = 2 * kPanelLanes, kStepBytes = 2 * kPanelLanes;

/// Bytes of one panel's scales, minima and steps (a multiple of 64), of its codes, and of all matrices.
int64_t PanelScaleBytes(const WeightFormat& format, int64_t in);
int64_t PanelCodeBytes(const WeightFormat& format, int64_t in);
inline int64_t PanelBytes(const WeightFormat& format, int64_t in) {
  return PanelScaleBytes(format, in) + PanelCodeBytes(format, in);
}
int64_t GroupedBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in);

/// Writes one row into lane `lane` of a panel. `panel` must have been filled by ClearPanel before its first row.
void ClearPanel(const WeightFormat& format, int64_t in, std::span<std::byte> panel);
void StoreRow(const GroupedRow& row, const WeightFormat& format, int64_t in, int64_t lane, std::span<std::byte> panel);

/// The row back: exactly what was stored.
void LoadRow(std::span<const std::byte> panel, const WeightFormat& format, int64_t in, int64_t lane, GroupedRow& row);

}  // namespace dgemma
