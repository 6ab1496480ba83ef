// A disk that fills up, for tests of files that grow.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "files/file_system.h"

namespace dgemma {

/// The operating system, but after `bytes_left` bytes there is no room; the last write before that is a short one.
class FullDisk final : public FileSystem {
 public:
  int Open(const std::string& path, int flags, mode_t mode) override { return SystemCalls().Open(path, flags, mode); }
  int Lock(int descriptor) override { return SystemCalls().Lock(descriptor); }
  ssize_t Write(int descriptor, const std::byte* bytes, size_t length) override {
    if (bytes_left == 0) {
      errno = ENOSPC;
      return -1;
    }
    const size_t fits = std::min(length, bytes_left);
    bytes_left -= fits;
    return SystemCalls().Write(descriptor, bytes, fits);
  }
  int WriteBack(int descriptor, off_t begin, off_t length) override {
    return SystemCalls().WriteBack(descriptor, begin, length);
  }
  int Sync(int descriptor) override { return SystemCalls().Sync(descriptor); }
  int Close(int descriptor) override { return SystemCalls().Close(descriptor); }
  int Rename(const std::string& from, const std::string& to) override { return SystemCalls().Rename(from, to); }
  int Unlink(const std::string& path) override { return SystemCalls().Unlink(path); }

  size_t bytes_left = std::numeric_limits<size_t>::max();
};

}  // namespace dgemma
