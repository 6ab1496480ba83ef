// A tensor on its way into a file: its table entry, and a producer of its bytes, so that it never has to be in memory
// as a whole. Used by the writers of safetensors and GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/atomic_file.h"
#include "files/dtype.h"

namespace dgemma {

/// Takes the next bytes of a tensor.
using ByteSink = std::function<Result<void>(std::span<const std::byte>)>;

/// A tensor to write. `produce` is called once and hands its bytes over in any number of pieces; together they must be
/// exactly product(shape) values.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<uint64_t> shape;  ///< outermost dimension first
  std::function<Result<void>(const ByteSink&)> produce;
};

/// A tensor whose bytes are in memory until the file is written.
TensorToWrite TensorFromMemory(std::string name, DType dtype, std::vector<uint64_t> shape,
                               std::span<const std::byte> bytes);

/// Bytes of a tensor. kInvalidArgument beyond 64 bits, or for rows that are no whole number of blocks.
Result<uint64_t> StoredBytes(const TensorToWrite& tensor);

/// Appends a tensor's bytes. kInvalidArgument, naming `place` and the tensor, when the producer delivers another number
/// of them.
Result<void> StreamTensor(const TensorToWrite& tensor, const std::string& place, AtomicFile& file);

}  // namespace dgemma
