// A lock on the folder itself (flock), and paths compared part by part.
#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/try.h"

namespace dgemma {
namespace {

namespace fs = std::filesystem;

std::unexpected<Status> Refuse(const fs::path& path, std::string_view why) {
  return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", path.string(), why));
}

/// Whether `inner`, followed through links, is `outer` or lies in it.
bool Holds(const fs::path& outer, const fs::path& inner) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(outer, error), part = fs::weakly_canonical(inner, error);
  if (error || whole.empty()) return false;
  return std::mismatch(whole.begin(), whole.end(), part.begin(), part.end()).first == whole.end();
}

Result<void> CheckPlace(const fs::path& place, std::span<const std::string> inputs) {
  std::error_code ignored;
  if (fs::exists(place, ignored) && !fs::is_directory(place, ignored)) {
    return Refuse(place, "is a file, where the run writes a folder");
  }
  for (const std::string& input : inputs) {
    if (fs::exists(input, ignored) && Holds(place, input))
      return Refuse(input, fmt::format("lies where the run writes, in {}, and would be lost (give another --out)",
                                       place.string()));
  }
  return {};
}

}  // namespace

Result<FolderLock> FolderLock::Take(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Fail(StatusCode::kIo, fmt::format("{}: {}", folder.string(), error.message()));
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return Fail(StatusCode::kIo, fmt::format("{}: {}", folder.string(), std::generic_category().message(errno)));
  FolderLock lock(descriptor);
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return Refuse(folder, "another training writes into this folder");
  return lock;
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<void> CheckRunPlaces(const RunPlaces& places, bool goes_on, bool replaces, std::span<const std::string> inputs) {
  DG_CHECK_OK(CheckPlace(places.checkpoints, inputs));
  DG_CHECK_OK(CheckPlace(places.result, inputs));
  std::error_code ignored;
  if (goes_on || replaces || !fs::exists(places.result, ignored)) return {};
  return Refuse(places.result, "exists (--force replaces it)");
}

}  // namespace dgemma
