// A temporary folder that is renamed when it is complete.
#include "files/new_folder.h"

#include <unistd.h>

#include <string>
#include <utility>

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
  Result<void> FailCall(const char* action, const std::error_code& error) const {
    const std::string reason = error ? error.message() : "it exists";
    return Fail(StatusCode::kIo, target_.string() + ": cannot " + action + " the folder: " + reason);
  }

  std::filesystem::path target_;
  std::filesystem::path path_;
  bool created_ = false;
};

}  // namespace

Result<void> SaveNewFolder(const std::filesystem::path& target, const FillFolder& fill) {
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) return fill(target);
  NewFolder folder(target.has_filename() ? target : target.parent_path());  // "out/" is "out"
  DG_CHECK_OK(folder.Create());
  DG_CHECK_OK(fill(folder.path()));
  return folder.Commit();
}

}  // namespace dgemma
