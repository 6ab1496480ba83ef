// A server on a free port with handlers that a test can watch and hold.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "raw_client.h"
#include "server/health.h"
#include "server/http_server.h"

namespace dgemma {

/// What the handlers of a TestServer leave behind. Any thread.
class Desk {
 public:
  void Put(HttpRequest request, Reply reply);
  /// Waits until `count` requests in all have been put; false after ten seconds.
  bool WaitFor(size_t count);
  Reply reply(size_t index);
  HttpRequest request(size_t index);
  size_t size();
  void Clear();

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<HttpRequest> requests_;
  std::vector<Reply> replies_;
};

struct TestServerOptions {
  ServerLimits limits = {};
  KeyRing keys = {};
  std::vector<std::string> allowed_hosts = {};
  std::vector<std::string> cors_origins = {};
  std::string tls_key_file = {};
  std::string tls_cert_file = {};
};

/// Routes: GET /hello ("hello"), POST /echo (its body), POST|GET /hold (to the desk), GET /throw, GET /drop (no answer),
/// GET /big (4 MiB), GET /items/{id}, GET /rest/{path...}, and those of health.
class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {});
  ~TestServer();

  int port() const { return server->port(); }
  RawClient Client(const std::string& from = "127.0.0.1") const { return RawClient(port(), from); }
  /// Waits until the server has `count` open connections; false after ten seconds.
  bool HasConnections(size_t count) const;
  std::vector<std::string> Log();

  Desk desk;
  Metrics metrics;
  /// What health is told; loaded and idle at first.
  void SetEngine(const EngineState& state);
  std::unique_ptr<Router> router;
  std::unique_ptr<HttpServer> server;

 private:
  std::mutex mutex_;
  EngineState engine_;
  std::vector<std::string> log_;
};

}  // namespace dgemma
