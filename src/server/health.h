// What the server says about itself: /livez, /readyz, /health, /v1/health and /metrics. Answered on the network thread from figures
// that the engine's thread leaves behind, so a stuck engine cannot make it lie.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "server/metrics.h"
#include "server/router.h"

namespace dgemma {

/// Figures of the engine at this moment. Reading them must not wait for a pass.
struct EngineState {
  bool loaded = false;              ///< the model is ready for requests
  bool failed = false;              ///< a broken invariant: nothing will be answered right any more
  int64_t queued = 0;               ///< requests that wait
  int64_t active = 0;               ///< requests that take part in passes
  double stalled_seconds = 0;       ///< work was there and no pass has finished for so long; 0 without work
  double pass_age_seconds = 0;      ///< since the last pass finished, or since the start before the first
  double longest_pass_seconds = 0;  ///< of all finished ones
};

enum class HealthStatus : uint8_t { kOk, kLoading, kNoProgress, kDraining, kFailed };

/// "ok", "loading model", "no progress", "draining", "failed"
std::string_view Name(HealthStatus status);

/// The rule: work pending and no pass for 3 times the longest pass seen, at least 10 s, is no progress.
HealthStatus Judge(const EngineState& state, bool draining);

/// False when a service manager had better start the server anew: it has failed, or work was there and no pass finished for
/// longer than an answer may take. Far more patient than Judge, for a restart would not make slow first passes faster.
bool IsWorthKeeping(const EngineState& state, int64_t request_ms);

struct HealthSource {
  std::function<EngineState()> engine;
  std::function<bool()> draining;
};

/// GET /livez (200 while the network thread runs), /readyz (200 when a request would be taken), /health and /v1/health
/// (200 when ok, else 503; JSON with the status and the age of the last pass). All public.
std::vector<Route> HealthRoutes(HealthSource source);

/// What a server answers until its model is loaded: /livez 200, the other routes of health 503 with "loading model",
/// everything else 503 to those who show a key, all with Retry-After. `body_bytes`: longest body that is read for it.
std::vector<Route> LoadingRoutes(size_t body_bytes);

/// GET /metrics, with a key. `metrics` must outlive the router.
Route MetricsRoute(Metrics& metrics);

}  // namespace dgemma
