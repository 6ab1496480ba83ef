// The lock is held for moments only; stop callbacks run without it, because they may write.
#include "server/exchange.h"

#include <algorithm>
#include <new>
#include <utility>

namespace dgemma {

void Exchange::WakeLocked() {
  if (woken_ || !wake_) return;
  try {
    wake_();
    woken_ = true;
  } catch (const std::bad_alloc&) {
    woken_ = false;  // the next output tries again
  }
}

void Exchange::Send(HttpResponse response) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(answered_, true)) return;
  response_ = std::move(response);
  ended_ = true;
  WakeLocked();
}

void Exchange::Begin(StreamHead head) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(answered_, true)) return;
  head_ = std::move(head);
  WakeLocked();
}

bool Exchange::Write(std::string_view bytes) {
  try {
    const std::scoped_lock lock(mutex_);
    if (deaf_ || ended_) return false;
    if (bytes.size() <= buffered_limit_ - buffered_) {
      bytes_ += bytes;
      buffered_ += bytes.size();
      if (!bytes.empty()) WakeLocked();
      return true;
    }
  } catch (const std::bad_alloc&) {
    // The same to the writer as a full buffer.
  }
  Stop(StopReason::kTooSlow);
  return false;
}

bool Exchange::behind() const {
  const std::scoped_lock lock(mutex_);
  return buffered_ > buffered_limit_ / 4;
}

void Exchange::End() {
  const std::scoped_lock lock(mutex_);
  ended_ = true;
  WakeLocked();
}

void Exchange::Abandon() {
  const std::scoped_lock lock(mutex_);
  if (ended_) return;
  ended_ = true;
  answered_ = true;
  abandoned_ = true;
  WakeLocked();
}

StopReason Exchange::reason() const {
  const std::scoped_lock lock(mutex_);
  return reason_;
}

Exchange::Output Exchange::Take(size_t limit_bytes) {
  const std::scoped_lock lock(mutex_);
  Output out{.response = std::exchange(response_, std::nullopt), .head = std::exchange(head_, std::nullopt)};
  if (bytes_.size() <= limit_bytes) {
    out.bytes = std::exchange(bytes_, {});
  } else {
    out.bytes = bytes_.substr(0, limit_bytes);
    bytes_.erase(0, limit_bytes);
  }
  out.ended = ended_ && bytes_.empty();
  out.abandoned = out.ended && abandoned_;
  woken_ = false;
  return out;
}

void Exchange::Taken(size_t bytes) {
  const std::scoped_lock lock(mutex_);
  buffered_ -= std::min(bytes, buffered_);
}

void Exchange::OnOutput(std::function<void()> wake) {
  const std::scoped_lock lock(mutex_);
  wake_ = std::move(wake);
}

bool Exchange::complete() const {
  const std::scoped_lock lock(mutex_);
  return ended_;
}

void Exchange::Stop(StopReason reason) {
  {
    const std::scoped_lock lock(mutex_);
    if (reason == StopReason::kClientGone || reason == StopReason::kTooSlow) deaf_ = true;
    if (reason_ == StopReason::kNone) reason_ = reason;
    WakeLocked();
  }
  stop_.request_stop();
}

void Exchange::Detach() {
  {
    const std::scoped_lock lock(mutex_);
    wake_ = nullptr;
    bytes_ = {};
  }
  if (!complete()) Stop(StopReason::kClientGone);
}

}  // namespace dgemma
