// Writes a safetensors file: the table first, then each tensor's bytes as its producer delivers them, all or nothing.
// Used by conversion, adapters and checkpoints. The layout is a function of the tensors alone, so equal content gives
// equal files.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/file_system.h"
#include "files/tensor_to_write.h"

namespace dgemma {

/// Writes `target` atomically. First come tensors of a multiple of 64 bytes, by name; then the others, by size of their type,
/// largest first, then by name. The data begins at a multiple of 64 bytes, so the former are aligned to 64 and each of the
/// others for its type. kInvalidArgument when the table would not be read
/// back (a name twice, bad UTF-8, a limit) or a producer delivers a wrong number of bytes; kIo; a producer's own
/// failure.
Result<void> WriteSafetensors(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata = {},
                              FileSystem& system = SystemCalls());

}  // namespace dgemma
