// Folders of several files that belong together: a new one appears complete or not at all. Used by everything that
// writes a model folder.
#pragma once

#include <filesystem>
#include <functional>

#include "dgemma/status.h"

namespace dgemma {

/// Writes files into the folder that it is given: the largest first, so that what is there early is complete early.
using FillFolder = std::function<Result<void>(const std::filesystem::path& folder)>;

/// Makes the folder `target`, parents included, and lets `fill` write into it. A new folder is filled beside its place,
/// under a name of its own, and renamed when `fill` succeeds; when it fails nothing stays. An existing folder is filled
/// where it is, unless it has symbolic links (kInvalidArgument). What killed processes left half filled beside a new
/// folder of this name is removed. Errors: those of `fill`; kIo when the folder cannot be made or renamed.
Result<void> SaveNewFolder(const std::filesystem::path& target, const FillFolder& fill);

}  // namespace dgemma
