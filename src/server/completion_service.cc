// Routes and the service's thread.
#include "server/completion_service.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <random>
#include <utility>

#include "base/try.h"
#include "server/anthropic.h"
#include "server/completion_run.h"
#include "server/ollama.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_fields.h"
#include "server/openai_responses.h"

namespace dgemma {
namespace {

constexpr int64_t kMostWork = 256;  // requests that wait to be parsed
constexpr int64_t kMostWorkOfAKey = 128;

/// 96 random bits: knowing the id of a completion is what lets one watch it.
std::string RandomId() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
}

int64_t NowUs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace

CompletionService::CompletionService(const Engine& engine, Scheduler& scheduler, Metrics* metrics,
                                     ServiceOptions options)
    : engine_(engine),
      scheduler_(scheduler),
      metrics_(metrics),
      options_(std::move(options)),
      started_(NowUs() / 1'000'000),
      watch_(engine) {
  thread_ = std::thread([this] { Loop(); });
}

CompletionService::~CompletionService() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void CompletionService::Loop() {
  while (true) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !work_.empty(); });
      if (stopping_) return;
      work = *work_.Pop([](const auto&) { return true; });
    }
    try {
      work();
    } catch (
        const std::exception&) {  // no memory even for the error; the reply goes with the work, and the client gets 500
    }
  }
}

HttpHandler CompletionService::Queued(ApiFamily family, std::function<void(const HttpRequest&, const Reply&)> work) {
  return [this, family, work = std::move(work)](HttpRequest request, Reply reply) {
    const std::string id = request.id, owner = request.caller.key_name;
    auto job = [work, request = std::make_shared<HttpRequest>(std::move(request)), reply, family] {
      try {
        work(*request, reply);
      } catch (const std::exception&) {  // memory ran out: this request fails, the server goes on
        HttpError error;
        error.status = 503;
        error.message = "The server has no memory for this request.";
        reply.Send(ErrorResponse(family, error, request->id));
      }
    };
    {
      const std::scoped_lock lock(mutex_);
      if (work_.size() < kMostWork && work_.size(owner) < kMostWorkOfAKey) {
        work_.Push(owner, std::move(job));
        wake_.notify_one();
        return;
      }
    }
    HttpError error;
    error.status = 429;
    error.message = "Too many requests wait.";
    error.code = "queue_full";
    error.retry_after_s = 1;
    reply.Send(ErrorResponse(family, error, id));
  };
}

HttpHandler CompletionService::Admitted(ApiFamily family, std::function<void(const HttpRequest&, const Reply&)> work) {
  return [this, family, queued = Queued(family, std::move(work))](HttpRequest request, const Reply& reply) {
    if (const auto refusal = scheduler_.WouldRefuse(request.caller.key_name)) {
      return reply.Send(ErrorResponse(family, ErrorOf(*refusal), request.id));
    }
    queued(std::move(request), reply);
  };
}

void CompletionService::Answer(const WireFamily& family, const HttpRequest& http, const Reply& reply) {
  const auto prepared = [&]() -> Result<std::pair<CompletionRequest, std::vector<Request>>> {
    DG_TRY(const boost::json::object body, ParseBody(http.body, options_.limits));
    DG_TRY(CompletionRequest request, family.parse(body, options_.limits));
    if (request.frames && !family.streams_frames) {
      return Fail(StatusCode::kUnsupported,
                  "diffusion.frames: is not supported here (clients of this stream know no frames; watch "
                  "/v1/diffusion/ID/frames, the ID is in X-Diffusion-Id)");
    }
    if (http.head.Field("x-diffusion-frames") == "1" && !request.frames && family.streams_frames)
      request.frames = FrameWish{};
    DG_TRY(std::vector<Request> requests,
           EngineRequests(request, engine_, options_.served.defaults, options_.random_seed()));
    return std::pair(std::move(request), std::move(requests));
  }();
  const RunIdentity identity{
      .id = std::string(family.id_prefix) + RandomId(), .caller = http.caller.key_name, .created = NowUs() / 1'000'000};
  if (!prepared) return reply.Send(ErrorResponse(family.errors, ErrorOf(prepared.error()), http.id));
  const RunParts parts{.engine = engine_,
                       .scheduler = scheduler_,
                       .metrics = metrics_,
                       .watch = watch_,
                       .request_ms = options_.limits.request_ms,
                       .queue_wait_ms = options_.limits.queue_wait_ms};
  RunningCompletion::Start(parts, family, std::move(prepared->first), std::move(prepared->second), identity, reply);
}

EngineState CompletionService::State() const {
  const SchedulerStats stats = scheduler_.stats();
  EngineState state;
  state.loaded = true;
  state.queued = stats.queued;
  state.active = stats.active;
  state.stalled_seconds = stats.stalled_seconds;
  state.pass_age_seconds = stats.last_pass_age_seconds;
  state.longest_pass_seconds = stats.longest_pass_seconds;
  return state;
}

