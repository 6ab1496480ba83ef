// The two ends that serve_attack plays with: `dgemma serve` as a child process whose costs can be read, and connections
// to it that never block, so that one thread can be a thousand clients.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dgemma::attack {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin);

/// A running server. Ends with the object.
class ServerProcess {
 public:
  /// Starts `dgemma serve [model] --port 0 --quiet` and waits until it takes requests. Ends this program when it does
  /// not.
  ServerProcess(const std::string& program, const std::string& model, const std::vector<std::string>& more);
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  int port() const { return port_; }
  int64_t RssBytes() const;
  /// Of all its threads.
  double CpuSeconds() const;

 private:
  pid_t pid_ = -1;
  int port_ = 0;
  int out_ = -1;
};

struct Response {
  int status = 0;  ///< 0: the connection ended without one
  double seconds = 0;
  std::string body;
};

/// One non-blocking connection; asks one thing at a time, or only sits there.
class Connection {
 public:
  /// From 127.0.`group`.1, as the server counts connections by address.
  Connection(int port, int group);
  ~Connection() { Close(); }
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool open() const { return descriptor_ >= 0; }
  bool asking() const { return asking_; }
  int descriptor() const { return descriptor_; }
  void Ask(std::string_view request);
  /// Some bytes of a request that never becomes whole.
  void SendPiece(std::string_view bytes);
  /// Reads what is there. True when the question has its answer, or the connection ended.
  bool Read(Response& response);
  void Close();

 private:
  int descriptor_ = -1;
  bool asking_ = false;
  Clock::time_point asked_;
  std::string buffer_;
};

/// Waits up to `milliseconds` until one of the connections can be read; the indices of those.
std::vector<size_t> Readable(const std::vector<Connection*>& connections, int milliseconds);

/// Asks and waits for the answer, up to ten seconds.
Response AskAndWait(Connection& connection, std::string_view request);

std::string Get(std::string_view path, std::string_view lines = {});
std::string Post(std::string_view path, std::string_view body, std::string_view lines = {});

}  // namespace dgemma::attack
