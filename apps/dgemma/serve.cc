// `dgemma serve`: the model behind HTTP. Listens, loads the model (meanwhile health says so and all else is put off),
// builds scheduler and service, says that it is ready, and waits for the signal to stop.
#include <fmt/format.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "embedded_model.h"
#include "engine/scheduler.h"
#include "model_source.h"
#include "page.h"
#include "server/completion_service.h"
#include "server/health.h"
#include "server/http_server.h"
#include "server/key_check.h"
#include "server/metrics.h"
#include "server/router.h"
#include "server/service_notify.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr const char* kHelp =
    "Serves a model over HTTP in the shapes of OpenAI, Anthropic, Ollama and llama-server, and a page for people.";

constexpr const char* kExamples =
    "Without a MODEL the small embedded model answers. docs/SERVER.md has the endpoints, with clients and limits.\n"
    "Keys are read from --api-key-file (one a line, `name:key` or `key`) or the variable DGEMMA_API_KEY. Listening "
    "beyond\n"
    "this machine needs a key. The first Ctrl-C or SIGTERM lets answers finish, a second one ends at once.\n"
    "\n"
    "Examples:\n"
    "  dgemma serve                               # the embedded model, port 8080\n"
    "  dgemma serve ~/models/diffusiongemma -np 4\n"
    "  dgemma serve --port 11434 --no-ui          # where clients of Ollama look\n"
    "  dgemma serve DIR --host 0.0.0.0 --api-key-file keys.txt";

constexpr int kMostParallel = 64;
constexpr int kUsualParallel = 4;
constexpr int kHighestPort = 65'535;

struct ServeArguments {
  ModelSource source;
  HttpServerOptions http;
  RouterOptions router;
  std::string key_file;
  int parallel = 0;  ///< 0: as many as fit into memory, at most kUsualParallel
  bool page = true;
};

/// With room for the answers at a time that were asked for, or for as many as the memory plan allows. The plan is
/// checked before weights are read, so a smaller one costs nothing. Sets serve.parallel.
Result<std::unique_ptr<Engine>> LoadForServing(Program& program, ServeArguments& serve) {
  const bool asked = serve.parallel > 0;
  serve.source.options.skipping = true;  // as SchedulerOptions do
  for (serve.parallel = asked ? serve.parallel : kUsualParallel;; --serve.parallel) {
    serve.source.options.sessions = serve.parallel;
    auto engine = LoadForChat(program, serve.source);
    const bool too_large = !engine && engine.error().code == StatusCode::kResourceExhausted;
    if (asked || serve.parallel == 1 || !too_large) return engine;
  }
}

Result<KeyRing> ReadKeys(const ServeArguments& serve) {
  KeyRing keys;
  if (!serve.key_file.empty()) DG_CHECK_OK(keys.AddFile(serve.key_file));
  if (const char* key = std::getenv("DGEMMA_API_KEY"); key != nullptr && *key != '\0') {
    auto added = keys.Add("environment", key);
    if (!added) return std::unexpected(added.error().At("DGEMMA_API_KEY"));
  }
  return keys;
}

ServiceOptions OptionsOf(const ServeArguments& serve, const Engine& engine) {
  ServiceOptions options;
  options.limits = serve.http.limits;
  options.served.defaults = DefaultsOf(engine, serve.source);
  options.served.single_prompts = IsEmbedded(serve.source);
  if (IsEmbedded(serve.source)) {
    for (const std::string_view prompt : EmbeddedPrompts()) options.served.examples.emplace_back(prompt);
  }
  options.random_seed = [device = std::make_shared<std::random_device>()] { return (*device)(); };
  return options;
}

std::string Address(const ServeArguments& serve, int port) {
  const bool v6 = serve.http.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", serve.http.tls_cert_file.empty() ? "http" : "https", v6 ? "[" : "",
                     serve.http.host, v6 ? "]" : "", port);
}

/// The line that programs wait for is the only one on standard output. It comes when requests are taken.
void Announce(Program& program, const ServeArguments& serve, const Engine& engine, int port) {
  const ModelFacts& facts = engine.facts();
  const MemoryPlan& plan = engine.plan();
  const auto mb = [](int64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  program.Note(fmt::format("model {}: {:.1f} M parameters, {}, {}, context {}", facts.name,
                           static_cast<double>(facts.parameters) / 1e6, facts.dtype, facts.backend,
                           facts.context_tokens));
  program.Note(fmt::format("memory {:.1f} MB: weights {:.1f}, {} x (cache {:.1f}, skipping {:.1f}), pass {:.1f}",
                           mb(plan.Total()), mb(plan.weights), serve.parallel, mb(plan.cache_per_session),
                           mb(plan.skip_per_session), mb(plan.pass)));
  program.out.Write(fmt::format("listening on {}\n", Address(serve, port)));
  if (serve.page) program.Note(fmt::format("page {}/", Address(serve, port)));
}

/// Keys and conversations must not end up in a file when the process crashes. The limit is not heeded where cores go to
/// a program (core_pattern); the attribute is.
void ForbidCoreDumps() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  (void)::setrlimit(RLIMIT_CORE, &none);
#if defined(__linux__)
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

void Notify(std::string_view message) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name != nullptr) (void)NotifyService(name, message);
}

/// What the network thread asks how the engine is; null until the model is loaded.
using Serving = std::atomic<const CompletionService*>;