Route CompletionService::Completion(std::string pattern, const WireFamily& family) {
  Route route;
  route.method = HttpMethod::kPost;
  route.pattern = std::move(pattern);
  route.body_bytes = options_.limits.text_body_bytes;
  route.family = family.errors;
  route.handler = Admitted(family.errors, [this, &family](const HttpRequest& request, const Reply& reply) {
    Answer(family, request, reply);
  });
  return route;
}

void CompletionService::SetMetrics(Metrics& metrics) const {
  const SchedulerStats stats = scheduler_.stats();
  const auto set = [&metrics](Metric metric, auto value) { metrics.Set(metric, static_cast<double>(value)); };
  set(Metric::kSlots, stats.slots);
  set(Metric::kActive, stats.active);
  set(Metric::kQueued, stats.queued);
  set(Metric::kPassAgeSeconds, stats.last_pass_age_seconds);
  set(Metric::kStalledSeconds, stats.stalled_seconds);
  set(Metric::kLongestPassSeconds, stats.longest_pass_seconds);
  set(Metric::kPasses, stats.passes);
  set(Metric::kPassRows, stats.rows);
  set(Metric::kPassSeconds, stats.pass_seconds_total);
  set(Metric::kFailedPasses, stats.failed_passes);
  set(Metric::kAnswered, stats.answered);
  set(Metric::kCancelled, stats.cancelled);
  set(Metric::kTimedOut, stats.timed_out);
  set(Metric::kExpiredInQueue, stats.expired_in_queue);
  set(Metric::kFailed, stats.failed);
  set(Metric::kQueueRefused, stats.refused);
  set(Metric::kPromptTokens, stats.prompt_tokens);
  set(Metric::kCachedTokens, stats.cached_tokens);
  set(Metric::kAnswerTokens, stats.answer_tokens);
  set(Metric::kCanvases, stats.canvases);
  set(Metric::kDenoisePasses, stats.denoise_passes);
  set(Metric::kAcceptedRows, stats.accepted_rows);
  set(Metric::kPrefixHits, stats.prefix_hits);
  set(Metric::kPrefixMisses, stats.prefix_misses);
}

Route CompletionService::Told(HttpMethod method, std::string pattern, ApiFamily family, Telling telling) {
  Route route;
  route.method = method;
  route.pattern = std::move(pattern);
  route.family = family;
  if (method == HttpMethod::kPost) route.body_bytes = options_.limits.text_body_bytes;
  route.handler =
      Queued(family, [family, telling = std::move(telling)](const HttpRequest& request, const Reply& reply) {
        const Result<std::string> told = telling(request);
        if (!told) return reply.Send(ErrorResponse(family, ErrorOf(told.error()), request.id));
        HttpResponse response;
        response.body = *told;
        reply.Send(std::move(response));
      });
  return route;
}

void CompletionService::AddOpenAi(std::vector<Route>& routes) {
  routes.push_back(Completion("/v1/completions", OpenAiCompletions()));
  // llama-server has these without /v1 too, where clients look whose address was given without it.
  for (const char* prefix : {"/v1", ""}) {
    routes.push_back(Completion(fmt::format("{}/chat/completions", prefix), OpenAiChat()));
    routes.push_back(Completion(fmt::format("{}/responses", prefix), OpenAiResponses()));
    routes.push_back(
        Told(HttpMethod::kGet, fmt::format("{}/models", prefix), ApiFamily::kOpenAi,
             [this](const HttpRequest&) -> Result<std::string> { return ModelList(engine_.facts(), started_); }));
  }
  routes.push_back(Told(HttpMethod::kGet, "/v1/models/{id...}", ApiFamily::kOpenAi,
                        [this](const HttpRequest& request) -> Result<std::string> {
                          if (request.parameters.front() != engine_.facts().name)
                            return Fail(StatusCode::kNotFound, "There is no model with this id.");
                          return JsonLine(ModelEntry(engine_.facts(), started_));
                        }));
  Route watch;
  watch.pattern = "/v1/diffusion/{id}/frames";
  watch.handler = Queued(ApiFamily::kOpenAi, [this](const HttpRequest& request, const Reply& reply) {
    const auto wish = FrameWishOf(request.head.query);
    if (!wish) return reply.Send(ErrorResponse(ApiFamily::kOpenAi, ErrorOf(wish.error()), request.id));
    watch_.Watch(request.parameters.front(), request.caller.key_name, *wish, reply);
  });
  routes.push_back(std::move(watch));
}

void CompletionService::AddAnthropic(std::vector<Route>& routes) {
  routes.push_back(Completion("/v1/messages", Anthropic()));
  routes.push_back(Told(HttpMethod::kPost, "/v1/messages/count_tokens", ApiFamily::kAnthropic,
                        [this](const HttpRequest& request) -> Result<std::string> {
                          DG_TRY(const boost::json::object body, ParseBody(request.body, options_.limits));
                          DG_TRY(const CompletionRequest counted, ParseAnthropicCount(body, options_.limits));
                          DG_TRY(const auto requests, EngineRequests(counted, engine_, options_.served.defaults, 0));
                          return JsonLine(boost::json::object{
                              {"input_tokens", static_cast<int64_t>(requests.front().prompt_tokens.size())}});
                        }));
}

