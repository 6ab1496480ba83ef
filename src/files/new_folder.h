// Folders of several files that belong together: a new one appears complete or not at all, an old one keeps what it has until
// all is written. Used by everything that writes a model folder.
#pragma once

#include <filesystem>
#include <functional>

#include "dgemma/status.h"

namespace dgemma {

/// Writes files into the empty folder that it is given.
using FillFolder = std::function<Result<void>(const std::filesystem::path& folder)>;

/// Makes the folder `target`, parents included, of the files that `fill` writes. They are written into a temporary folder: a new target is
/// that folder renamed; in an existing one they replace files of their names, one rename each, other files stay. When `fill` fails nothing
/// changes and nothing stays. What killed processes left half filled is removed by the next call for this target. Errors: those of
/// `fill`, in which the temporary name is the target's; kInvalidArgument when the target has symbolic links, or another kind of thing where a
/// file should go; kIo when a folder cannot be made, a file renamed, or the disk does not confirm it.
Result<void> SaveNewFolder(const std::filesystem::path& target, const FillFolder& fill);

}  // namespace dgemma
