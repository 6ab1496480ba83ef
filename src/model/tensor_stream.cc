// Pieces are small enough that a stop is heeded and progress shown several times a second.
#include "model/tensor_stream.h"

namespace dgemma {

Result<void> TensorStream::Deliver(std::span<const std::byte> bytes, const ByteSink& sink) {
  if (options_.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
  DG_CHECK_OK(sink(bytes));
  done_bytes_ += std::ssize(bytes);
  if (options_.progress) options_.progress(done_bytes_, total_bytes_);
  return {};
}

Result<void> TensorStream::Copy(const StoredTensor& stored, const ByteSink& sink) {
  constexpr size_t kPiece = size_t{16} << 20;
  for (const StoredRows& run : stored.runs) {
    for (size_t begin = 0; begin < run.bytes.size(); begin += kPiece)
      DG_CHECK_OK(Deliver(run.bytes.subspan(begin, std::min(kPiece, run.bytes.size() - begin)), sink));
  }
  return {};
}

}  // namespace dgemma
