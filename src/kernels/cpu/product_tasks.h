// How products are cut into what one thread does at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/scratch.h"

namespace dgemma {

/// Rows [begin, begin + count).
struct RowRange {
  int64_t begin;
  int64_t count;
};

/// What one thread does at a time of a product: rows and columns [begin, end) of a job.
struct ProductTask {
  size_t job;
  RowRange rows;
  int64_t begin;
  int64_t end;
};

/// Rows cut into equal blocks of at most kRowBlock.
struct RowBlocks {
  int64_t rows;
  int64_t count;
  int64_t size;

  RowBlocks(int64_t rows_in, int64_t tile) : rows(rows_in), count((rows_in + kRowBlock - 1) / kRowBlock), size(0) {
    if (count > 0) size = std::min(kRowBlock, ((rows + count - 1) / count + tile - 1) / tile * tile);
  }
};

/// Cuts a job's rows and its columns [0, cols) into tasks, columns first: threads that run side by side read the same weights.
inline void CutJob(size_t job, RowBlocks rows, int64_t cols, int64_t task_cols, std::vector<ProductTask>& tasks) {
  for (int64_t col = 0; col < cols; col += task_cols) {
    for (int64_t row = 0; row < rows.rows; row += rows.size) {
      tasks.push_back({job, {row, std::min(rows.size, rows.rows - row)}, col, std::min(cols, col + task_cols)});
    }
  }
}

}  // namespace dgemma
