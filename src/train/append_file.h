// A file that only grows: what the log and the event file of a run append to. A record goes out in one write, so a kill
// leaves at most one torn record, at the end.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "dgemma/status.h"
#include "files/file_system.h"

namespace dgemma {

class AppendFile {
 public:
  enum class Open : uint8_t { kExisting, kOnlyNew };

  /// Opens a file for appending, and creates it where there is none. kIo; kInvalidArgument with kOnlyNew when there is
  /// one already.
  static Result<AppendFile> Create(const std::filesystem::path& path, Open open, FileSystem& system = SystemCalls());
  AppendFile(AppendFile&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), system_(other.system_) {}
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  AppendFile& operator=(AppendFile&&) = delete;
  ~AppendFile();

  /// kIo names the file and the system's reason; part of the bytes may then be in the file.
  Result<void> Append(std::span<const std::byte> bytes);
  /// Makes durable what was appended.
  Result<void> Sync();

  const std::filesystem::path& path() const { return path_; }

 private:
  AppendFile(std::filesystem::path path, int descriptor, FileSystem& system)
      : path_(std::move(path)), descriptor_(descriptor), system_(&system) {}

  std::filesystem::path path_;
  int descriptor_ = -1;  // -1 once moved from
  FileSystem* system_;
};

}  // namespace dgemma
