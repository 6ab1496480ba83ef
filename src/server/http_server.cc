// Listening, accepting, and the life of the network thread.
#include "server/http_server.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/try.h"
#include "server/connection.h"
#include "server/connection_table.h"
#include "server/socket_stream.h"

namespace dgemma {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 512;
// After an accept that failed for want of descriptors or memory.
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::milliseconds kMemoryPause{1};
constexpr uint64_t kTurnNs = 100'000;

/// What connections_per_address counts together: an IPv4 address, or the 64 bits of IPv6 that one customer has.
std::string AddressGroup(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  auto bytes = v6.to_bytes();
  if (!v6.is_loopback()) std::fill(bytes.begin() + 8, bytes.end(), uint8_t{0});
  return asio::ip::address_v6(bytes).to_string();
}

/// The addresses of a host option; never a look-up.
Result<std::vector<asio::ip::address>> Addresses(const std::string& host) {
  if (host == "localhost")
    return std::vector<asio::ip::address>{asio::ip::address_v4::loopback(), asio::ip::address_v6::loopback()};
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return Fail(StatusCode::kInvalidArgument, "host: not an IP address or \"localhost\"");
  return std::vector{address};
}

Result<std::unique_ptr<asio::ssl::context>> MakeTls(const std::string& key_file, const std::string& cert_file) {
  if (key_file.empty() && cert_file.empty()) return nullptr;
  if (key_file.empty() || cert_file.empty()) {
    return Fail(StatusCode::kInvalidArgument, "TLS: a key file and a certificate file are needed");
  }
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  error_code error;
  // A key with a pass phrase fails here; nobody is there to type one.
  context->set_password_callback([](size_t, asio::ssl::context::password_purpose) { return std::string(); }, error);
  context->use_certificate_chain_file(cert_file, error);
  if (error) return Fail(StatusCode::kInvalidFile, cert_file + ": no certificate chain in PEM form");
  context->use_private_key_file(key_file, asio::ssl::context::pem, error);
  if (error) return Fail(StatusCode::kInvalidFile, key_file + ": no private key in PEM form, or not the certificate's");
  if (SSL_CTX_check_private_key(native) != 1) {
    return Fail(StatusCode::kInvalidFile, key_file + ": not the certificate's key");
  }
  return context;
}

/// Tells the system that the calling thread runs for moments only, so that it need not wait for the end of another's
/// turn: health and refusals are prompt while passes keep every core busy. Since Linux 6.12; elsewhere nothing happens.
void AskForShortTurns() {
#if defined(__linux__) && defined(SYS_sched_setattr)
  struct {
    uint32_t size = sizeof(*this);
    uint32_t policy = 0;
    uint64_t flags = 0;
    int32_t nice = 0;
    uint32_t priority = 0;
    uint64_t runtime_ns = 0;
    uint64_t deadline_ns = 0;
    uint64_t period_ns = 0;
  } wish;
  if (::syscall(SYS_sched_getattr, 0, &wish, sizeof(wish), 0) != 0) return;
  wish.runtime_ns = kTurnNs;
  (void)::syscall(SYS_sched_setattr, 0, &wish, 0);
#endif
}

/// Random, so that ids of two runs differ.
std::string IdPrefix() {
  std::random_device device;
  return fmt::format("{:08x}", device());
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const Router& router, HttpServerOptions options)
      : options_(std::move(options)),
        table_(router, options_.limits, RequestLog(options_.log, options_.limits), options_.metrics, IdPrefix()),
        work_(asio::make_work_guard(context_)),
        drain_timer_(context_),
        tick_timer_(context_) {
    table_.on_change = [this] { EndIfDrained(); };
  }
  ~Impl();

  Result<void> Listen();
  void Run();
  void Drain();
  void Wait();

  int port() const { return port_; }
  bool draining() const { return draining_; }
  void Use(const Router& router) { table_.Use(router); }
  size_t connections() const { return connections_; }

 private:
  struct Listener {
    explicit Listener(asio::io_context& context) : acceptor(context), pause(context) {}
    tcp::acceptor acceptor;
    asio::steady_timer pause;
    bool waits = false;  ///< for a connection, or for the end of the pause
  };
  Result<void> Open(const asio::ip::address& address);
  void Accept(Listener& listener);
  void AcceptWhereNothingWaits();
  void OnAccept(Listener& listener, error_code error, tcp::socket socket);
  void Tick();
  void StopAccepting();
  void EndIfDrained();
  void CloseAll();

  const HttpServerOptions options_;
  asio::io_context context_{1};
  std::unique_ptr<asio::ssl::context> tls_;
  ConnectionTable table_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  asio::steady_timer drain_timer_;
  asio::steady_timer tick_timer_;
  int port_ = 0;
  std::atomic<bool> draining_ = false;
  std::atomic<size_t> connections_ = 0;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
};

Result<void> HttpServer::Impl::Open(const asio::ip::address& address) {
  auto listener = std::make_unique<Listener>(context_);
  const tcp::endpoint endpoint(address, static_cast<uint16_t>(port_));
  error_code error;
  const auto step = [&error](auto&& action) {
    if (!error) action();
  };
  listener->acceptor.open(endpoint.protocol(), error);
  step([&] { listener->acceptor.set_option(tcp::acceptor::reuse_address(true), error); });
  step([&] { listener->acceptor.bind(endpoint, error); });
  step([&] { listener->acceptor.listen(kBacklog, error); });
  if (error) {
    return Fail(StatusCode::kIo,
                fmt::format("cannot listen on {} port {}: {}", address.to_string(), port_, error.message()));
  }
  port_ = listener->acceptor.local_endpoint().port();
  listeners_.push_back(std::move(listener));
  return {};
}

