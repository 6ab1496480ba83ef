// What every backend needs to know about the columns of a LowRank: which of them count for a row.
#pragma once

#include "kernels/kernels.h"

namespace dgemma {

/// For weights without deltas, such as tables of the vocabulary.
inline constexpr RowRole kAnyRole = RowRole::kEncoder;

/// The role of a row where roles are given; they are not read where no weight has deltas.
inline RowRole RoleOf(std::span<const RowRole> roles, int64_t row) {
  return roles.empty() ? kAnyRole : roles[static_cast<size_t>(row)];
}

/// Columns [begin, end) of a rank.
struct ColumnRange {
  int64_t begin;
  int64_t end;
};

/// The columns that do not count for a row of this role: those of the other one.
inline ColumnRange MaskedColumns(const LowRank& delta, RowRole role) {
  return role == RowRole::kEncoder ? ColumnRange{delta.encoder, delta.encoder + delta.decoder}
                                   : ColumnRange{0, delta.encoder};
}

}  // namespace dgemma
