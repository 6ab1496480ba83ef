// What a family of the interface consists of: how its requests are parsed, and how a completion is written out, whole or as a
// stream. Pure functions and writers that append to a string; CompletionService connects them with engine and network.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "server/completion.h"
#include "server/completion_fields.h"
#include "server/http_error.h"
#include "server/limits.h"

namespace dgemma {

/// What every message of one completion repeats. The request outlives the completion.
struct CompletionHead {
  std::string id;
  std::string model;    ///< the server's name for it
  int64_t created = 0;  ///< seconds since 1970
  const CompletionRequest* request = nullptr;
};

/// Writes a completion as a stream: each call appends bytes, Take hands them over. OnBegin comes first; OnFinish or OnFailure last.
class WireStream : public CompletionSink {
 public:
  virtual void OnBegin(int64_t prompt_tokens) = 0;
  virtual void OnFinish(std::span<const EndOfAnswer> ends) = 0;
  virtual void OnFailure(const HttpError& error) = 0;

  std::string Take() { return std::exchange(out_, {}); }

 protected:
  std::string out_;
};

/// One family, as a table of functions.
struct WireFamily {
  ApiFamily errors = ApiFamily::kOpenAi;
  std::string_view id_prefix;    ///< "chatcmpl-"
  std::string_view call_prefix;  ///< "call_"
  std::string_view stream_type;  ///< Content-Type
  std::string_view ping;         ///< what keeps a silent stream alive; "": nothing does
  bool streams_frames = false;   ///< frames may stand in its streams; elsewhere they are watched from outside
  Result<CompletionRequest> (*parse)(const boost::json::object& body, const ServerLimits& limits) = nullptr;
  std::unique_ptr<WireStream> (*stream)(const CompletionHead& head) = nullptr;
  std::string (*whole)(const CompletionHead& head, const CompletionResult& result) = nullptr;
};

/// A failure of the engine or of parsing as the client hears it: field and rule, no text of the request.
HttpError ErrorOf(const Status& status);

/// `timings`: times in milliseconds, canvases ("blocks"), denoising steps, rates, how it ended. Of several answers counts are sums,
/// times the longest, seed the first's.
boost::json::object TimingsJson(std::span<const EndOfAnswer> ends, int32_t choices);

/// 2026-01-31T12:00:00.123456Z
std::string UtcTime(int64_t microseconds_since_1970);

}  // namespace dgemma
