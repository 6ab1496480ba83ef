// The one table of routes, and everything that is decided from the head of a request alone: host, origin, key, route,
// method, size of the body. The key is checked before the path is looked at; what no route names is denied.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_error.h"
#include "server/http_message.h"
#include "server/key_check.h"
#include "server/reply.h"

namespace dgemma {

/// Answers a request. Runs on the network thread and must not wait; long work goes elsewhere and answers through `reply`.
using HttpHandler = std::function<void(HttpRequest request, Reply reply)>;

enum class Access : uint8_t {
  kKey,     ///< only with a key, when keys are set
  kPublic,  ///< always: health, and pages that hold no data
};

/// One row of the table.
struct Route {
  HttpMethod method = HttpMethod::kGet;  ///< kGet answers HEAD too
  /// Segments between '/'. "{name}" matches one segment that is not empty, "{name...}" at the end all that is left.
  std::string pattern;
  Access access = Access::kKey;
  size_t body_bytes = 0;  ///< longest body; 0: none. ServerLimits::text_body_bytes or image_body_bytes
  ApiFamily family = ApiFamily::kOpenAi;
  HttpHandler handler = {};
};

struct RouterOptions {
  KeyRing keys;
  std::vector<std::string> allowed_hosts;  ///< names besides localhost and IP addresses, without port
  std::vector<std::string> cors_origins;   ///< "https://example.org"; "*" is any
};

/// What the head of a request led to: a route and who asks, or a refusal.
struct Admission {
  const Route* route = nullptr;         ///< null when refused
  std::vector<std::string> parameters;  ///< for HttpRequest
  Caller caller;
  bool showed_key = false;               ///< true when the request had a valid key, or none are set
  std::optional<HttpResponse> refusal;   ///< set when route is null (an answered OPTIONS too)
  std::vector<HttpField> answer_fields;  ///< CORS; belong on any answer
};

class Router {
 public:
  Router(std::vector<Route> routes, RouterOptions options);

  /// Decides from the head. `id` appears in refusals. Pure.
  Admission Admit(const RequestHead& head, std::string_view id) const;

  /// The table, for tests and documents.
  std::vector<const Route*> routes() const;
  const RouterOptions& options() const { return options_; }
  bool needs_keys() const { return !options_.keys.empty(); }

 private:
  /// A route and its pattern cut at '/'.
  struct Row {
    Route route;
    std::vector<std::string> segments;
  };
  /// What the table has for a path: the row for the method, or the methods that other rows of the path take.
  struct Found {
    const Row* row = nullptr;
    std::vector<std::string> parameters;
    std::string allow;  ///< "" when no row has the path
  };
  Found Find(const RequestHead& head) const;
  std::optional<HttpError> CheckSource(const RequestHead& head, Admission& admission) const;

  std::vector<Row> rows_;
  RouterOptions options_;
};

/// Whether the server may listen on `address` with these options: anything but loopback needs a key, "*" as origin too.
Result<void> CheckExposure(std::string_view address, const RouterOptions& options);

}  // namespace dgemma
