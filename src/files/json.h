// The one way JSON enters the program: bytes and limits in, a Boost.JSON value or a Status out.
// Stricter than the parser it uses: duplicate keys, depth, node count, numbers beyond double and trailing bytes are
// errors.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <string_view>

#include "dgemma/status.h"

namespace dgemma {

/// Bounds on what a JSON document may cost. Defaults suit small files such as config.json.
struct JsonLimits {
  uint64_t bytes = 16 << 20;   ///< length of the text
  uint32_t depth = 64;         ///< nesting of arrays and objects
  uint64_t nodes = 1'000'000;  ///< values and keys in total
};

/// Parses a whole document. Errors say the byte offset and the rule. Linear time, no recursion.
Result<boost::json::value> ParseJson(std::string_view text, const JsonLimits& limits = {});

}  // namespace dgemma
