// Where a model may be written: asked before the work begins, by every command that makes one.
#pragma once

#include <string>

#include "dgemma/status.h"

namespace dgemma {

/// kInvalidArgument when the folder `out` cannot take a model: it is the model `in` that is read (empty: none is), it is no folder,
/// or it holds files of a model, unless `force` says that they are to be replaced. Shards are never replaced: they would stay beside
/// the new file.
Result<void> CheckModelTarget(const std::string& out, const std::string& in, bool force);

/// kInvalidArgument when both name the same file or folder.
Result<void> CheckNotSource(const std::string& out, const std::string& in);

}  // namespace dgemma
