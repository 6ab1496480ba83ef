// open + fstat + mmap, or open + fstat + read. Both go through OpenRegular, which decides what counts as a file.
#include "files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/try.h"

namespace dgemma {
namespace {

struct OpenedFile {
  int descriptor = -1;
  uint64_t size = 0;

  OpenedFile(int opened, uint64_t bytes) : descriptor(opened), size(bytes) {}
  OpenedFile(OpenedFile&& other) noexcept : descriptor(std::exchange(other.descriptor, -1)), size(other.size) {}
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;
  ~OpenedFile() {
    if (descriptor >= 0) close(descriptor);
  }
};

std::unexpected<Status> FailErrno(const std::filesystem::path& path, const char* action) {
  const int code = errno;
  return Fail(code == ENOENT || code == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIo,
              path.string() + ": " + action + " failed: " + std::generic_category().message(code));
}

Result<OpenedFile> OpenRegular(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe without a writer must fail below instead of waiting for one.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return FailErrno(path, "open");
  OpenedFile file(descriptor, 0);
  struct stat facts{};
  if (fstat(descriptor, &facts) != 0) return FailErrno(path, "stat");
  if (S_ISDIR(facts.st_mode)) return Fail(StatusCode::kInvalidFile, path.string() + ": is a folder, not a file");
  if (!S_ISREG(facts.st_mode)) {
    return Fail(StatusCode::kInvalidFile, path.string() + ": is not a regular file (pipes and devices are refused)");
  }
  if (facts.st_size <= 0) return Fail(StatusCode::kInvalidFile, path.string() + ": is empty");
  file.size = static_cast<uint64_t>(facts.st_size);
  return file;
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  DG_TRY(const OpenedFile file, OpenRegular(path));
  if (file.size > SIZE_MAX) return Fail(StatusCode::kResourceExhausted, path.string() + ": too large to map");
  void* start = mmap(nullptr, static_cast<size_t>(file.size), PROT_READ, MAP_PRIVATE, file.descriptor, 0);
  if (start == MAP_FAILED) return FailErrno(path, "mmap");
  return MappedFile(path, {static_cast<const std::byte*>(start), static_cast<size_t>(file.size)});
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::Advise(uint64_t begin, uint64_t length, Advice advice) const {
  if (begin >= size()) return;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = begin / page * page;
  const uint64_t end = begin + std::min(length, size() - begin);
  madvise(const_cast<std::byte*>(bytes_.data() + first), end - first,
          advice == Advice::kWillNeed ? MADV_WILLNEED : MADV_DONTNEED);
}

Result<Blob> MapBlob(const std::filesystem::path& path) {
  DG_TRY(MappedFile file, MappedFile::Open(path));
  auto owner = std::make_shared<const MappedFile>(std::move(file));
  const std::span<const std::byte> bytes = owner->bytes();
  const auto release = [owner](std::span<const std::byte> part) {
    owner->Advise(static_cast<uint64_t>(part.data() - owner->bytes().data()), part.size(), Advice::kDontNeed);
  };
  return Blob{path.string(), bytes, owner, release};
}

Result<std::string> ReadWholeFile(const std::filesystem::path& path, uint64_t max_bytes) {
  DG_TRY(const OpenedFile file, OpenRegular(path));
  if (file.size > max_bytes) {
    return Fail(StatusCode::kInvalidFile, path.string() + ": " + std::to_string(file.size) +
                                              " bytes exceed the limit of " + std::to_string(max_bytes));
  }
  std::string content(static_cast<size_t>(file.size), '\0');
  size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t got = read(file.descriptor, content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(path, "read");
    if (got == 0) return Fail(StatusCode::kIo, path.string() + ": became shorter while it was read");
    filled += static_cast<size_t>(got);
  }
  return content;
}

}  // namespace dgemma