/// From the loaded model to the last answer. What the server uses is older than it in here, so it goes first.
Result<void> ServeModel(Program& program, const ServeArguments& serve, const Engine& engine, Scheduler& scheduler,
                        Serving& serving, std::unique_ptr<HttpServer> listening) {
  Metrics& metrics = *serve.http.metrics;
  CompletionService service(engine, scheduler, &metrics, OptionsOf(serve, engine));
  metrics.OnScrape([&service](Metrics& table) { service.SetMetrics(table); });
  std::vector<Route> routes = service.Routes();
  const HealthSource health{.engine = [&service] { return service.State(); },
                            .draining = [server = listening.get()] { return server->draining(); }};
  for (Route& route : HealthRoutes(health)) routes.push_back(std::move(route));
  if (serve.page) routes.push_back(PageRoute());
  routes.push_back(MetricsRoute(metrics));
  const Router router(std::move(routes), serve.router);
  const std::unique_ptr<HttpServer> server = std::move(listening);

  scheduler.Start();
  serving = &service;
  server->Use(router);
  const Signals::Scope scope(program.signals, [&server, &scheduler] {
    server->Drain();
    scheduler.CloseQueue();
  });
  Announce(program, serve, engine, server->port());
  Notify("READY=1");
  server->Wait();
  Notify("STOPPING=1");
  scheduler.Stop();
  return {};
}

Result<void> Serve(Program& program, ServeArguments& serve) {
  DG_TRY(serve.router.keys, ReadKeys(serve));
  DG_CHECK_OK(CheckExists(serve.source));
  ForbidCoreDumps();

  // Listening comes before a long loading: an address that is taken is known at once, and who asks hears how things
  // stand.
  Metrics metrics;
  serve.http.metrics = &metrics;
  serve.http.log = [&program](std::string_view line) { program.Note(line); };
  Serving serving = nullptr;
  serve.http.tick = [&serving, request_ms = serve.http.limits.request_ms] {
    const CompletionService* service = serving;
    if (service == nullptr || IsWorthKeeping(service->State(), request_ms)) Notify("WATCHDOG=1");
  };
  std::vector<Route> routes = LoadingRoutes(serve.http.limits.text_body_bytes);
  if (serve.page) routes.push_back(PageRoute());
  const Router loading(std::move(routes), serve.router);
  DG_TRY(std::unique_ptr<HttpServer> server, HttpServer::Start(loading, serve.http));
  if (!IsEmbedded(serve.source)) {
    program.Note(fmt::format("loading; until then {} answers 503", Address(serve, server->port())));
  }

  DG_TRY(const std::unique_ptr<Engine> engine, LoadForServing(program, serve));
  SchedulerOptions scheduling;
  scheduling.queued_requests = static_cast<int64_t>(serve.http.limits.queue_requests);
  DG_TRY(const std::unique_ptr<Scheduler> scheduler, Scheduler::Create(*engine, scheduling));
  return ServeModel(program, serve, *engine, *scheduler, serving, std::move(server));
}

void AddServerFlags(CLI::App& verb, ServeArguments& serve) {
  verb.add_option("--host", serve.http.host, "the address to listen on")->capture_default_str()->group("Server");
  verb.add_option("--port", serve.http.port, "the port; 0 takes a free one and prints it")
      ->capture_default_str()
      ->check(CLI::Range(0, kHighestPort))
      ->type_name("N")
      ->group("Server");
  verb.add_option("-P,--parallel", serve.parallel,
                  "answers written at the same time (also -np; default: 4, fewer where memory is short)")
      ->check(CLI::Range(1, kMostParallel))
      ->type_name("N")
      ->group("Server");
  verb.add_option("--api-key-file", serve.key_file, "keys that clients must show, one a line")
      ->type_name("FILE")
      ->group("Server");
  verb.add_option("--cors-origins", serve.router.cors_origins,
                  "web origins that may call, such as https://example.org; * is any")
      ->delimiter(',')
      ->type_name("ORIGIN[,ORIGIN]")
      ->group("Server");
  verb.add_option("--allowed-hosts", serve.router.allowed_hosts, "names under which clients may call besides localhost")
      ->delimiter(',')
      ->type_name("NAME[,NAME]")
      ->group("Server");
  auto* cert = verb.add_option("--ssl-cert-file", serve.http.tls_cert_file, "certificate chain, PEM")
                   ->type_name("FILE")
                   ->group("Server");
  auto* key = verb.add_option("--ssl-key-file", serve.http.tls_key_file, "its private key, PEM")
                  ->type_name("FILE")
                  ->group("Server");
  cert->needs(key);
  key->needs(cert);
  verb.add_flag_callback("--no-ui", [&serve] { serve.page = false; }, "leave out the page")->group("Server");
}

}  // namespace

void AddServe(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("serve", kHelp);
  verb->footer(kExamples);
  auto serve = std::make_shared<ServeArguments>();
  verb->add_option("model", serve->source.model, "a folder or a GGUF file; without it the embedded model")
      ->check(NotEmpty)
      ->type_name("[MODEL]");
  AddServerFlags(*verb, *serve);
  AddLoadFlags(*verb, serve->source, ModelFlag::kNo);
  AddCommonFlags(*verb, program);
  verb->callback([serve, &program] {
    const auto done = Serve(program, *serve);
    if (!done) program.Fail("serve", done.error());
  });
}

}  // namespace dgemma
