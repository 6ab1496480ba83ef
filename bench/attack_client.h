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
#include <utility>
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
  /// Of that memory, what no file backs.
  int64_t AnonymousBytes() const;
  int64_t Descriptors() const;
  /// Of all its threads.
  double CpuSeconds() const;

 private:
  int64_t StatusBytes(std::string_view field) const;

  pid_t pid_ = -1;
  int port_ = 0;
  int out_ = -1;
};

/// A file of the keys key-of-ann and key-of-bob that goes with the object.
class KeyFile {
 public:
  KeyFile();
  ~KeyFile();
  KeyFile(const KeyFile&) = delete;
  KeyFile& operator=(const KeyFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Response {
  int status = 0;  ///< 0: the connection ended without one
  double seconds = 0;
  std::string body;  ///< with the framing of its chunks, when it has any
};

/// Moments in which this program did not run, such as when all of the machine was stopped: what was under way then is
/// not the server's doing.
class Standstill {
 public:
  /// Often. True when there was one since the last look.
  bool Look() {
    const auto now = Clock::now();
    const auto gap = now - std::exchange(last_, now);
    if (gap <= std::chrono::milliseconds(500)) return false;
    seconds_ += std::chrono::duration<double>(gap).count();
    end_ = now;
    return true;
  }
  double seconds() const { return seconds_; }
  /// When the last one ended.
  Clock::time_point end() const { return end_; }
  /// True when it came in between a question and this answer to it, which was just read.
  bool Covers(const Response& response) const { return seconds_ > 0 && SecondsSince(end_) <= response.seconds; }

 private:
  Clock::time_point last_ = Clock::now(), end_ = last_;
  double seconds_ = 0;
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
  /// Reads what is there. True when the question has its answer, or the connection ended. Closes after an answer that
  /// says that it is the last.
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
