// The handlers and the desk.
#include "test_server.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <utility>

namespace dgemma {

void Desk::Put(HttpRequest request, Reply reply) {
  const std::scoped_lock lock(mutex_);
  requests_.push_back(std::move(request));
  replies_.push_back(std::move(reply));
  more_.notify_all();
}

bool Desk::WaitFor(size_t count) {
  std::unique_lock lock(mutex_);
  return more_.wait_for(lock, std::chrono::seconds(10), [&] { return replies_.size() >= count; });
}

Reply Desk::reply(size_t index) {
  const std::scoped_lock lock(mutex_);
  return replies_.at(index);
}

HttpRequest Desk::request(size_t index) {
  const std::scoped_lock lock(mutex_);
  return requests_.at(index);
}

size_t Desk::size() {
  const std::scoped_lock lock(mutex_);
  return replies_.size();
}

void Desk::Clear() {
  std::vector<Reply> gone;  // let go without the lock
  const std::scoped_lock lock(mutex_);
  gone.swap(replies_);
  requests_.clear();
}

TestServer::TestServer(TestServerOptions options) {
  engine_.loaded = true;
  const size_t body = options.limits.text_body_bytes;
  const auto route = [](HttpMethod method, std::string pattern, size_t body_bytes, HttpHandler handler) {
    return Route{.method = method,
                 .pattern = std::move(pattern),
                 .access = Access::kKey,
                 .body_bytes = body_bytes,
                 .family = ApiFamily::kOpenAi,
                 .handler = std::move(handler)};
  };
  const auto text = [](std::string words) {
    return HttpResponse{.status = 200, .content_type = "text/plain", .body = std::move(words), .fields = {}};
  };
  const HttpHandler hold = [this](HttpRequest request, Reply reply) { desk.Put(std::move(request), std::move(reply)); };
  std::vector<Route> routes = {
      route(HttpMethod::kGet, "/hello", 0, [=](const HttpRequest&, const Reply& reply) { reply.Send(text("hello")); }),
      route(HttpMethod::kPost, "/echo", body,
            [=](HttpRequest request, const Reply& reply) { reply.Send(text(std::move(request.body))); }),
      route(HttpMethod::kPost, "/hold", body, hold),
      route(HttpMethod::kGet, "/hold", 0, hold),
      route(HttpMethod::kGet, "/throw", 0,
            [](const HttpRequest&, const Reply&) { throw std::runtime_error("secret"); }),
      route(HttpMethod::kGet, "/drop", 0, [](const HttpRequest&, const Reply&) {}),
      route(HttpMethod::kGet, "/big", 0,
            [=](const HttpRequest&, const Reply& reply) { reply.Send(text(std::string(4 << 20, 'b'))); }),
      route(HttpMethod::kGet, "/items/{id}", 0,
            [=](const HttpRequest& request, const Reply& reply) { reply.Send(text(request.parameters[0])); }),
      route(HttpMethod::kGet, "/rest/{path...}", 0,
            [=](const HttpRequest& request, const Reply& reply) { reply.Send(text(request.parameters[0])); })};
  for (Route& health : HealthRoutes({.engine =
                                         [this] {
                                           const std::scoped_lock lock(mutex_);
                                           return engine_;
                                         },
                                     .draining = [] { return false; }})) {
    routes.push_back(std::move(health));
  }
  routes.push_back(MetricsRoute(metrics));
  router = std::make_unique<Router>(std::move(routes), RouterOptions{.keys = std::move(options.keys),
                                                                     .allowed_hosts = std::move(options.allowed_hosts),
                                                                     .cors_origins = std::move(options.cors_origins)});
  HttpServerOptions server_options;
  server_options.port = 0;
  server_options.limits = options.limits;
  server_options.tls_key_file = options.tls_key_file;
  server_options.tls_cert_file = options.tls_cert_file;
  server_options.metrics = &metrics;
  server_options.log = [this](std::string_view line) {
    const std::scoped_lock lock(mutex_);
    log_.emplace_back(line);
  };
  auto started = HttpServer::Start(*router, std::move(server_options));
  if (!started) throw std::runtime_error(started.error().message);
  server = *std::move(started);
}

void TestServer::SetEngine(const EngineState& state) {
  const std::scoped_lock lock(mutex_);
  engine_ = state;
}

TestServer::~TestServer() { server = nullptr; }

bool TestServer::HasConnections(size_t count) const {
  for (int tries = 0; tries < 2000; ++tries) {
    if (server->connections() == count) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

std::vector<std::string> TestServer::Log() {
  const std::scoped_lock lock(mutex_);
  return log_;
}

}  // namespace dgemma
