// A client that sends exactly the bytes it is told to, and reads what comes back: for saying things that well-behaved
// clients never say. Blocking, with a timeout on everything.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace dgemma {

/// An answer as it came. `status` 0: none came.
struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> fields;  ///< names in lower case; the last of a name
  std::string head;                           ///< up to the empty line
  std::string body;                           ///< without chunk framing
  bool whole = false;                         ///< the framing says that nothing is missing
};

class RawClient {
 public:
  /// `from`: the local address, so that one machine can be many clients (127.0.0.0/8).
  explicit RawClient(int port, const std::string& from = "127.0.0.1");
  ~RawClient() { Close(); }
  RawClient(RawClient&& other) noexcept;
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient& operator=(RawClient&&) = delete;

  bool connected() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  /// How long reading and sending wait; ten seconds at first.
  void SetPatience(int milliseconds) { patience_ms_ = milliseconds; }
  /// False when the other side is gone.
  bool Send(std::string_view bytes) const;
  /// The next answer; `method` decides whether it has a body.
  RawResponse Read(std::string_view method = "GET");
  RawResponse Ask(std::string_view request, std::string_view method = "GET") {
    Send(request);
    return Read(method);
  }
  /// Everything until the other side ends, or `limit` bytes.
  std::string ReadAll(size_t limit = 1 << 30);
  /// True when the other side ends within the time, whatever it sends before.
  bool EndsWithin(int milliseconds);
  /// Closes with a reset instead of an orderly end.
  void Reset();
  void Close();

 private:
  bool Fill();  // reads more into buffer_

  int descriptor_ = -1;
  int patience_ms_ = 10'000;
  std::string buffer_;
};

/// "GET /path HTTP/1.1" with Host and further lines, each ending in CR LF.
std::string Get(std::string_view path, std::string_view lines = {});
/// POST with Content-Length.
std::string Post(std::string_view path, std::string_view body, std::string_view lines = {});

}  // namespace dgemma
