// Handles to an Exchange that notice when the last of them goes, and the forms of streams.
#include "server/reply.h"

#include <fmt/format.h>

#include <utility>

#include "server/exchange.h"

namespace dgemma {

/// Shared by all copies of a Reply and its stream.
struct ResponseStream::Owner {
  explicit Owner(std::shared_ptr<Exchange> of) : exchange(std::move(of)) {}
  ~Owner() { exchange->Abandon(); }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  std::shared_ptr<Exchange> exchange;
};

std::string_view Name(StopReason reason) {
  switch (reason) {
    case StopReason::kNone:
      return "none";
    case StopReason::kClientGone:
      return "client_gone";
    case StopReason::kTooSlow:
      return "too_slow";
    case StopReason::kDeadline:
      return "timeout";
    case StopReason::kShutdown:
      return "shutdown";
  }
  return "none";
}

bool ResponseStream::Write(std::string_view bytes) const { return owner_->exchange->Write(bytes); }
void ResponseStream::End() const { owner_->exchange->End(); }
bool ResponseStream::behind() const { return owner_->exchange->behind(); }
std::stop_token ResponseStream::stop() const { return owner_->exchange->stop(); }
StopReason ResponseStream::reason() const { return owner_->exchange->reason(); }

Reply::Reply(std::shared_ptr<Exchange> exchange)
    : owner_(std::make_shared<ResponseStream::Owner>(std::move(exchange))) {}

void Reply::Send(HttpResponse response) const { owner_->exchange->Send(std::move(response)); }
ResponseStream Reply::Stream(StreamHead head) const {
  owner_->exchange->Begin(std::move(head));
  return ResponseStream(owner_);
}
std::stop_token Reply::stop() const { return owner_->exchange->stop(); }
StopReason Reply::reason() const { return owner_->exchange->reason(); }

std::string SseEvent(std::string_view data, std::string_view event) {
  std::string out;
  if (!event.empty()) out += fmt::format("event: {}\n", event);
  while (true) {
    const size_t end = data.find('\n');
    out += fmt::format("data: {}\n", data.substr(0, end));
    if (end == std::string_view::npos) break;
    data.remove_prefix(end + 1);
  }
  return out + '\n';
}

std::string SsePing() { return ": ping\n\n"; }

std::string NdjsonLine(std::string_view json) { return std::string(json) + '\n'; }

}  // namespace dgemma