Result<void> HttpServer::Impl::Listen() {
  if (options_.port < 0 || options_.port > 65'535) return Fail(StatusCode::kInvalidArgument, "port: not in 0..65535");
  DG_TRY(const auto addresses, Addresses(options_.host));
  DG_CHECK_OK(CheckExposure(options_.host, table_.router().options()));
  DG_TRY(tls_, MakeTls(options_.tls_key_file, options_.tls_cert_file));
  port_ = options_.port;
  DG_CHECK_OK(Open(addresses[0]));
  // A machine without IPv6 still has a localhost.
  for (size_t more = 1; more < addresses.size(); ++more) (void)Open(addresses[more]);
  return {};
}

void HttpServer::Impl::Run() {
  if (options_.tick) Tick();
  thread_ = std::thread([this] {
    AskForShortTurns();
    while (true) {
      try {
        AcceptWhereNothingWaits();
        context_.run();
        break;
      } catch (...) {
        // Out of memory between two completions. What was lost belonged to one connection, whose clock ends it, or was
        // the next Accept.
        std::this_thread::sleep_for(kMemoryPause);
      }
    }
    const std::scoped_lock lock(mutex_);
    has_ended_ = true;
    ended_.notify_all();
  });
}

HttpServer::Impl::~Impl() {
  if (!thread_.joinable()) return;
  asio::post(context_, [this] {
    StopAccepting();
    CloseAll();
    EndIfDrained();
  });
  thread_.join();
}

void HttpServer::Impl::Accept(Listener& listener) {
  listener.waits = false;
  listener.acceptor.async_accept(
      [this, &listener](error_code error, tcp::socket socket) { OnAccept(listener, error, std::move(socket)); });
  listener.waits = true;
}

void HttpServer::Impl::AcceptWhereNothingWaits() {
  for (const auto& listener : listeners_) {
    if (!listener->waits && listener->acceptor.is_open()) Accept(*listener);
  }
}

void HttpServer::Impl::OnAccept(Listener& listener, error_code error, tcp::socket socket) {
  listener.waits = false;
  if (table_.draining || !listener.acceptor.is_open()) return;
  if (error) {
    listener.pause.expires_after(kAcceptPause);
    listener.pause.async_wait([this, &listener](error_code cancelled) {
      if (!cancelled && listener.acceptor.is_open()) Accept(listener);
    });
    listener.waits = true;
    return;
  }
  try {
    const auto peer = socket.remote_endpoint(error);
    const std::string address = error ? std::string() : AddressGroup(peer.address());
    if (!error && table_.MakeRoom(address)) {
      socket.set_option(tcp::no_delay(true), error);
      auto stream = tls_ ? TlsStream(std::move(socket), *tls_) : PlainStream(std::move(socket));
      const auto connection = std::make_shared<Connection>(context_, std::move(stream), table_, address);
      connection->Start();
    } else {
      table_.Count(Metric::kConnectionsRefused);
    }
  } catch (...) {
    table_.Count(Metric::kConnectionsRefused);  // no memory for it
  }
  Accept(listener);
}

void HttpServer::Impl::Tick() {
  tick_timer_.expires_after(std::chrono::milliseconds(options_.tick_ms));
  tick_timer_.async_wait([this](error_code cancelled) {
    if (cancelled) return;
    Tick();
    options_.tick();
  });
}

void HttpServer::Impl::StopAccepting() {
  draining_ = true;
  table_.draining = true;
  for (const auto& listener : listeners_) {
    error_code ignored;
    listener->acceptor.close(ignored);
    listener->pause.cancel();
  }
}

void HttpServer::Impl::EndIfDrained() {
  connections_ = table_.size();
  if (!table_.draining || table_.size() > 0) return;
  drain_timer_.cancel();
  tick_timer_.cancel();
  work_.reset();
}

void HttpServer::Impl::CloseAll() {
  for (Connection* connection : table_.all()) connection->Close();
}

void HttpServer::Impl::Drain() {
  draining_ = true;
  asio::post(context_, [this] {
    if (table_.draining) return;
    StopAccepting();
    for (Connection* connection : table_.all()) connection->Drain();
    drain_timer_.expires_after(std::chrono::milliseconds(options_.limits.drain_ms));
    drain_timer_.async_wait([this](error_code cancelled) {
      if (cancelled) return;
      for (Connection* connection : table_.all()) connection->StopForShutdown();
    });
    EndIfDrained();
  });
}

void HttpServer::Impl::Wait() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return has_ended_; });
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const Router& router, HttpServerOptions options) {
  try {
    auto impl = std::make_unique<Impl>(router, std::move(options));
    DG_CHECK_OK(impl->Listen());
    impl->Run();
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
  } catch (const std::exception&) {
    return Fail(StatusCode::kResourceExhausted, "server: the system gives no descriptors, thread or memory for it");
  }
}

int HttpServer::port() const { return impl_->port(); }
void HttpServer::Use(const Router& router) { impl_->Use(router); }
void HttpServer::Drain() { impl_->Drain(); }
bool HttpServer::draining() const { return impl_->draining(); }
void HttpServer::Wait() { impl_->Wait(); }
size_t HttpServer::connections() const { return impl_->connections(); }

}  // namespace dgemma
