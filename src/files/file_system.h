// The system calls that saving a file makes, behind an interface, so that a test can fail the n-th of them.
// Production code uses SystemCalls(); reading does not go through here.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

namespace dgemma {

/// Each function behaves as the call of its name: -1 and errno on failure.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual int Open(const std::string& path, int flags, mode_t mode) = 0;
  /// Takes the lock that marks a temporary file as in use (flock, exclusive, without waiting).
  virtual int Lock(int descriptor) = 0;
  virtual ssize_t Write(int descriptor, const std::byte* bytes, size_t length) = 0;
  /// Starts the way of `length` bytes behind `begin` to the disk, and waits for those of the call before.
  virtual int WriteBack(int descriptor, off_t begin, off_t length) = 0;
  virtual int Sync(int descriptor) = 0;
  virtual int Close(int descriptor) = 0;
  virtual int Rename(const std::string& from, const std::string& to) = 0;
  virtual int Unlink(const std::string& path) = 0;
};

/// The operating system. Stateless, shared by everybody.
FileSystem& SystemCalls();

}  // namespace dgemma
