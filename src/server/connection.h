// One connection: bytes to requests, requests to handlers, answers to bytes, and a clock over each of them. All of it runs
// on the network thread. Phases follow each other as the enum lists them; kIdle comes again for the next request.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/connection_table.h"
#include "server/exchange.h"
#include "server/request_reader.h"
#include "server/response_text.h"
#include "server/socket_stream.h"

namespace dgemma {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  /// `address` is what connections_per_address counts. `table` must outlive the connection.
  Connection(boost::asio::io_context& context, std::unique_ptr<SocketStream> stream, ConnectionTable& table,
             std::string address);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();
  /// Ends now if nothing is under way, otherwise after the answer.
  void Drain();
  /// An answer under way is told to stop; everything else ends.
  void StopForShutdown();
  /// Ends at once. May be called twice.
  void Close();

  /// True while no byte of a request is under way.
  bool idle() const { return phase_ == Phase::kIdle; }
  /// True while the head of a request, or a handshake, is under way.
  bool sends_head() const { return phase_ == Phase::kHandshake || phase_ == Phase::kHead; }
  Clock::time_point phase_begin() const { return phase_begin_; }
  bool showed_key() const { return showed_key_; }
  const std::string& address() const { return address_; }

 private:
  enum class Phase : uint8_t { kHandshake, kIdle, kHead, kBody, kAnswer, kLinger, kClosed };

  /// A timer whose late completions are ignored.
  struct Alarm {
    explicit Alarm(boost::asio::io_context& context) : timer(context) {}
    boost::asio::steady_timer timer;
    uint64_t generation = 0;
  };
  void Arm(Alarm& alarm, int64_t delay_ms, void (Connection::*action)());
  static void Disarm(Alarm& alarm);

  /// A completion that keeps the connection alive, does nothing once it is closed, and closes it when `body` throws.
  template <typename Body>
  auto Bound(Body body);

  void Enter(Phase phase);
  void Read();
  void OnRead(boost::system::error_code error, size_t bytes);
  void Process();
  bool ProcessHead();
  bool ProcessBody();
  void Admit();
  void Dispatch();
  void OnPhaseAlarm();

  /// Answers without a handler. The connection ends after it.
  void Refuse(const HttpError& error);
  void RespondAndClose(HttpResponse response);
  void Respond(HttpResponse response);
  /// Writes what is there to be written; the next step of an answer.
  void Pump();
  void Collect();
  void AppendResponse(HttpResponse response);
  void AppendStreamHead(StreamHead head);
  void SendMore();
  void OnSent(boost::system::error_code error, size_t bytes);
  void OnWriteAlarm();
  void Ping();
  void FinishAnswer();
  void LogAnswer();
  void Linger();
  void EndRequest();

  boost::asio::io_context& context_;
  std::unique_ptr<SocketStream> stream_;
  ConnectionTable& table_;
  const std::string address_;
  bool showed_key_;

  Phase phase_ = Phase::kHandshake;
  Clock::time_point phase_begin_ = Clock::now();
  WaitingPlace place_{*this};
  Alarm phase_alarm_;
  int64_t requests_ = 0;
  bool last_ = false;  // no further request after this answer

  // reading
  std::array<char, 8192> buffer_{};
  bool reading_ = false;
  bool peer_ended_ = false;
  std::string input_;  // read and not yet used
  RequestReader reader_;
  size_t window_bytes_ = 0;  // of a body, since its clock was set
  size_t held_bytes_ = 0;    // of the body, counted in the table
  size_t lingered_bytes_ = 0;

  // the request at hand
  std::string id_;
  std::string key_name_;  // of who asks
  const Route* route_ = nullptr;
  Admission admission_;
  HttpMethod method_ = HttpMethod::kOther;
  int minor_version_ = 1;
  std::shared_ptr<Exchange> exchange_;
  bool told_to_stop_ = false;
  bool answer_ended_ = false;
  bool cut_ = false;  // the answer is not whole: end without saying that it is
  int status_ = 0;    // of the head that was appended; 0: none was
  BodyFraming framing_ = BodyFraming::kLength;
  std::string ping_;
  int64_t ping_ms_ = 0;
  Clock::time_point answer_begin_;
  uint64_t answer_bytes_ = 0;

  // writing
  std::string out_;      // to be sent next
  std::string sending_;  // being sent
  size_t sent_ = 0;      // of sending_
  size_t payload_ = 0;   // of sending_ and out_, bytes that the exchange counts
  bool writing_ = false;
  Alarm write_alarm_;
};

}  // namespace dgemma
