// The order of system calls is the point of this file: write, fsync, close, rename, fsync of the folder.
#include "files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "base/try.h"

namespace dgemma {
namespace {

constexpr std::string_view kPrefix = ".dgemma-", kSuffix = ".tmp";
constexpr uint64_t kWriteBack = uint64_t{32} << 20;
constexpr int kAttempts = 16;  // 64 random bits collide never; the loop is for a sweeper that takes a name just created

/// A name nobody else uses; empty when the system gives no random numbers.
std::string TemporaryName() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) return {};
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(number));
  return std::string(kPrefix) + digits.data() + std::string(kSuffix);
}

std::filesystem::path FolderOf(const std::filesystem::path& target) {
  return target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
}

/// Whether the open file still has a name: 0 links means that a sweeper removed it between its creation and its lock.
bool StillNamed(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

/// The file a rename may replace: behind symbolic links, and never a device, FIFO or folder, which a rename would destroy.
Result<std::filesystem::path> RealTarget(const std::filesystem::path& target) {
  std::error_code code;
  const auto status = std::filesystem::status(target, code);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return Fail(StatusCode::kInvalidArgument, target.string() + ": exists and is no regular file");
  }
  if (!std::filesystem::is_symlink(std::filesystem::symlink_status(target, code))) return target;
  const auto real = std::filesystem::canonical(target, code);
  if (code) return Fail(StatusCode::kInvalidArgument, target.string() + ": is a symbolic link to nothing");
  return real;
}

}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::filesystem::path& target, FileSystem& system) {
  const auto fail = [&](int code) {
    return Fail(StatusCode::kIo, target.string() + ": creating a temporary file beside it failed: " +
                                     std::generic_category().message(code));
  };
  if (!target.has_filename()) return Fail(StatusCode::kInvalidArgument, target.string() + ": is not a file name");
  DG_TRY(const std::filesystem::path real, RealTarget(target));
  int code = EEXIST;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::string name = TemporaryName();
    if (name.empty()) return fail(errno);
    const std::filesystem::path temporary = FolderOf(real) / name;
    const int descriptor =
        Uninterrupted([&] { return system.Open(temporary.string(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    code = descriptor < 0 ? errno : 0;
    if (descriptor < 0 && code == EEXIST) continue;
    if (descriptor < 0) return fail(code);
    AtomicFile file(real, temporary, descriptor, system);
    // A file system without locks only loses the sweeping of temporaries: RemoveStaleTemporaries cannot lock there
    // either.
    const bool taken = system.Lock(descriptor) != 0 && errno == EWOULDBLOCK;
    if (!taken && StillNamed(temporary)) return file;
    code = EEXIST;
  }
  return fail(code);
}

AtomicFile::AtomicFile(std::filesystem::path target, std::filesystem::path temporary, int descriptor,
                       FileSystem& system)
    : target_(std::move(target)), temporary_(std::move(temporary)), descriptor_(descriptor), system_(&system) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      system_(other.system_),
      bytes_written_(other.bytes_written_),
      written_back_(other.written_back_) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) system_->Close(descriptor_);
  if (!temporary_.empty()) system_->Unlink(temporary_.string());
}

std::unexpected<Status> AtomicFile::FailCall(const char* action, int code) const {
  return Fail(StatusCode::kIo, target_.string() + ": " + action + " failed: " + std::generic_category().message(code));
}

Result<void> AtomicFile::Write(std::span<const std::byte> bytes) {
  if (descriptor_ < 0) return Fail(StatusCode::kInternal, target_.string() + ": written after Commit");
  while (!bytes.empty()) {
    const ssize_t written = Uninterrupted(
        [&] { return system_->Write(descriptor_, bytes.data(), std::min<size_t>(bytes.size(), kWriteBack)); });
    if (written < 0) return FailCall("write", errno);
    if (written == 0) return FailCall("write", EIO);  // no progress and no reason: never loop on it
    bytes = bytes.subspan(static_cast<size_t>(written));
    bytes_written_ += static_cast<uint64_t>(written);
    DG_CHECK_OK(WriteBack());
  }
  return {};
}

/// So that the sync of a large file at the end is short: nothing can interrupt it.
Result<void> AtomicFile::WriteBack() {
  for (; bytes_written_ - written_back_ >= kWriteBack; written_back_ += kWriteBack) {
    const auto begin = static_cast<off_t>(written_back_), length = static_cast<off_t>(kWriteBack);
    const int done = Uninterrupted([&] { return system_->WriteBack(descriptor_, begin, length); });
    // Other errors only mean that this file system cannot do it.
    if (done != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT)) return FailCall("write", errno);
  }
  return {};
}

Result<void> AtomicFile::Commit() {
  if (descriptor_ < 0) return Fail(StatusCode::kInternal, target_.string() + ": committed twice");
  if (Uninterrupted([&] { return system_->Sync(descriptor_); }) != 0) return FailCall("fsync", errno);
  // Closed even when close reports an error; after EINTR Linux has closed it, and the data is already synced.
  const int closed = system_->Close(std::exchange(descriptor_, -1));
  if (closed != 0 && errno != EINTR) return FailCall("close", errno);
  if (Uninterrupted([&] { return system_->Rename(temporary_.string(), target_.string()); }) != 0) {
    return FailCall("rename", errno);
  }
  temporary_.clear();
  return SyncFolder();
}

Result<void> AtomicFile::SyncFolder() {
  const int folder =
      Uninterrupted([&] { return system_->Open(FolderOf(target_).string(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); });
  if (folder < 0) return FailCall("opening the folder to sync it", errno);
  const int synced = Uninterrupted([&] { return system_->Sync(folder); });
  const int code = errno;
  system_->Close(folder);
  if (synced != 0 && code != EINVAL) return FailCall("fsync of the folder", code);  // EINVAL: it has no such notion
  return {};
}

Result<void> SaveFile(const std::filesystem::path& target, std::span<const std::byte> bytes, FileSystem& system) {
  DG_TRY(AtomicFile file, AtomicFile::Create(target, system));
  DG_CHECK_OK(file.Write(bytes));
  return file.Commit();
}

int RemoveStaleTemporaries(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> candidates;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) candidates.push_back(entry->path());
  }
  int removed = 0;
  for (const std::filesystem::path& path : candidates) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) continue;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 && unlink(path.c_str()) == 0) ++removed;
    close(descriptor);
  }
  return removed;
}

}  // namespace dgemma
