// The bytes of an answer's head and of its chunks. Pure functions.
#pragma once

#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace dgemma {

enum class BodyFraming : uint8_t { kLength, kChunks, kUntilClose };

/// What the server adds to a head that a handler gave.
struct HeadFacts {
  BodyFraming framing = BodyFraming::kLength;
  size_t length = 0;  ///< of the body, for kLength
  bool keep_alive = true;
  int minor_version = 1;
  std::string_view id;
  std::span<const HttpField> fields = {};  ///< further ones
  std::time_t now = 0;
};

/// Status line, fields and the empty line. Fields with control characters are left out: nothing can end the head early.
std::string ResponseHead(int status, std::string_view content_type, std::span<const HttpField> fields,
                         const HeadFacts& facts);

/// One chunk of a chunked body; `bytes` must not be empty.
std::string ChunkText(std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

/// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string HttpDate(std::time_t time);

}  // namespace dgemma
