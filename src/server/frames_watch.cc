// Logs of drafts with their watchers. One lock: a draft is copied and at most a few frames are written under it.
#include "server/frames_watch.h"

#include <algorithm>
#include <utility>

#include "server/completion_fields.h"
#include "server/http_error.h"

namespace dgemma {
namespace {

constexpr size_t kLogBytes = 512 << 10;  // of drafts, for each completion; the oldest go first
constexpr size_t kFinishedLogs = 16;
constexpr size_t kWatchers = 8;  // of one completion
constexpr int64_t kPingMs = 10'000;

size_t BytesOf(const StoredDraft& draft) {
  return sizeof(draft) + draft.tokens.size() * sizeof(int32_t) + draft.accepted.size() + draft.entropy_q8.size();
}

}  // namespace

void FramesWatch::Begin(const std::string& id, const std::string& caller, int32_t answers,
                        std::vector<int32_t> stop_tokens) {
  const std::scoped_lock lock(mutex_);
  Log& log = logs_[id];
  log.caller = caller;
  log.answers = answers;
  log.stop_tokens = std::move(stop_tokens);
}

void FramesWatch::Add(const std::string& id, int32_t answer, const StoredDraft& draft) {
  const std::scoped_lock lock(mutex_);
  const auto found = logs_.find(id);
  if (found == logs_.end()) return;
  Log& log = found->second;
  log.drafts.push_back({answer, draft, FrameMaker::Clock::now()});
  log.bytes += BytesOf(draft);
  while (log.bytes > kLogBytes && log.drafts.size() > 1) {
    log.bytes -= BytesOf(log.drafts.front().draft);
    log.drafts.pop_front();
  }
  std::erase_if(log.watchers, [&](Watcher& watcher) { return !Show(id, log.drafts.back(), watcher); });
}

void FramesWatch::End(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  const auto found = logs_.find(id);
  if (found == logs_.end() || found->second.ended) return;
  found->second.ended = true;
  for (Watcher& watcher : found->second.watchers) Close(id, watcher);
  found->second.watchers.clear();
  finished_.push_back(id);
  if (finished_.size() > kFinishedLogs) {
    logs_.erase(finished_.front());
    finished_.pop_front();
  }
}

void FramesWatch::Watch(const std::string& id, const std::string& caller, const FrameWish& wish, const Reply& reply) {
  const std::scoped_lock lock(mutex_);
  const auto found = logs_.find(id);
  HttpError error;
  if (found == logs_.end() || found->second.caller != caller) {
    error.status = 404;
    error.message = "There is no running or recent completion with this id.";
    return reply.Send(ErrorResponse(ApiFamily::kOpenAi, error, id));
  }
  Log& log = found->second;
  if (log.watchers.size() >= kWatchers) {
    error.status = 429;
    error.message = "This completion has too many watchers.";
    error.retry_after_s = 1;
    return reply.Send(ErrorResponse(ApiFamily::kOpenAi, error, id));
  }
  Watcher watcher{
      .stream = reply.Stream(
          {.status = 200, .content_type = std::string(kSseType), .fields = {}, .ping_ms = kPingMs, .ping = SsePing()}),
      .makers = {}};
  for (int32_t answer = 0; answer < log.answers; ++answer) watcher.makers.emplace_back(engine_, wish, log.stop_tokens);
  for (const Kept& kept : log.drafts) {
    if (!Show(id, kept, watcher)) return;
  }
  if (log.ended) return Close(id, watcher);
  log.watchers.push_back(std::move(watcher));
}

bool FramesWatch::Show(const std::string& id, const Kept& kept, Watcher& watcher) {
  if (watcher.stream.stop().stop_requested()) return false;
  FrameMaker& maker = watcher.makers[static_cast<size_t>(kept.answer)];
  if (watcher.stream.behind()) {
    maker.Skip(kept.draft);
    return true;
  }
  const auto frame = maker.Take(kept.draft, kept.made);  // who comes late sees what the rate would have shown
  if (!frame) return true;
  boost::json::object event{{"id", id}, {"object", "diffusion.frame"}, {"index", kept.answer}};
  AddFrame(*frame, event);
  return watcher.stream.Write(SseEvent(JsonLine(event)));
}

void FramesWatch::Close(const std::string& id, Watcher& watcher) {
  watcher.stream.Write(SseEvent(JsonLine(boost::json::object{{"id", id}, {"object", "diffusion.end"}})));
  watcher.stream.Write(SseEvent("[DONE]"));
  watcher.stream.End();
}

}  // namespace dgemma
