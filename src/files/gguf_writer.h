// Writes a GGUF file, version 3: metadata and table first, then each tensor's bytes as its producer delivers them, all
// or nothing. The file is a function of metadata and tensors in their order alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/file_system.h"
#include "files/gguf.h"
#include "files/tensor_to_write.h"

namespace dgemma {

/// Keys and values in the order in which they were put, already as the file holds them. Whether keys are good and
/// unique is checked when the file is written.
class GgufMetadata {
 public:
  void Put(std::string_view key, uint32_t value);
  void Put(std::string_view key, float value);
  void Put(std::string_view key, bool value);
  void Put(std::string_view key, std::string_view text);
  void Put(std::string_view key, const char* text) { Put(key, std::string_view(text)); }
  void Put(std::string_view key, std::span<const int32_t> values);
  void Put(std::string_view key, std::span<const float> values);
  void Put(std::string_view key, const std::vector<bool>& values);
  void Put(std::string_view key, std::span<const std::string> texts);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void Begin(std::string_view key, GgufType type);
  void BeginArray(std::string_view key, GgufType type, uint64_t count);

  std::string bytes_;
  uint64_t count_ = 0;
};

/// Writes `target` atomically, tensors in this order, aligned to 32 bytes. kInvalidArgument when our own reader would
/// refuse the table (a name or key twice, a limit, a type that the format lacks) or a producer delivers a wrong number
/// of bytes; kIo; a producer's own failure.
Result<void> WriteGguf(const std::filesystem::path& target, const GgufMetadata& metadata,
                       const std::vector<TensorToWrite>& tensors, FileSystem& system = SystemCalls());

}  // namespace dgemma
