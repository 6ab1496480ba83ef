// Reading and the clocks of a connection; answering is in connection_answer.cc.
#include "server/connection.h"

#include <algorithm>
#include <span>
#include <utility>

#include "server/connection_bound.h"

namespace dgemma {

using boost::system::error_code;

Connection::Connection(boost::asio::io_context& context, std::unique_ptr<SocketStream> stream, ConnectionTable& table,
                       std::string address)
    : context_(context),
      stream_(std::move(stream)),
      table_(table),
      address_(std::move(address)),
      showed_key_(!table.router().needs_keys()),
      phase_alarm_(context),
      reader_(table.limits),
      write_alarm_(context) {
  table_.Add(*this);
  Enter(Phase::kHandshake);
}

Connection::~Connection() { Close(); }

void Connection::Close() {
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswer && exchange_) {
    if (exchange_->reason() == StopReason::kNone) exchange_->Stop(StopReason::kClientGone);
    LogAnswer();
  }
  Enter(Phase::kClosed);
  EndRequest();
  Disarm(phase_alarm_);
  Disarm(write_alarm_);
  stream_->Close();
  table_.Remove(*this);
}

void Connection::EndRequest() {
  if (exchange_) exchange_->Detach();
  exchange_ = nullptr;
  table_.ReleaseBody(std::exchange(held_bytes_, 0));
}

void Connection::Enter(Phase phase) {
  phase_ = phase;
  phase_begin_ = Clock::now();
  table_.Moved(*this, place_);
}

void Connection::Arm(Alarm& alarm, int64_t delay_ms, void (Connection::*action)()) {
  const uint64_t generation = ++alarm.generation;
  alarm.timer.expires_after(std::chrono::milliseconds(delay_ms));
  alarm.timer.async_wait(Bound([this, &alarm, generation, action](error_code error) {
    if (!error && generation == alarm.generation) (this->*action)();
  }));
}

void Connection::Disarm(Alarm& alarm) {
  ++alarm.generation;
  alarm.timer.cancel();
}

void Connection::Start() {
  Arm(phase_alarm_, table_.limits.head_ms, &Connection::OnPhaseAlarm);
  stream_->Handshake(Bound([this](error_code error, size_t) {
    if (error) return Close();
    Enter(Phase::kIdle);
    Process();
  }));
}

void Connection::Drain() {
  last_ = true;
  if (phase_ == Phase::kHandshake || phase_ == Phase::kIdle) Close();
}

void Connection::StopForShutdown() {
  if (phase_ != Phase::kAnswer || !exchange_) return Close();
  told_to_stop_ = true;
  Arm(phase_alarm_, table_.limits.stop_grace_ms, &Connection::OnPhaseAlarm);
  exchange_->Stop(StopReason::kShutdown);
}

void Connection::OnPhaseAlarm() {
  switch (phase_) {
    case Phase::kHead:
      return Refuse({.status = 408, .message = "the head of the request took too long"});
    case Phase::kBody:
      if (window_bytes_ < table_.limits.body_window_bytes) {
        return Refuse({.status = 408, .message = "the body of the request came too slowly"});
      }
      window_bytes_ = 0;
      return Arm(phase_alarm_, table_.limits.body_window_ms, &Connection::OnPhaseAlarm);
    case Phase::kAnswer:
      if (told_to_stop_ || !exchange_) return Close();
      told_to_stop_ = true;
      Arm(phase_alarm_, table_.limits.stop_grace_ms, &Connection::OnPhaseAlarm);
      return exchange_->Stop(StopReason::kDeadline);
    default:
      return Close();
  }
}

void Connection::Read() {
  if (reading_ || peer_ended_) return;
  reading_ = true;
  stream_->ReadSome(std::span(buffer_), Bound([this](error_code error, size_t bytes) {
                      reading_ = false;
                      OnRead(error, bytes);
                    }));
}

void Connection::OnRead(error_code error, size_t bytes) {
  if (error) {
    // An answer that is whole already still goes out: the client may have ended its side only.
    const bool whole = phase_ == Phase::kAnswer && (!exchange_ || exchange_->complete());
    if (!whole) return Close();
    peer_ended_ = true;
    last_ = true;
    return;
  }
  if (phase_ == Phase::kLinger) {
    lingered_bytes_ += bytes;
    const size_t limit = showed_key_ ? table_.limits.linger_bytes : table_.limits.linger_unkeyed_bytes;
    return lingered_bytes_ > limit ? Close() : Read();
  }
  if (phase_ == Phase::kBody) window_bytes_ += bytes;
  input_.append(buffer_.data(), bytes);
  Process();
}

void Connection::Process() {
  bool going = true;
  while (going) {
    switch (phase_) {
      case Phase::kIdle:
        if (input_.empty()) return Read();
        if (requests_ > 0) Arm(phase_alarm_, table_.limits.head_ms, &Connection::OnPhaseAlarm);
        Enter(Phase::kHead);
        break;
      case Phase::kHead:
        going = ProcessHead();
        break;
      case Phase::kBody:
        going = ProcessBody();
        break;
      case Phase::kAnswer:
        // Read on, to see the client go; what it sends ahead waits here, bounded.
        if (input_.size() < buffer_.size()) Read();
        return;
      default:
        return;
    }
  }
}

bool Connection::ProcessHead() {
  input_.erase(0, reader_.Feed(input_));
  switch (reader_.state()) {
    case RequestReader::State::kHead:
      Read();
      return false;
    case RequestReader::State::kHeadDone:
      Admit();
      return true;
    default:
      Refuse(reader_.error());
      return true;
  }
}

void Connection::Admit() {
  const RequestHead& head = reader_.head();
  id_ = table_.NextRequestId();
  ++requests_;
  method_ = head.method;
  minor_version_ = head.minor_version;
  admission_ = table_.router().Admit(head, id_);
  key_name_ = admission_.caller.key_name;
  if (admission_.showed_key && !showed_key_) {
    showed_key_ = true;
    table_.ShowedKey();
  }
  if (!head.keep_alive || requests_ >= table_.limits.keep_alive_requests) last_ = true;
  if (admission_.refusal) {
    // A body that nobody reads would be taken for the next request.
    if (head.HasBody() || !admission_.showed_key) last_ = true;
    return Respond(*std::move(admission_.refusal));
  }
  route_ = admission_.route;
  if (table_.draining && route_->access != Access::kPublic) {
    return Refuse({.status = 503, .message = "the server is shutting down", .retry_after_s = 10});
  }
  reader_.StartBody(route_->body_bytes);
  if (reader_.state() == RequestReader::State::kFailed) return Refuse(reader_.error());
  if (reader_.state() == RequestReader::State::kDone) return Dispatch();
  Enter(Phase::kBody);
  window_bytes_ = input_.size();
  Arm(phase_alarm_, table_.limits.body_window_ms, &Connection::OnPhaseAlarm);
  if (head.expects_continue && input_.empty()) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    Pump();
  }
}

bool Connection::ProcessBody() {
  input_.erase(0, reader_.Feed(input_));
  const size_t grown = reader_.body().size() - held_bytes_;
  if (!table_.HoldBody(grown)) {
    Refuse({.status = 503, .message = "too many request bodies at once", .retry_after_s = 1});
    return true;
  }
  held_bytes_ += grown;
  switch (reader_.state()) {
    case RequestReader::State::kBody:
      Read();
      return false;
    case RequestReader::State::kDone:
      Dispatch();
      return true;
    default:
      Refuse(reader_.error());
      return true;
  }
}

}  // namespace dgemma
