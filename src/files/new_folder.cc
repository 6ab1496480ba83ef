// A temporary folder that is renamed when it is complete.
#include "files/new_folder.h"

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

/// A folder that takes its place when it is complete; removed when it never is.
class NewFolder {
 public:
  explicit NewFolder(std::filesystem::path target)
      : target_(std::move(target)), path_(target_.string() + ".partial-" + std::to_string(getpid())) {}
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (created_) std::filesystem::remove_all(path_, ignored);
  }

  Result<void> Create() {
    std::error_code error;
    if (target_.has_parent_path()) std::filesystem::create_directories(target_.parent_path(), error);
    SweepDead();
    created_ = !error && std::filesystem::create_directory(path_, error);
    return created_ ? Result<void>() : FailCall("create", error);
  }
  Result<void> Commit() {
    std::error_code error;
    std::filesystem::rename(path_, target_, error);
    created_ = static_cast<bool>(error);
    return error ? FailCall("rename to", error) : Result<void>();
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  /// Removes what processes that were killed left of this folder.
  void SweepDead() const {
    const std::string prefix = target_.filename().string() + ".partial-";
    std::vector<std::filesystem::path> dead;
    std::error_code error;
    const auto parent = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    for (std::filesystem::directory_iterator entry(parent, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (!name.starts_with(prefix)) continue;
      pid_t writer = 0;
      const char* const last = name.data() + name.size();
      const auto [parsed, failure] = std::from_chars(name.data() + prefix.size(), last, writer);
      if (failure != std::errc() || parsed != last || writer <= 0) continue;
      if (::kill(writer, 0) != 0 && errno == ESRCH) dead.push_back(entry->path());
    }
    for (const std::filesystem::path& path : dead) std::filesystem::remove_all(path, error);
  }

  Result<void> FailCall(const char* action, const std::error_code& error) const {
    const std::string reason = error ? error.message() : "it exists";
    return Fail(StatusCode::kIo, target_.string() + ": cannot " + action + " the folder: " + reason);
  }

  std::filesystem::path target_;
  std::filesystem::path path_;
  bool created_ = false;
};

/// A folder that exists is written file by file. Links in it lead to files that are not the folder's own, such as the model that
/// is being read.
Result<void> RefuseLinks(const std::filesystem::path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_symlink(ignored)) {
      return Fail(StatusCode::kInvalidArgument,
                  entry->path().string() + ": is a symbolic link; an existing folder is not written through links");
    }
  }
  return {};
}

}  // namespace

Result<void> SaveNewFolder(const std::filesystem::path& target, const FillFolder& fill) {
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    DG_CHECK_OK(RefuseLinks(target));
    return fill(target);
  }
  NewFolder folder(target.has_filename() ? target : target.parent_path());  // "out/" is "out"
  DG_CHECK_OK(folder.Create());
  DG_CHECK_OK(fill(folder.path()));
  return folder.Commit();
}

}  // namespace dgemma
