// Deltas for the operation tests: their matrices, hung on a packed weight, and the roles of rows.
#pragma once

#include <memory>

#include "op_cases.h"

namespace dgemma::test {

/// Columns of a rank by the role they count for; the rest counts for both.
struct DeltaColumns {
  int64_t rank = 0;
  int64_t encoder = 0, decoder = 0;

  std::string Name() const;
};

/// Every kind of column alone, and all at once; ranks below, at and beyond a panel.
inline constexpr std::array<DeltaColumns, 8> kDeltaColumns = {
    {{1, 0, 0}, {1, 1, 0}, {1, 0, 1}, {3, 1, 1}, {8, 8, 0}, {8, 3, 2}, {64, 0, 64}, {64, 20, 30}}};

/// Roles in no pattern; by the number of a row in its case.
inline RowRole RoleOfRow(int64_t row) { return row % 3 == 1 || row % 7 == 2 ? RowRole::kDecoder : RowRole::kEncoder; }
std::vector<RowRole> RolesOf(const OpRun& run);

/// The deltas of a weight [count, out, in] as in a file: normal values with deviations that keep u and what it adds near 1.
struct StoredDelta {
  StoredDelta(const DeltaColumns& columns, int64_t count, int64_t out, int64_t in, uint32_t seed);

  /// `weight` with these deltas.
  Weight On(Kernels& kernels, Weight weight) const;
  /// scale . mask of one column for a row of this role, in float64 from the definition.
  double Factor(int64_t column, RowRole role) const;

  DeltaColumns columns;
  std::vector<float> down_values, up_values, scale;
  Stored down, up;
};

}  // namespace dgemma::test
