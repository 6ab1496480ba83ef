// Plain forwarding to the operating system.
#include "files/file_system.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdio>

namespace dgemma {
namespace {

class PosixFileSystem final : public FileSystem {
 public:
  int Open(const std::string& path, int flags, mode_t mode) override { return open(path.c_str(), flags, mode); }
  int Lock(int descriptor) override { return flock(descriptor, LOCK_EX | LOCK_NB); }
  ssize_t Write(int descriptor, const std::byte* bytes, size_t length) override {
    return write(descriptor, bytes, length);
  }
  int WriteBack(int descriptor, off_t begin, off_t length) override {
    if (sync_file_range(descriptor, begin, length, SYNC_FILE_RANGE_WRITE) != 0) return -1;
    if (begin < length) return 0;
    return sync_file_range(descriptor, begin - length, length,
                           SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
  int Sync(int descriptor) override { return fsync(descriptor); }
  int Close(int descriptor) override { return close(descriptor); }
  int Rename(const std::string& from, const std::string& to) override { return std::rename(from.c_str(), to.c_str()); }
  int Unlink(const std::string& path) override { return unlink(path.c_str()); }
};

}  // namespace

FileSystem& SystemCalls() {
  static PosixFileSystem system;
  return system;
}

}  // namespace dgemma
