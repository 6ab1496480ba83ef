// The order in which rows meet experts: grouped by expert, so that every expert's weights are read once for all its rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace dgemma {

/// Rows [begin, begin + rows) of a product that meet matrix `index` of a weight: all rows and its only one, or an expert's.
struct RowPart {
  int64_t index;
  int64_t begin;
  int64_t rows;
};

/// A counting sort of slots (row, k) by expert; within an expert in the order of rows.
class ExpertGroups {
 public:
  void Sort(const Routes& routes, int64_t experts) {
    begin_.assign(static_cast<size_t>(experts) + 1, 0);
    for (const int32_t expert : routes.expert) ++begin_[static_cast<size_t>(expert) + 1];
    for (size_t e = 1; e < begin_.size(); ++e) begin_[e] += begin_[e - 1];
    next_ = begin_;
    place_.resize(routes.expert.size());
    for (size_t slot = 0; slot < place_.size(); ++slot)
      place_[slot] = next_[static_cast<size_t>(routes.expert[slot])]++;
    parts_.clear();
    for (int64_t expert = 0; expert < experts; ++expert) {
      const int64_t begin = begin_[static_cast<size_t>(expert)], end = begin_[static_cast<size_t>(expert) + 1];
      if (end > begin) parts_.push_back({expert, begin, end - begin});
    }
  }

  /// The grouped rows of every expert that has some, in their order.
  std::span<const RowPart> parts() const { return parts_; }
  /// The grouped row of a slot, row * active + k.
  int64_t Place(int64_t slot) const { return place_[static_cast<size_t>(slot)]; }
  std::span<const int64_t> Places(int64_t first_slot, int64_t count) const {
    return std::span(place_).subspan(static_cast<size_t>(first_slot), static_cast<size_t>(count));
  }
  /// The roles of grouped rows, given those of rows; none where none are given.
  std::span<const RowRole> Roles(std::span<const RowRole> roles) {
    roles_.resize(roles.empty() ? 0 : place_.size());
    for (size_t slot = 0; slot < roles_.size(); ++slot)
      roles_[static_cast<size_t>(place_[slot])] = roles[slot / (place_.size() / roles.size())];
    return roles_;
  }

 private:
  std::vector<int64_t> begin_;
  std::vector<int64_t> next_;
  std::vector<int64_t> place_;
  std::vector<RowPart> parts_;
  std::vector<RowRole> roles_;
};

}  // namespace dgemma
