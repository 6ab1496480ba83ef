// Writes a safetensors file: the table first, then each tensor's bytes as its producer delivers them, all or nothing.
// Used by conversion, adapters and checkpoints. The layout is a function of the tensors alone, so equal content gives
// equal files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "files/file_system.h"

namespace dgemma {

/// Takes the next bytes of a tensor.
using ByteSink = std::function<Result<void>(std::span<const std::byte>)>;

/// A tensor to write. `produce` is called once and hands its bytes over in any number of pieces; together they must be
/// exactly product(shape) values. So a tensor never has to be in memory as a whole.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<uint64_t> shape;
  std::function<Result<void>(const ByteSink&)> produce;
};

/// A tensor whose bytes are in memory until the file is written.
TensorToWrite TensorFromMemory(std::string name, DType dtype, std::vector<uint64_t> shape,
                               std::span<const std::byte> bytes);

/// Writes `target` atomically. Tensors are ordered by size of their type, largest first, then by name; the data begins
/// at a multiple of 64 bytes, so each tensor is aligned for its type. kInvalidArgument when the table would not be read
/// back (a name twice, bad UTF-8, a limit) or a producer delivers a wrong number of bytes; kIo; a producer's own
/// failure.
Result<void> WriteSafetensors(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata = {},
                              FileSystem& system = SystemCalls());

}  // namespace dgemma
