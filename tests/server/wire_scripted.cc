// The scripted model, and a server around it.
#include "wire_scripted.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace dgemma::test {
namespace {

std::string StarterFile(const std::string& name) {
  std::ifstream file(std::string(DGEMMA_SOURCE_DIR) + "/models/starter/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The value of a position in the layer that keeps all of them.
float& Token(const KvCache& cache, int64_t pos) {
  const KvStore store = cache.Layer(1);
  return store.v[store.ValueIndex(0, pos, 0)];
}

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

}  // namespace

std::string ScriptedReply(std::string prompt) {
  const size_t result = prompt.rfind("<|tool_response>response:");
  const size_t user = prompt.rfind("<|turn>user\n");
  if (result != std::string::npos && (user == std::string::npos || result > user)) {
    const std::string_view tail = std::string_view(prompt).substr(result);
    const size_t begin = tail.find("<|\"|>"), end = tail.rfind("<|\"|>");
    const std::string text(begin < end ? tail.substr(begin + 5, end - begin - 5) : std::string_view("none"));
    return "result: " + text + "<turn|>";
  }
  if (user != std::string::npos) prompt = prompt.substr(user + std::string_view("<|turn>user\n").size());
  std::string reply = prompt.substr(0, prompt.find("<turn|>"));
  const bool calls = reply.find("[call]") != std::string::npos;
  for (const auto& [from, to] : {std::pair{"[think]", "<|channel>thought\n"},
                                 {"[/think]", "\n<channel|>"},
                                 {"[call]", "<|tool_call>call:"},
                                 {"[/call]", "<tool_call|>"},
                                 {"[q]", "<|\"|>"}}) {
    reply = Replaced(reply, from, to);
  }
  return reply + (calls ? "<|tool_response>" : "<turn|>");
}

Result<void> WirePasses::Run(std::span<PassJob* const> jobs, std::stop_token stop) {
  ++passes;
  for (int waited = 0; waited < milliseconds && !stop.stop_requested(); ++waited)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  while (frozen) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
  rows_.clear();
  for (PassJob* job : jobs) Predict(*job);
  return {};
}

void WirePasses::Predict(PassJob& job) {
  bool continues = false;
  for (const Segment& segment : job.segments) {
    Sheet& sheet = sheets_[segment.cache];
    if (segment.causal()) {
      continues = continues || segment.kind == SegmentKind::kCommit;
      segment.cache->WillWrite(segment.pos + segment.rows());
      for (int64_t row = 0; row < segment.rows(); ++row) {
        Token(*segment.cache, segment.pos + row) = static_cast<float>(segment.tokens[static_cast<size_t>(row)]);
      }
      segment.cache->Append(segment.rows());
      continue;
    }
    if (segment.soft.data == nullptr) {
      sheet.step = 0;
      if (!continues) {
        std::vector<int32_t> prompt;
        for (int64_t pos = 0; pos < segment.pos; ++pos)
          prompt.push_back(static_cast<int32_t>(Token(*segment.cache, pos)));
        sheet.reply_begin = segment.pos;
        sheet.reply = texts_.TokenizeMarkup(ScriptedReply(texts_.Detokenize(prompt)));
      }
    }
    const bool sure = ++sheet.step >= 2;
    std::vector<HeadRow>& rows = rows_.emplace_back();
    for (int64_t row = 0; row < segment.rows(); ++row) {
      const auto at = static_cast<size_t>(segment.pos - sheet.reply_begin + segment.Place(row));
      const int32_t id = at < sheet.reply.size() ? sheet.reply[at] : 1;
      rows.push_back({id, 1.0f, sure ? 0.0f : 1.0f, true});
    }
    if (poison) rows.back() = {0, NAN, NAN, false};
    job.predictions = {&kernels_, scratch_.get(), 0, rows, {soft_.data(), segment.rows(), 4, 4}};
  }
}

ScriptedServer::ScriptedServer(const ScriptedServerOptions& options) : model{WireConfig(), {}, kernels, 1.0f} {
  EngineOptions engine_options;
  engine_options.threads = 1;
  auto loaded = Engine::Load(std::string(DGEMMA_SOURCE_DIR) + "/models/starter", engine_options);
  EXPECT_TRUE(loaded) << loaded.error().message;
  engine = *std::move(loaded);
  tokenizer_ = std::make_unique<Tokenizer>(*Tokenizer::FromJson(StarterFile("tokenizer.json")));
  passes = std::make_unique<WirePasses>(*engine, kernels, options.slots);
  parts_.answers.model = &model;
  parts_.answers.tokenizer = tokenizer_.get();
  parts_.answers.now = [this] { return std::chrono::steady_clock::now() + clock_ahead.load(); };
  parts_.executor = passes.get();
  parts_.slots = options.slots;
  parts_.context_tokens = WireConfig().max_positions;
  SchedulerOptions scheduling;
  scheduling.queued_requests = static_cast<int64_t>(options.limits.queue_requests);
  scheduler = *Scheduler::Create(parts_, scheduling);

  ServiceOptions service_options;
  service_options.limits = options.limits;
  service_options.served.defaults = engine->Defaults();
  service_options.served.defaults.max_new_tokens = -1;
  service_options.random_seed = [] { return 7U; };
  service = std::make_unique<CompletionService>(*engine, *scheduler, &metrics, std::move(service_options));
  RouterOptions router_options;
  for (const auto& [name, key] : options.keys) EXPECT_TRUE(router_options.keys.Add(name, key));
  std::vector<Route> routes = service->Routes();
  const HealthSource health{.engine = [this] { return service->State(); }, .draining = [] { return false; }};
  for (Route& route : HealthRoutes(health)) routes.push_back(std::move(route));
  metrics.OnScrape([this](Metrics& table) { service->SetMetrics(table); });
  routes.push_back(MetricsRoute(metrics));
  router = std::make_unique<Router>(std::move(routes), std::move(router_options));
  scheduler->Start();
  HttpServerOptions http;
  http.port = options.port;
  http.limits = options.limits;
  http.metrics = &metrics;
  http.log = [this](std::string_view line) {
    const std::scoped_lock lock(log_mutex_);
    log_ += std::string(line) + '\n';
  };
  auto started = HttpServer::Start(*router, http);
  EXPECT_TRUE(started) << started.error().message;
  server = *std::move(started);
}

std::string ScriptedServer::Log() {
  const std::scoped_lock lock(log_mutex_);
  return log_;
}

ScriptedServer::~ScriptedServer() {
  passes->frozen = false;
  server.reset();
  scheduler->Stop();
  service.reset();
}

}  // namespace dgemma::test
