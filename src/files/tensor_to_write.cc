// Counts what a producer delivers against what the table promises.
#include "files/tensor_to_write.h"

#include <utility>

#include "base/checked.h"
#include "files/messages.h"

namespace dgemma {

TensorToWrite TensorFromMemory(std::string name, DType dtype, std::vector<uint64_t> shape,
                               std::span<const std::byte> bytes) {
  return {std::move(name), dtype, std::move(shape), [bytes](const ByteSink& sink) { return sink(bytes); }};
}

Result<uint64_t> StoredBytes(const TensorToWrite& tensor) {
  const uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % ValuesPerBlock(tensor.dtype) != 0) {
    return Fail(StatusCode::kInvalidArgument,
                "rows of " + std::to_string(row) + " values are no whole number of blocks");
  }
  DG_TRY(const uint64_t values, CheckedProduct(tensor.shape));
  return CheckedMul(values / ValuesPerBlock(tensor.dtype), BytesPerBlock(tensor.dtype));
}

Result<void> StreamTensor(const TensorToWrite& tensor, const std::string& place, AtomicFile& file) {
  DG_TRY(const uint64_t expected, StoredBytes(tensor));
  const uint64_t begin = file.bytes_written();
  const auto wrong_size = [&](const std::string& delivered) {
    return Fail(StatusCode::kInvalidArgument, place + ": tensor " + Quoted(tensor.name) + ": " + delivered +
                                                  " bytes were delivered, shape and dtype need " +
                                                  std::to_string(expected));
  };
  DG_CHECK_OK(tensor.produce([&](std::span<const std::byte> bytes) -> Result<void> {
    if (bytes.size() > expected - (file.bytes_written() - begin)) return wrong_size("more");
    return file.Write(bytes);
  }));
  const uint64_t delivered = file.bytes_written() - begin;
  if (delivered != expected) return wrong_size(std::to_string(delivered));
  return {};
}

}  // namespace dgemma
