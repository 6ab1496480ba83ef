// Watching a completion from elsewhere: the drafts of running and of the last finished completions, kept for
// GET /v1/diffusion/{id}/frames. Whoever watches sees frames from the beginning, then live ones.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "server/frames.h"
#include "server/reply.h"

namespace dgemma {

class FramesWatch {
 public:
  /// The engine must outlive this.
  explicit FramesWatch(const Engine& engine) : engine_(engine) {}

  /// A completion begins. Others than `caller` (the name of a key) cannot watch it.
  void Begin(const std::string& id, const std::string& caller, int32_t answers, std::vector<int32_t> stop_tokens);
  /// A draft of one of its answers.
  void Add(const std::string& id, int32_t answer, const StoredDraft& draft);
  /// All its answers have ended.
  void End(const std::string& id);

  /// Answers a watcher with a stream of frames, or 404 when no completion of this caller has that id.
  void Watch(const std::string& id, const std::string& caller, const FrameWish& wish, const Reply& reply);

 private:
  struct Watcher {
    ResponseStream stream;
    std::vector<FrameMaker> makers;  // one an answer
  };
  struct Kept {
    int32_t answer = 0;
    StoredDraft draft;
    FrameMaker::Clock::time_point made;
  };
  struct Log {
    std::string caller;
    int32_t answers = 1;
    std::vector<int32_t> stop_tokens;
    std::deque<Kept> drafts;
    size_t bytes = 0;
    bool ended = false;
    std::list<Watcher> watchers;
  };

  static bool Show(const std::string& id, const Kept& kept, Watcher& watcher);
  static void Close(const std::string& id, Watcher& watcher);

  const Engine& engine_;
  std::mutex mutex_;
  std::map<std::string, Log> logs_;
  std::deque<std::string> finished_;  // ids, oldest first
};

}  // namespace dgemma
