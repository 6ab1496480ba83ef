// The direction of includes of docs and design: who may include what. Only this; tree_check.h has the other rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dgemma::tree {

/// What is wrong with `#include "included"` in the file `path` (relative to the root), or nothing.
/// Includes of anything that is not ours (`<vector>`, `<boost/json.hpp>`) are never wrong.
std::optional<std::string> IncludeError(std::string_view path, std::string_view included, bool quoted);

}  // namespace dgemma::tree
