// The HTTP/1.1 server: one network thread, limits on everything a client can do, TLS when asked. Knows routes, not models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/router.h"

namespace dgemma {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  ///< an IP address or "localhost"; anything but loopback needs a key
  int port = 8080;                 ///< 0: any free one, see HttpServer::port()
  std::string tls_key_file;        ///< PEM; both or neither
  std::string tls_cert_file;       ///< PEM, chain in order
  ServerLimits limits;
  /// One line for each request, without line end and without text of requests. On the network thread; may be empty.
  std::function<void(std::string_view line)> log;
  /// Called on the network thread every tick_ms, such as to tell a service manager that it lives. May be empty.
  std::function<void()> tick;
  int64_t tick_ms = 10'000;
  /// May be null; must outlive the server.
  Metrics* metrics = nullptr;
};

class HttpServer {
 public:
  /// Listens and starts the network thread. `router` must outlive the server. Fails with kInvalidArgument for a host that
  /// must not be listened on (CheckExposure), kInvalidFile for TLS files, kIo when the address cannot be had.
  static Result<std::unique_ptr<HttpServer>> Start(const Router& router, HttpServerOptions options);
  /// Closes everything at once and ends the network thread.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Requests whose head comes from now on are answered by `router`, such as when the model has been loaded. It must
  /// have the same keys and outlive the server; so must the router before. Any thread.
  void Use(const Router& router);

  /// The port that is listened on.
  int port() const;
  /// Stops listening, closes idle connections, lets answers finish; after limits.drain_ms those left are told to stop
  /// (StopReason::kShutdown) and after limits.stop_grace_ms they are cut. Returns at once. Any thread.
  void Drain();
  bool draining() const;
  /// Waits until nothing is left after Drain().
  void Wait();

  /// Open connections, for tests and metrics.
  size_t connections() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace dgemma
