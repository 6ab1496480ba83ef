// Saving without ever showing a half-written file: write to a temporary name in the same folder, sync, rename over the
// target, sync the folder. Everything the program saves goes through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "dgemma/status.h"
#include "files/file_system.h"

namespace dgemma {

/// One file being saved. Until Commit returns, the target keeps its content (or absence); when the object goes away
/// uncommitted, the temporary file is removed. After SIGKILL or a power cut it stays; see RemoveStaleTemporaries.
class AtomicFile {
 public:
  /// Creates the temporary file, with a name of its own for every writer. `target`'s folder must exist; a
  /// symbolic link is followed, an existing target that is no regular file is refused (kInvalidArgument).
  static Result<AtomicFile> Create(const std::filesystem::path& target, FileSystem& system = SystemCalls());
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  /// Appends bytes; all but the last 64 MiB are on the disk then, so that Commit is short. kIo names the target and the system's reason; the file can then only be dropped.
  Result<void> Write(std::span<const std::byte> bytes);

  /// Makes the content durable and puts it in the target's place. On failure the target is untouched, with one
  /// exception: when only the last step fails (syncing the folder), the target already holds the complete content, but
  /// a power cut could still bring back the old one.
  Result<void> Commit();

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  AtomicFile(std::filesystem::path target, std::filesystem::path temporary, int descriptor, FileSystem& system);
  std::unexpected<Status> FailCall(const char* action, int code) const;
  Result<void> WriteBack();
  Result<void> SyncFolder();

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty once renamed
  int descriptor_ = -1;              // -1 once closed
  FileSystem* system_;
  uint64_t bytes_written_ = 0;
  uint64_t written_back_ = 0;  // of these: on their way to the disk
};

/// Create, Write and Commit in one call.
Result<void> SaveFile(const std::filesystem::path& target, std::span<const std::byte> bytes,
                      FileSystem& system = SystemCalls());

/// Removes temporary files that killed writers left in `folder`; those of living writers are locked and stay. Returns
/// how many were removed. Programs that save into a folder call this when they start.
int RemoveStaleTemporaries(const std::filesystem::path& folder);

}  // namespace dgemma
