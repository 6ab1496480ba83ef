// The order of checks is the order of Admit: source, preflight, key, path, method. Refusals are fixed strings.
#include "server/router.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "server/source_check.h"

namespace dgemma {
namespace {

std::vector<std::string> Cut(std::string_view pattern) {
  std::vector<std::string> segments;
  size_t begin = 1;  // after the first '/'
  while (true) {
    const size_t end = pattern.find('/', begin);
    segments.emplace_back(pattern.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos) return segments;
    begin = end + 1;
  }
}

int HexValue(char byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const char lower = static_cast<char>(byte | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Percent signs decoded; nothing for a malformed one and for NUL.
std::optional<std::string> Decode(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    if (at + 2 >= text.size()) return std::nullopt;
    const int high = HexValue(text[at + 1]);
    const int low = HexValue(text[at + 2]);
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return out;
}

/// The decoded parameters when the segments of a path fit a pattern's. The path is not cut up before: a hostile one has
/// thousands.
std::optional<std::vector<std::string>> Fit(std::span<const std::string> pattern, std::string_view path) {
  std::vector<std::string> parameters;
  std::optional<std::string_view> left = path.substr(1);  // after the first '/'
  for (const std::string& want : pattern) {
    if (!left) return std::nullopt;
    const bool rest = want.ends_with("...}");
    const size_t end = rest ? std::string_view::npos : left->find('/');
    const std::string_view text = left->substr(0, end);
    left = end == std::string_view::npos ? std::nullopt : std::optional(left->substr(end + 1));
    if (!want.starts_with('{')) {
      if (want != text) return std::nullopt;
      continue;
    }
    std::optional<std::string> decoded = Decode(text);
    if (!decoded || decoded->empty()) return std::nullopt;
    parameters.push_back(*std::move(decoded));
  }
  if (left) return std::nullopt;
  return parameters;
}

std::string Methods(HttpMethod method) { return method == HttpMethod::kGet ? "GET, HEAD" : std::string(Name(method)); }

HttpResponse Preflight(const RequestHead& head) {
  HttpResponse response{.status = 204, .content_type = "", .body = "", .fields = {}};
  response.fields = {{"Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE"},
                     {"Access-Control-Allow-Headers", "Authorization, *"},
                     {"Access-Control-Max-Age", "600"}};
  if (head.Field("access-control-request-private-network") == "true") {
    response.fields.push_back({"Access-Control-Allow-Private-Network", "true"});
  }
  return response;
}

}  // namespace

Router::Router(std::vector<Route> routes, RouterOptions options) : options_(std::move(options)) {
  for (Route& route : routes) {
    std::vector<std::string> segments = Cut(route.pattern);
    rows_.push_back({std::move(route), std::move(segments)});
  }
}

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> out;
  for (const Row& row : rows_) out.push_back(&row.route);
  return out;
}

Router::Found Router::Find(const RequestHead& head) const {
  const HttpMethod method = head.method == HttpMethod::kHead ? HttpMethod::kGet : head.method;
  Found found;
  if (!head.path.starts_with('/')) return found;  // "OPTIONS *"
  for (const Row& row : rows_) {
    auto parameters = Fit(row.segments, head.path);
    if (!parameters) continue;
    if (row.route.method == method) {
      found.row = &row;
      found.parameters = *std::move(parameters);
      return found;
    }
    found.allow += (found.allow.empty() ? "" : ", ") + Methods(row.route.method);
  }
  return found;
}

std::optional<HttpError> Router::CheckSource(const RequestHead& head, Admission& admission) const {
  // Health checks of load balancers come in HTTP/1.0 without Host; browsers, whose names can be rebound, never do.
  const bool needs_host = head.minor_version > 0 || !head.Field("host").empty();
  if (needs_host && !HostIsAllowed(head.Field("host"), options_.allowed_hosts)) {
    return HttpError{.status = 403, .message = "this Host is not on the list of allowed hosts"};
  }
  switch (JudgeOrigin(head, options_.cors_origins)) {
    case OriginVerdict::kNone:
      break;
    case OriginVerdict::kRefused:
      return HttpError{.status = 403, .message = "web pages of this origin may not use the server"};
    case OriginVerdict::kListed:
      admission.answer_fields = {{"Access-Control-Allow-Origin", std::string(head.Field("origin"))},
                                 {"Access-Control-Expose-Headers", "X-Request-Id, X-Diffusion-Id, Retry-After"},
                                 {"Vary", "Origin"}};
      break;
  }
  return std::nullopt;
}

Admission Router::Admit(const RequestHead& head, std::string_view id) const {
  Admission admission;
  const auto refuse = [&](const HttpError& error) {
    admission.refusal = ErrorResponse(FamilyOfPath(head.path), error, id);
    return std::move(admission);
  };
  const Caller* caller = options_.keys.Find(head);
  admission.showed_key = caller != nullptr || options_.keys.empty();
  if (caller != nullptr) admission.caller = *caller;

  if (const auto error = CheckSource(head, admission)) return refuse(*error);
  const bool options = head.method == HttpMethod::kOptions;
  if (options && !admission.answer_fields.empty() && !head.Field("access-control-request-method").empty()) {
    admission.refusal = Preflight(head);
    return admission;
  }
  Found found = Find(head);
  const bool open = found.row != nullptr && found.row->route.access == Access::kPublic;
  if (!admission.showed_key && !open) {
    Admission refused = refuse({.status = 401, .message = "a valid API key is needed"});
    refused.refusal->fields.push_back({"WWW-Authenticate", "Bearer"});
    return refused;
  }
  if (found.row != nullptr) {
    admission.route = &found.row->route;
    admission.parameters = std::move(found.parameters);
    return admission;
  }
  if (found.allow.empty()) return refuse({.status = 404, .message = "there is no such route"});
  if (options) {
    admission.refusal = HttpResponse{.status = 204, .content_type = "", .body = "", .fields = {}};
  } else {
    admission.refusal =
        ErrorResponse(FamilyOfPath(head.path), {.status = 405, .message = "this route has no such method"}, id);
  }
  admission.refusal->fields.push_back({"Allow", found.allow + ", OPTIONS"});
  return admission;
}

Result<void> CheckExposure(std::string_view address, const RouterOptions& options) {
  if (!options.keys.empty()) return {};
  if (!IsLoopback(address)) {
    return Fail(StatusCode::kInvalidArgument,
                "host: other machines could use the server (anything but loopback needs an API key)");
  }
  if (std::ranges::find(options.cors_origins, "*") != options.cors_origins.end()) {
    return Fail(StatusCode::kInvalidArgument, "origins: every web page could use the server (\"*\" needs an API key)");
  }
  return {};
}

}  // namespace dgemma
