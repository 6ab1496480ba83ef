// One request on its way to being answered, shared by the thread that answers and the network thread. Reply and
// ResponseStream are the answering side of it, Connection is the other.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "server/http_message.h"
#include "server/reply.h"

namespace dgemma {

class Exchange {
 public:
  /// `buffered_bytes`: how much of a stream may wait for the client.
  explicit Exchange(size_t buffered_bytes) : buffered_limit_(buffered_bytes) {}

  // ---- answering side, any thread ---------------------------------------------------------------------------------------

  /// The whole answer; ignored when there is one already.
  void Send(HttpResponse response);
  /// The head of a stream; ignored when there is an answer already.
  void Begin(StreamHead head);
  bool Write(std::string_view bytes);
  void End();
  /// The client takes a stream more slowly than it is written: a quarter of the buffer waits.
  bool behind() const;
  /// Nobody can answer any more. Nothing happens when the answer is whole.
  void Abandon();
  std::stop_token stop() const { return stop_.get_token(); }
  StopReason reason() const;

  // ---- network thread ---------------------------------------------------------------------------------------------------

  /// What came since the last Take.
  struct Output {
    std::optional<HttpResponse> response = {};
    std::optional<StreamHead> head = {};
    std::string bytes = {};  ///< of a stream
    bool ended = false;      ///< nothing comes after this
    bool abandoned = false;  ///< there was no answer, or its stream is not whole
  };
  /// At most `limit_bytes` of a stream. They count as buffered until Taken.
  Output Take(size_t limit_bytes);
  void Taken(size_t bytes);
  /// Something can be taken, or the writer was too slow. `wake` is called from any thread, at most once until Take.
  void OnOutput(std::function<void()> wake);
  /// True when the answer is whole on our side.
  bool complete() const;
  /// Tells the answering side to stop; the first reason stays. With `kClientGone` no more bytes are accepted.
  void Stop(StopReason reason);
  /// The connection goes away: no more wakes, and Stop(kClientGone).
  void Detach();

 private:
  void WakeLocked();

  const size_t buffered_limit_;
  mutable std::mutex mutex_;
  std::stop_source stop_;
  StopReason reason_ = StopReason::kNone;
  std::function<void()> wake_;
  bool woken_ = false;
  bool deaf_ = false;  // nothing reaches the client
  bool answered_ = false;
  bool ended_ = false;
  bool abandoned_ = false;
  std::optional<HttpResponse> response_;
  std::optional<StreamHead> head_;
  std::string bytes_;
  size_t buffered_ = 0;  // in bytes_ and taken but not yet Taken
};

}  // namespace dgemma