void CompletionService::AddOllama(std::vector<Route>& routes) {
  constexpr ApiFamily kFamily = ApiFamily::kOllama;
  // A request without a text asks for the model to be loaded; it is.
  const auto load_or = [this](std::string pattern, const WireFamily& family, bool chat) {
    Route route = Completion(std::move(pattern), family);
    route.handler = Admitted(kFamily, [this, &family, chat](const HttpRequest& request, const Reply& reply) {
      const auto body = ParseBody(request.body, options_.limits);
      if (!body || !IsOllamaLoad(*body)) return Answer(family, request, reply);
      HttpResponse response;
      response.body = OllamaLoaded(engine_.facts(), chat, NowUs());
      reply.Send(std::move(response));
    });
    return route;
  };
  routes.push_back(load_or("/api/chat", OllamaChat(), true));
  routes.push_back(load_or("/api/generate", OllamaGenerate(), false));
  routes.push_back(Told(HttpMethod::kGet, "/api/tags", kFamily, [this](const HttpRequest&) -> Result<std::string> {
    return OllamaTags(engine_.facts(), engine_.plan(), started_ * 1'000'000);
  }));
  routes.push_back(Told(HttpMethod::kGet, "/api/ps", kFamily, [this](const HttpRequest&) -> Result<std::string> {
    return OllamaRunning(engine_.facts(), engine_.plan(), NowUs());
  }));
  routes.push_back(Told(HttpMethod::kPost, "/api/show", kFamily, [this](const HttpRequest&) -> Result<std::string> {
    return OllamaShow(engine_.facts(), options_.served.defaults, started_ * 1'000'000);
  }));
  routes.push_back(Told(HttpMethod::kGet, "/api/version", kFamily,
                        [](const HttpRequest&) -> Result<std::string> { return OllamaVersion(); }));
}

void CompletionService::AddLlamaServer(std::vector<Route>& routes) {
  constexpr ApiFamily kFamily = ApiFamily::kOpenAi;
  for (const char* path : {"/completion", "/completions"}) routes.push_back(Completion(path, LlamaCompletion()));
  const auto with_body = [this](auto tell) {
    return [this, tell](const HttpRequest& request) -> Result<std::string> {
      DG_TRY(const boost::json::object body, ParseBody(request.body, options_.limits));
      return tell(body);
    };
  };
  routes.push_back(Told(HttpMethod::kPost, "/tokenize", kFamily,
                        with_body([this](const boost::json::object& body) { return LlamaTokenize(body, engine_); })));
  routes.push_back(Told(HttpMethod::kPost, "/detokenize", kFamily,
                        with_body([this](const boost::json::object& body) { return LlamaDetokenize(body, engine_); })));
  routes.push_back(
      Told(HttpMethod::kPost, "/apply-template", kFamily, with_body([this](const boost::json::object& body) {
             return LlamaApplyTemplate(body, engine_, options_.limits);
           })));
  routes.push_back(Told(HttpMethod::kGet, "/props", kFamily, [this](const HttpRequest&) -> Result<std::string> {
    return LlamaProps(engine_.facts(), options_.served, scheduler_.stats().slots);
  }));
  routes.push_back(Told(HttpMethod::kGet, "/slots", kFamily, [this](const HttpRequest&) -> Result<std::string> {
    return LlamaSlots(engine_.facts(), scheduler_.stats());
  }));
}

/// Known to clients, not to this server.
void CompletionService::AddRefusals(std::vector<Route>& routes) {
  const auto refuse = [&](std::string pattern, ApiFamily family) {
    Route route;
    route.method = HttpMethod::kPost;
    route.pattern = std::move(pattern);
    route.body_bytes = options_.limits.text_body_bytes;
    route.family = family;
    route.handler = [family](const HttpRequest& request, const Reply& reply) {
      HttpError error;
      error.status = 501;
      error.message = "This model makes no embeddings.";
      error.code = "unsupported";
      reply.Send(ErrorResponse(family, error, request.id));
    };
    routes.push_back(std::move(route));
  };
  for (const char* path : {"/v1/embeddings", "/embeddings"}) refuse(path, ApiFamily::kOpenAi);
  refuse("/api/embed", ApiFamily::kOllama);
  refuse("/api/embeddings", ApiFamily::kOllama);
}

std::vector<Route> CompletionService::Routes() {
  std::vector<Route> routes;
  AddOpenAi(routes);
  AddAnthropic(routes);
  AddOllama(routes);
  AddLlamaServer(routes);
  AddRefusals(routes);
  return routes;
}

}  // namespace dgemma
