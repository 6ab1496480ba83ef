// The folder that a run writes: one training at a time, and nothing is replaced there that no run made or that the run reads.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "dgemma/status.h"

namespace dgemma {

/// Held by one training until it is destroyed or the process ends, however that happens; leaves no file behind.
class FolderLock {
 public:
  /// Makes the folder, and those above it, where there is none. kInvalidArgument when another training holds it; kIo for what is no
  /// folder or cannot be made. A file system without locks holds nobody back.
  static Result<FolderLock> Take(const std::filesystem::path& folder);
  FolderLock(FolderLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FolderLock& operator=(FolderLock&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int descriptor) : descriptor_(descriptor) {}

  int descriptor_ = -1;
};

/// What a run removes and writes anew.
struct RunPlaces {
  std::filesystem::path checkpoints;
  std::filesystem::path result;
};

/// kInvalidArgument, naming the path, where a run would lose what is not its own: a place that is a file; a `result` that is there
/// although the run neither goes on nor `replaces`; one of `inputs`, what the run reads, in one of the places.
/// Symbolic links and dots are followed.
Result<void> CheckRunPlaces(const RunPlaces& places, bool goes_on, bool replaces, std::span<const std::string> inputs);

}  // namespace dgemma
