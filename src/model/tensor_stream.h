// Tensors on their way into a file, batch by batch: rows are made on several threads, what is done is reported, a stop is
// heeded. Used by convert.cc and adapter_merge.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "base/try.h"
#include "dgemma/status.h"
#include "files/tensor_to_write.h"
#include "tensor/stored.h"

namespace dgemma {

/// How a long conversion is watched and ended.
struct StreamOptions {
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;  ///< of what is written; may be empty
  std::stop_token stop;                                                   ///< kCancelled, and nothing is left behind
};

/// All tensors of one file. Options and pool must outlive it.
class TensorStream {
 public:
  TensorStream(const StreamOptions& options, ThreadPool& pool) : options_(options), pool_(pool) {}

  /// Before the first tensor: that so many bytes will come.
  void Expect(uint64_t bytes) { total_bytes_ += static_cast<int64_t>(bytes); }

  /// Hands bytes to the sink. kCancelled after a stop.
  Result<void> Deliver(std::span<const std::byte> bytes, const ByteSink& sink);

  /// A tensor's bytes as they are stored.
  Result<void> Copy(const StoredTensor& stored, const ByteSink& sink);

  /// make_row(place, bytes) fills the `row_bytes` bytes of row place % rows of matrix place / rows, on any thread, and returns
  /// Result<Sums>. The sum (+=) of all, in the order of rows whatever the threads; the first error in that order.
  template <typename Sums, typename MakeRow>
  Result<Sums> MakeRows(const StoredTensor& stored, size_t row_bytes, const ByteSink& sink, const MakeRow& make_row) {
    constexpr int64_t kBatchValues = int64_t{1} << 20;
    const int64_t rows = stored.count * stored.rows, batch = std::max<int64_t>(1, kBatchValues / stored.cols);
    std::vector<std::byte> bytes;
    std::vector<Result<Sums>> made;
    Sums total;
    for (int64_t begin = 0; begin < rows; begin += batch) {
      const auto count = static_cast<size_t>(std::min(batch, rows - begin));
      bytes.resize(count * row_bytes);
      made.assign(count, Sums{});
      pool_.ParallelFor(static_cast<int64_t>(count), [&](int64_t task, int) {
        const auto index = static_cast<size_t>(task);
        made[index] = make_row(begin + task, std::span(bytes).subspan(index * row_bytes, row_bytes));
      });
      for (const Result<Sums>& row : made) {
        if (!row) return std::unexpected(row.error());
        total += *row;
      }
      DG_CHECK_OK(Deliver(bytes, sink));
    }
    return total;
  }

 private:
  const StreamOptions& options_;
  ThreadPool& pool_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

}  // namespace dgemma
