// Bytes to a request: the head with its limits and strict framing, then the body. A pure state machine: no socket, no
// clock, and the result does not depend on how the bytes were cut (fuzz/http_fuzz.cc). Called by Connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_error.h"
#include "server/http_message.h"
#include "server/limits.h"

namespace dgemma {

/// Reads one request after the other. Stricter than RFC 9112 allows servers to be, since every leniency is a way to
/// smuggle: lines end with CR LF only, no folded fields, one Host, one Content-Length, never both framings, no chunk
/// extensions, no trailers, no compressed bodies, no ranges. `Upgrade: h2c` is ignored, as RFC 9110 7.8 allows: common
/// Java clients offer it always. Other upgrades are refused.
class RequestReader {
 public:
  enum class State : uint8_t {
    kHead,      ///< wants bytes of the head
    kHeadDone,  ///< head() is whole; call StartBody
    kBody,      ///< wants bytes of the body
    kDone,      ///< the request is whole
    kFailed,    ///< error() says why; the connection cannot be used further
  };

  explicit RequestReader(const ServerLimits& limits) : limits_(limits) {}

  /// Takes bytes and returns how many were used: all of them, unless the state became one that wants none.
  size_t Feed(std::string_view bytes);
  /// Goes on from kHeadDone to kBody, kDone (no body) or, when the stated length is beyond the limit, kFailed (413).
  void StartBody(size_t limit_bytes);
  /// Forgets the request, ready for the next one.
  void Reset();

  State state() const { return state_; }
  /// True when no byte of a request was seen.
  bool fresh() const { return state_ == State::kHead && text_.empty(); }
  RequestHead& head() { return head_; }
  const RequestHead& head() const { return head_; }
  std::string& body() { return body_; }
  const std::string& body() const { return body_; }
  const HttpError& error() const { return error_; }

 private:
  /// Where in a chunked body the next byte belongs.
  enum class Chunk : uint8_t { kSize, kSizeLineFeed, kData, kDataReturn, kDataLineFeed, kLastReturn, kLastLineFeed };

  size_t FeedHead(std::string_view bytes);
  void TakeHeadByte(char byte);
  void EndLine();
  void ParseHead();
  size_t FeedBody(std::string_view bytes);
  size_t FeedChunks(std::string_view bytes);
  void TakeSizeDigit(char byte);
  void Require(bool holds, Chunk next);
  void Fail(int status, std::string_view message);

  ServerLimits limits_;
  State state_ = State::kHead;
  HttpError error_;

  std::string text_;       // the head so far
  size_t line_begin_ = 0;  // of the line that text_ ends with
  size_t lines_ = 0;       // whole ones, the request line too
  RequestHead head_;

  std::string body_;
  size_t body_limit_ = 0;
  uint64_t left_ = 0;  // bytes to come: of the body, or of the chunk
  Chunk chunk_ = Chunk::kSize;
  int size_digits_ = 0;
};

}  // namespace dgemma
