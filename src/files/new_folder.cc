// A temporary folder that is renamed, or whose files are, when it is complete. Its name ends in the process number, by which the next writer
// sees that nobody fills it any more.
#include "files/new_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"

namespace dgemma {
namespace {

using Path = std::filesystem::path;

std::unexpected<Status> FailCall(const Path& target, const char* action, const std::error_code& error) {
  const std::string reason = error ? error.message() : "it exists";
  return Fail(StatusCode::kIo, target.string() + ": cannot " + action + ": " + reason);
}

Path ParentOf(const Path& target) { return target.has_parent_path() ? target.parent_path() : Path("."); }

/// Entries of a folder; empty when it cannot be read.
std::vector<Path> EntriesOf(const Path& folder) {
  std::vector<Path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    entries.push_back(entry->path());
  return entries;
}

/// Renames in a folder survive a power cut.
Result<void> SyncFolder(const Path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced =
      descriptor >= 0 && (::fsync(descriptor) == 0 || errno == EINVAL);  // EINVAL: it has no such notion
  const std::error_code error(errno, std::generic_category());
  if (descriptor >= 0) ::close(descriptor);
  return synced ? Result<void>() : FailCall(folder, "sync the folder", error);
}

/// A folder under a name of its own, removed in the end.
class TemporaryFolder {
 public:
  /// Beside `target`, or in it when its path ends in a slash.
  explicit TemporaryFolder(Path target)
      : target_(std::move(target)),
        prefix_(target_.filename().string() + ".partial-"),
        path_(target_.string() + ".partial-" + std::to_string(getpid())) {}
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (created_) std::filesystem::remove_all(path_, ignored);
  }

  Result<void> Create() {
    std::error_code error;
    if (target_.has_parent_path()) std::filesystem::create_directories(target_.parent_path(), error);
    SweepDead();
    created_ = !error && std::filesystem::create_directory(path_, error);
    return created_ ? Result<void>() : FailCall(target_, "create the folder", error);
  }

  /// An error of what writes into it, with the target's name.
  Result<void> Fill(const FillFolder& fill) const {
    Result<void> done = fill(path_);
    if (done) return done;
    const std::string name = path_.string(),
                      shown = target_.has_filename() ? target_.string() : ParentOf(target_).string();
    std::string& message = done.error().message;
    for (size_t at = 0; (at = message.find(name, at)) != std::string::npos; at += shown.size())
      message.replace(at, name.size(), shown);
    return done;
  }

  /// Becomes the target.
  Result<void> Rename() {
    std::error_code error;
    std::filesystem::rename(path_, target_, error);
    if (error) return FailCall(target_, "rename to the folder", error);
    created_ = false;
    return SyncFolder(ParentOf(target_));
  }

  /// Its files take their places in `folder`.
  Result<void> MoveInto(const Path& folder) const {
    const std::vector<Path> files = EntriesOf(path_);
    std::error_code error;
    for (const Path& file : files) {
      const Path place = folder / file.filename();
      if (std::filesystem::exists(place, error) && !std::filesystem::is_regular_file(place, error))
        return Fail(StatusCode::kInvalidArgument, place.string() + ": exists and is no regular file");
    }
    for (const Path& file : files) {
      std::filesystem::rename(file, folder / file.filename(), error);
      if (error) return FailCall(folder / file.filename(), "rename to the file", error);
    }
    return SyncFolder(folder);
  }

 private:
  /// Removes what processes that were killed left of this folder. Our own number is that of a dead one too: nothing is created yet, and in
  /// a container every first process has the same.
  void SweepDead() const {
    for (const Path& entry : EntriesOf(ParentOf(target_))) {
      const std::string name = entry.filename().string();
      if (!name.starts_with(prefix_)) continue;
      pid_t writer = 0;
      const char* const last = name.data() + name.size();
      const auto [parsed, failure] = std::from_chars(name.data() + prefix_.size(), last, writer);
      if (failure != std::errc() || parsed != last || writer <= 0) continue;
      std::error_code ignored;
      if (writer == getpid() || (::kill(writer, 0) != 0 && errno == ESRCH)) std::filesystem::remove_all(entry, ignored);
    }
  }

  Path target_;
  std::string prefix_;
  Path path_;
  bool created_ = false;
};

/// Links in an existing folder lead to files that are not the folder's own, such as the model that is being read.
Result<void> RefuseLinks(const Path& folder) {
  for (const Path& entry : EntriesOf(folder)) {
    std::error_code ignored;
    if (std::filesystem::is_symlink(entry, ignored)) {
      return Fail(StatusCode::kInvalidArgument,
                  entry.string() + ": is a symbolic link; an existing folder is not written through links");
    }
  }
  return {};
}

}  // namespace

Result<void> SaveNewFolder(const Path& target, const FillFolder& fill) {
  std::error_code ignored;
  const bool exists = std::filesystem::is_directory(target, ignored);
  if (exists) DG_CHECK_OK(RefuseLinks(target));
  const Path plain = target.has_filename() ? target : target.parent_path();  // "out/" is "out"
  TemporaryFolder temporary(exists ? plain / "" : plain);
  DG_CHECK_OK(temporary.Create());
  DG_CHECK_OK(temporary.Fill(fill));
  return exists ? temporary.MoveInto(plain) : temporary.Rename();
}

}  // namespace dgemma
