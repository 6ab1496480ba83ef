// The rule of health, its four routes, and the route of the metrics.
#include "server/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace dgemma {
namespace {

constexpr double kLeastPatienceSeconds = 10;
constexpr double kPatiencePasses = 3;
constexpr int kLoadingRetrySeconds = 5;

HttpField RetryLater() { return {"Retry-After", std::to_string(kLoadingRetrySeconds)}; }

/// llama-server's clients look for "status":"ok" and for an error object otherwise.
HttpResponse HealthResponse(const EngineState& state, HealthStatus status) {
  const std::string figures =
      fmt::format(R"("queued":{},"active":{},"last_pass_age_ms":{:.0f},"longest_pass_ms":{:.0f})", state.queued,
                  state.active, state.pass_age_seconds * 1000, state.longest_pass_seconds * 1000);
  HttpResponse response;
  if (status == HealthStatus::kOk) {
    response.body = fmt::format(R"({{"status":"ok",{}}})", figures);
    return response;
  }
  response.status = 503;
  response.body =
      fmt::format(R"({{"status":"{}",{},"error":{{"code":503,"message":"{}","type":"unavailable_error"}}}})",
                  Name(status), figures, status == HealthStatus::kLoading ? "Loading model" : Name(status));
  response.fields.push_back({"Cache-Control", "no-store"});
  if (status == HealthStatus::kLoading) response.fields.push_back(RetryLater());
  return response;
}

HttpResponse Plain(int status, std::string_view word) {
  return {
      .status = status, .content_type = "text/plain; charset=utf-8", .body = std::string(word) + '\n', .fields = {}};
}

}  // namespace

std::string_view Name(HealthStatus status) {
  switch (status) {
    case HealthStatus::kOk:
      return "ok";
    case HealthStatus::kLoading:
      return "loading model";
    case HealthStatus::kNoProgress:
      return "no progress";
    case HealthStatus::kDraining:
      return "draining";
    case HealthStatus::kFailed:
      return "failed";
  }
  return "failed";
}

HealthStatus Judge(const EngineState& state, bool draining) {
  if (state.failed) return HealthStatus::kFailed;
  if (draining) return HealthStatus::kDraining;
  if (!state.loaded) return HealthStatus::kLoading;
  const double patience = std::max(kLeastPatienceSeconds, kPatiencePasses * state.longest_pass_seconds);
  return state.stalled_seconds > patience ? HealthStatus::kNoProgress : HealthStatus::kOk;
}

bool IsWorthKeeping(const EngineState& state, int64_t request_ms) {
  return !state.failed && state.stalled_seconds * 1000 <= static_cast<double>(request_ms);
}

std::vector<Route> HealthRoutes(HealthSource source) {
  const auto shared = std::make_shared<const HealthSource>(std::move(source));
  const HttpHandler health = [shared](const HttpRequest& /*request*/, const Reply& reply) {
    const EngineState state = shared->engine();
    reply.Send(HealthResponse(state, Judge(state, shared->draining())));
  };
  const HttpHandler ready = [shared](const HttpRequest& /*request*/, const Reply& reply) {
    const HealthStatus status = Judge(shared->engine(), shared->draining());
    HttpResponse response = Plain(status == HealthStatus::kOk ? 200 : 503, Name(status));
    if (status == HealthStatus::kLoading) response.fields.push_back(RetryLater());
    reply.Send(std::move(response));
  };
  const HttpHandler live = [](const HttpRequest& /*request*/, const Reply& reply) { reply.Send(Plain(200, "ok")); };
  const auto route = [](std::string pattern, HttpHandler handler) {
    return Route{.method = HttpMethod::kGet,
                 .pattern = std::move(pattern),
                 .access = Access::kPublic,
                 .body_bytes = 0,
                 .family = ApiFamily::kOpenAi,
                 .handler = std::move(handler)};
  };
  return {route("/livez", live), route("/readyz", ready), route("/health", health), route("/v1/health", health)};
}

std::vector<Route> LoadingRoutes(size_t body_bytes) {
  std::vector<Route> routes = HealthRoutes({.engine = [] { return EngineState(); }, .draining = [] { return false; }});
  const HttpHandler loading = [](const HttpRequest& request, const Reply& reply) {
    const HttpError error{.status = 503,
                          .message = "The model is being loaded.",
                          .code = "loading_model",
                          .retry_after_s = kLoadingRetrySeconds};
    reply.Send(ErrorResponse(FamilyOfPath(request.head.path), error, request.id));
  };
  for (const HttpMethod method : {HttpMethod::kGet, HttpMethod::kPost}) {
    routes.push_back({.method = method,
                      .pattern = "/{path...}",
                      .access = Access::kKey,
                      .body_bytes = method == HttpMethod::kPost ? body_bytes : 0,
                      .family = ApiFamily::kOpenAi,
                      .handler = loading});
  }
  return routes;
}

Route MetricsRoute(Metrics& metrics) {
  return {
      .method = HttpMethod::kGet,
      .pattern = "/metrics",
      .access = Access::kKey,
      .body_bytes = 0,
      .family = ApiFamily::kOpenAi,
      .handler = [&metrics](const HttpRequest& /*request*/, const Reply& reply) {
        reply.Send(
            {.status = 200, .content_type = std::string(Metrics::kContentType), .body = metrics.Text(), .fields = {}});
      }};
}

}  // namespace dgemma
