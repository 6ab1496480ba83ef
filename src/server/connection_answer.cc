// Answering: handing a request to its handler, collecting what the handler gives, sending it, and what comes after.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <new>
#include <utility>

#include "server/connection.h"
#include "server/connection_bound.h"

namespace dgemma {
namespace {

// How much of a stream goes to the socket at a time; what waits is counted until it is sent.
constexpr size_t kPieceBytes = 64 << 10;

double SecondsSince(Connection::Clock::time_point begin) {
  return std::chrono::duration<double>(Connection::Clock::now() - begin).count();
}

Metric MetricOf(int status) {
  if (status < 400) return Metric::kResponses2xx;
  return status < 500 ? Metric::kResponses4xx : Metric::kResponses5xx;
}

}  // namespace

using boost::system::error_code;

void Connection::Dispatch() {
  HttpRequest request;
  request.head = std::move(reader_.head());
  request.body = std::move(reader_.body());
  request.parameters = std::move(admission_.parameters);
  request.id = id_;
  request.caller = std::move(admission_.caller);
  Enter(Phase::kAnswer);
  answer_begin_ = Clock::now();
  Arm(phase_alarm_, table_.limits.request_ms, &Connection::OnPhaseAlarm);
  exchange_ = std::make_shared<Exchange>(table_.limits.stream_bytes);
  exchange_->OnOutput([weak = weak_from_this(), executor = context_.get_executor()] {
    boost::asio::post(executor, [weak] {
      if (const auto self = weak.lock()) self->Bound([&connection = *self] { connection.Pump(); })();
    });
  });
  try {
    route_->handler(std::move(request), Reply(exchange_));
  } catch (...) {
    // The right to answer went with the handler's frame: the exchange is abandoned, and the client gets 500.
  }
}

void Connection::Refuse(const HttpError& error) {
  if (id_.empty()) id_ = table_.NextRequestId();
  const ApiFamily family = route_ != nullptr ? route_->family : FamilyOfPath(reader_.head().path);
  RespondAndClose(ErrorResponse(family, error, id_));
}

void Connection::RespondAndClose(HttpResponse response) {
  last_ = true;
  Respond(std::move(response));
}

void Connection::Respond(HttpResponse response) {
  Enter(Phase::kAnswer);
  Disarm(phase_alarm_);
  answer_begin_ = Clock::now();
  answer_ended_ = true;
  AppendResponse(std::move(response));
  Pump();
}

void Connection::AppendResponse(HttpResponse response) {
  status_ = response.status;
  framing_ = BodyFraming::kLength;
  out_ += ResponseHead(response.status, response.content_type, response.fields,
                       {.framing = framing_,
                        .length = response.body.size(),
                        .keep_alive = !last_,
                        .minor_version = minor_version_,
                        .id = id_,
                        .fields = admission_.answer_fields,
                        .now = std::time(nullptr)});
  if (method_ != HttpMethod::kHead) out_ += response.body;
}

void Connection::AppendStreamHead(StreamHead head) {
  status_ = head.status;
  framing_ = minor_version_ == 0 ? BodyFraming::kUntilClose : BodyFraming::kChunks;
  if (framing_ == BodyFraming::kUntilClose) last_ = true;
  ping_ = std::move(head.ping);
  ping_ms_ = head.ping_ms;
  out_ += ResponseHead(head.status, head.content_type, head.fields,
                       {.framing = framing_,
                        .length = 0,
                        .keep_alive = !last_,
                        .minor_version = minor_version_,
                        .id = id_,
                        .fields = admission_.answer_fields,
                        .now = std::time(nullptr)});
  if (method_ != HttpMethod::kHead) return;
  answer_ended_ = true;
  exchange_->Stop(StopReason::kClientGone);
}

void Connection::Pump() {
  if (exchange_ && exchange_->reason() == StopReason::kTooSlow) return Close();
  if (writing_) return;
  if (phase_ == Phase::kAnswer && !answer_ended_) Collect();
  if (!out_.empty()) {
    sending_ = std::exchange(out_, {});
    sent_ = 0;
    writing_ = true;
    return SendMore();
  }
  if (phase_ != Phase::kAnswer) return Disarm(write_alarm_);
  if (answer_ended_) return cut_ ? Close() : FinishAnswer();
  if (status_ != 0 && ping_ms_ > 0) Arm(write_alarm_, ping_ms_, &Connection::Ping);
}

void Connection::Collect() {
  Exchange::Output output = exchange_->Take(kPieceBytes);
  if (output.response) AppendResponse(*std::move(output.response));
  if (output.head) AppendStreamHead(*std::move(output.head));
  payload_ += output.bytes.size();
  if (answer_ended_) return;  // HEAD
  if (!output.bytes.empty()) out_ += framing_ == BodyFraming::kChunks ? ChunkText(output.bytes) : output.bytes;
  if (!output.ended) return;
  answer_ended_ = true;
  if (output.abandoned && status_ == 0) {
    AppendResponse(ErrorResponse(route_->family, {.status = 500, .message = "internal error"}, id_));
  } else if (output.abandoned) {
    cut_ = true;
  } else if (framing_ == BodyFraming::kChunks) {
    out_ += kLastChunk;
  }
}

void Connection::SendMore() {
  Arm(write_alarm_, table_.limits.write_stall_ms, &Connection::OnWriteAlarm);
  stream_->WriteSome(std::string_view(sending_).substr(sent_),
                     Bound([this](error_code error, size_t bytes) { OnSent(error, bytes); }));
}

void Connection::OnSent(error_code error, size_t bytes) {
  if (error) return Close();
  sent_ += bytes;
  answer_bytes_ += bytes;
  if (sent_ < sending_.size()) return SendMore();
  sending_ = {};
  writing_ = false;
  Disarm(write_alarm_);
  if (exchange_) exchange_->Taken(std::exchange(payload_, 0));
  Pump();
}

void Connection::OnWriteAlarm() {
  if (exchange_) exchange_->Stop(StopReason::kTooSlow);
  Close();
}

void Connection::Ping() {
  if (!writing_ && !answer_ended_) out_ += framing_ == BodyFraming::kChunks ? ChunkText(ping_) : ping_;
  Pump();
}

void Connection::LogAnswer() {
  const double seconds = SecondsSince(answer_begin_);
  const StopReason reason = exchange_ ? exchange_->reason() : StopReason::kNone;
  if (status_ != 0) table_.Count(MetricOf(status_));
  if (route_ != nullptr) table_.Observe(Metric::kRequestSeconds, seconds);
  switch (reason) {
    case StopReason::kNone:
      break;
    case StopReason::kClientGone:
      table_.Count(Metric::kStoppedClientGone);
      break;
    case StopReason::kTooSlow:
      table_.Count(Metric::kStoppedTooSlow);
      break;
    case StopReason::kDeadline:
      table_.Count(Metric::kStoppedDeadline);
      break;
    case StopReason::kShutdown:
      table_.Count(Metric::kStoppedShutdown);
      break;
  }
  try {
    // The route, not the path: no text of a request is logged.
    table_.log.Line(fmt::format("{} {} {} {} {} bytes {:.1f} ms{}{}", id_, Name(method_),
                                route_ != nullptr ? route_->pattern : "-", status_, answer_bytes_, seconds * 1000,
                                reason != StopReason::kNone ? fmt::format(" stopped={}", Name(reason)) : "",
                                key_name_.empty() ? "" : fmt::format(" key={}", key_name_)));
  } catch (const std::bad_alloc&) {  // closing must not fail for want of a line
  }
}

void Connection::FinishAnswer() {
  LogAnswer();
  EndRequest();
  Disarm(write_alarm_);
  if (last_ || table_.draining) return Linger();
  id_.clear();
  key_name_.clear();
  route_ = nullptr;
  admission_ = {};
  method_ = HttpMethod::kOther;
  minor_version_ = 1;
  told_to_stop_ = false;
  answer_ended_ = false;
  status_ = 0;
  answer_bytes_ = 0;
  payload_ = 0;
  ping_ms_ = 0;
  reader_.Reset();
  Enter(Phase::kIdle);
  Arm(phase_alarm_, table_.limits.keep_alive_ms, &Connection::OnPhaseAlarm);
  Process();
}

void Connection::Linger() {
  Enter(Phase::kLinger);
  input_ = {};
  Arm(phase_alarm_, table_.limits.linger_ms, &Connection::OnPhaseAlarm);
  if (peer_ended_) return Close();
  // TLS takes bytes that come after its end for an attack and resets; then the client may never see the answer.
  const bool more_comes = reader_.state() != RequestReader::State::kDone;
  if (!more_comes || stream_->takes_bytes_after_end()) {
    stream_->EndWriting(Bound([this](error_code error, size_t) {
      if (error) Close();
    }));
  }
  Read();
}

}  // namespace dgemma
