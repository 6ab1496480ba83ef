// Reads one tool call as the model writes it: call:NAME{key:value,...} with bare keys and strings between quote tokens.
// The answer parser collects the source of a call; this turns it into a name and JSON.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// A call read from the model's output.
struct ParsedToolCall {
  std::string name;
  boost::json::object arguments;
};

/// Source of a call: its text without the quote tokens, and where those stood (ascending offsets into the text). Quotes
/// spelled as ordinary text are not quotes.
struct ToolCallSource {
  std::string text;
  std::vector<size_t> quotes;
};

/// Bounds on one call: bytes of text (and number of quotes), nesting.
inline constexpr size_t kMaxToolCallBytes = 1 << 20;
inline constexpr int kMaxToolCallDepth = 64;

/// Parses a whole call. Strings hold exactly what stands between two quotes. Outside quotes: null, true, false and JSON
/// numbers are what they say, anything else is taken as a string. Errors (kInvalidArgument) say the byte offset and the
/// rule: a repeated or empty key, a missing brace, an open string, nesting deeper than kMaxToolCallDepth, text behind
/// the call. Linear time.
Result<ParsedToolCall> ParseToolCall(const ToolCallSource& source);

}  // namespace dgemma
