// The page that `dgemma serve` shows at /: one HTML file with its script and style inside, built ahead from web/ and
// put in by cmake/embed.cmake.
#pragma once

#include <string_view>

#include "server/router.h"

namespace dgemma {

/// The page, UTF-8; lives as long as the program. Its own policy allows its script and style by hash, and calls to its
/// own origin only.
std::string_view PageHtml();

/// GET /, without a key: the page holds no data. Adds what a policy inside a page cannot say, that no other may frame
/// it.
Route PageRoute();

}  // namespace dgemma
