// The glue between network and engine: parses requests on a thread of its own, submits them to the Scheduler, and writes what
// happens to them as the family of the route wants it. Owns no socket and no model.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dgemma/dgemma.h"
#include "engine/fair_queue.h"
#include "engine/scheduler.h"
#include "server/completion_wire.h"
#include "server/frames_watch.h"
#include "server/health.h"
#include "server/limits.h"
#include "server/llama_server.h"
#include "server/metrics.h"
#include "server/router.h"

namespace dgemma {

/// What the service is told at the start.
struct ServiceOptions {
  ServerLimits limits;
  ServedFacts served;  ///< served.defaults are those of answers whose request says nothing
  /// Seeds of requests that name none, 32 bits each. Called by the service's thread only.
  std::function<uint32_t()> random_seed;
};

class CompletionService {
 public:
  /// Engine, scheduler and metrics (may be null) outlive the service; so must the service the HttpServer that uses its routes.
  CompletionService(const Engine& engine, Scheduler& scheduler, Metrics* metrics, ServiceOptions options);
  /// Drops requests that were not submitted yet. Call Scheduler::Stop before.
  ~CompletionService();
  CompletionService(const CompletionService&) = delete;
  CompletionService& operator=(const CompletionService&) = delete;

  /// Routes of all families, and GET /v1/diffusion/{id}/frames.
  std::vector<Route> Routes();

  /// For HealthRoutes.
  EngineState State() const;
  /// For Metrics::OnScrape: sets what the Scheduler counts.
  void SetMetrics(Metrics& metrics) const;

 private:
  /// A handler that works on the service's thread, where parsing and tokenizing may take their time.
  HttpHandler Queued(ApiFamily family, std::function<void(const HttpRequest&, const Reply&)> work);
  /// The same for work that ends in the Scheduler: while its queue is full, the refusal needs neither parsing nor that
  /// thread.
  HttpHandler Admitted(ApiFamily family, std::function<void(const HttpRequest&, const Reply&)> work);
  Route Completion(std::string pattern, const WireFamily& family);
  /// A route that answers with a text: GET, or POST with a body.
  using Telling = std::function<Result<std::string>(const HttpRequest&)>;
  Route Told(HttpMethod method, std::string pattern, ApiFamily family, Telling telling);
  void AddOpenAi(std::vector<Route>& routes);
  void AddAnthropic(std::vector<Route>& routes);
  void AddOllama(std::vector<Route>& routes);
  void AddLlamaServer(std::vector<Route>& routes);
  void AddRefusals(std::vector<Route>& routes);
  void Answer(const WireFamily& family, const HttpRequest& request, const Reply& reply);
  void Loop();

  const Engine& engine_;
  Scheduler& scheduler_;
  Metrics* const metrics_;
  const ServiceOptions options_;
  const int64_t started_;  // seconds since 1970
  FramesWatch watch_;

  std::mutex mutex_;
  std::condition_variable wake_;
  FairQueue<std::function<void()>> work_;  // owners are keys: none waits for all that another has sent
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace dgemma
