// How a handler answers: at once with Reply::Send, or piece by piece with Reply::Stream. Both may be used from any thread,
// at any time after the handler returned; the network thread does the writing.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_message.h"

namespace dgemma {

class Exchange;

/// Why an answer has to stop. After kDeadline and kShutdown the client still reads: say why, then End() within
/// ServerLimits::stop_grace_ms. After the others nothing reaches it.
enum class StopReason : uint8_t { kNone, kClientGone, kTooSlow, kDeadline, kShutdown };

/// "none", "client_gone", "too_slow", "timeout", "shutdown"
std::string_view Name(StopReason reason);

/// Head of an answer in pieces. Pings are sent as they are when nothing was written for ping_ms.
struct StreamHead {
  int status = 200;
  std::string content_type = "text/event-stream";
  std::vector<HttpField> fields = {};
  int64_t ping_ms = 0;    ///< 0: never
  std::string ping = {};  ///< a whole event, such as SsePing()
};

/// The body of an answer in pieces. Copies are the same stream. When the last copy goes without End(), the connection is
/// cut, so that the client sees that the answer is not whole.
class ResponseStream {
 public:
  /// Appends bytes. False when nobody will read them: stop what makes them.
  bool Write(std::string_view bytes) const;
  /// The answer is whole.
  void End() const;
  /// The client takes bytes more slowly than they are written. Leave out what it can do without: a stream whose backlog
  /// goes beyond ServerLimits::stream_bytes is cut.
  bool behind() const;
  /// Set when the answer has to stop; reason() then says why. Callbacks run on the thread that found out.
  std::stop_token stop() const;
  StopReason reason() const;

 private:
  friend class Reply;
  struct Owner;
  explicit ResponseStream(std::shared_ptr<Owner> owner) : owner_(std::move(owner)) {}

  std::shared_ptr<Owner> owner_;
};

/// The right to answer one request. Copies are the same right; the first Send or Stream counts, others do nothing.
/// When the last copy goes without an answer the client gets 500.
class Reply {
 public:
  explicit Reply(std::shared_ptr<Exchange> exchange);

  void Send(HttpResponse response) const;
  ResponseStream Stream(StreamHead head) const;
  /// Set when the client is gone or the answer has to stop, before as well as after Send or Stream.
  std::stop_token stop() const;
  StopReason reason() const;

 private:
  std::shared_ptr<ResponseStream::Owner> owner_;
};

// ---- forms of streams ---------------------------------------------------------------------------------------------------

/// "data: ...\n\n"; line ends inside `data` begin new data lines. `event` "" leaves out the event line.
std::string SseEvent(std::string_view data, std::string_view event = {});
/// ": ping\n\n", a comment that clients ignore and proxies count as life.
std::string SsePing();
/// One line of newline-delimited JSON: `json` must not hold a line end.
std::string NdjsonLine(std::string_view json);

inline constexpr std::string_view kSseType = "text/event-stream";
inline constexpr std::string_view kNdjsonType = "application/x-ndjson";

}  // namespace dgemma
