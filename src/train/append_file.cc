// The calls behind append_file.h.
#include "train/append_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace dgemma {
namespace {

/// Repeats a call that a signal interrupted.
template <typename Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

std::unexpected<Status> FailCall(const std::filesystem::path& path, const char* action, int code) {
  return Fail(StatusCode::kIo, path.string() + ": " + action + " failed: " + std::generic_category().message(code));
}

}  // namespace

Result<AppendFile> AppendFile::Create(const std::filesystem::path& path, Open open, FileSystem& system) {
  const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | (open == Open::kOnlyNew ? O_EXCL : 0);
  const int descriptor = Uninterrupted([&] { return system.Open(path.string(), flags, 0666); });
  if (descriptor < 0 && errno == EEXIST) {
    return Fail(StatusCode::kInvalidArgument, path.string() + ": exists already");
  }
  if (descriptor < 0) return FailCall(path, "opening for appending", errno);
  return AppendFile(path, descriptor, system);
}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) system_->Close(descriptor_);
}

Result<void> AppendFile::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = Uninterrupted(
        [&] { return system_->Write(descriptor_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30)); });
    if (written < 0) return FailCall(path_, "write", errno);
    if (written == 0) return FailCall(path_, "write", EIO);  // no progress and no reason: never loop on it
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> AppendFile::Sync() {
  if (Uninterrupted([&] { return system_->Sync(descriptor_); }) != 0) return FailCall(path_, "fsync", errno);
  return {};
}

}  // namespace dgemma
