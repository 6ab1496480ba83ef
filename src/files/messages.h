// Two ways of building error messages: outside text made safe to show, and a place put in front of a failure.
// Used wherever a message names a key, a tensor or a file that came from outside.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "dgemma/status.h"

namespace dgemma {

/// text in double quotes, at most 80 bytes of it, every byte outside printable ASCII shown as '?'.
inline std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 80;
  std::string out = "\"";
  for (const char byte : text.substr(0, kShown)) out += byte >= 0x20 && byte < 0x7f ? byte : '?';
  return out + (text.size() > kShown ? "...\"" : "\"");
}

/// The same result; a failure's message gets "place: " in front.
template <typename T>
Result<T> At(const std::string& place, Result<T> result) {
  if (!result) return std::unexpected(result.error().At(place));
  return result;
}

}  // namespace dgemma
