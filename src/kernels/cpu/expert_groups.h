// The order in which rows meet experts: grouped by expert, so that every expert's weights are read once for all its rows.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace dgemma {

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
  }

  /// First grouped row of an expert, and how many it has.
  int64_t Begin(int64_t expert) const { return begin_[static_cast<size_t>(expert)]; }
  int64_t Rows(int64_t expert) const { return begin_[static_cast<size_t>(expert) + 1] - Begin(expert); }
  /// The grouped row of a slot, row * active + k.
  int64_t Place(int64_t slot) const { return place_[static_cast<size_t>(slot)]; }

 private:
  std::vector<int64_t> begin_;
  std::vector<int64_t> next_;
  std::vector<int64_t> place_;
};

}  // namespace dgemma
