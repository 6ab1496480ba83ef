// Who is next: a queue that takes turns between owners (round robin) and is first in, first out for each of them.
// The Scheduler's queue of requests, owners being salts; nothing here knows what waits.
#pragma once

#include <deque>
#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dgemma {

template <typename T>
class FairQueue {
 public:
  bool empty() const { return size_ == 0; }
  int64_t size() const { return size_; }
  /// Of one owner.
  int64_t size(const std::string& owner) const {
    for (const Line& line : lines_) {
      if (line.owner == owner) return std::ssize(line.waiting);
    }
    return 0;
  }

  /// An owner without anything in the queue takes its turn after all others.
  void Push(const std::string& owner, T item) {
    for (Line& line : lines_) {
      if (line.owner != owner) continue;
      line.waiting.push_back(std::move(item));
      ++size_;
      return;
    }
    Line line{owner, {}};
    line.waiting.push_back(std::move(item));
    lines_.push_back(std::move(line));
    ++size_;
  }

  /// The oldest `ready` one of the first owner, in order of turns, that has any; that owner's next turn is after all others.
  template <typename Predicate>
  std::optional<T> Pop(Predicate&& ready) {
    return Take(ready, [&](auto line) { lines_.splice(lines_.end(), lines_, line); });
  }

  /// Takes out the first item that `leaves`, whoever owns it; turns do not change.
  template <typename Predicate>
  std::optional<T> Remove(Predicate&& leaves) {
    return Take(leaves, [](auto) {});
  }

 private:
  struct Line {
    std::string owner;
    std::deque<T> waiting;  // never empty
  };

  template <typename Predicate, typename OnTurn>
  std::optional<T> Take(Predicate&& fits, OnTurn&& on_turn) {
    for (auto line = lines_.begin(); line != lines_.end(); ++line) {
      for (auto place = line->waiting.begin(); place != line->waiting.end(); ++place) {
        if (!fits(*place)) continue;
        T item = std::move(*place);
        line->waiting.erase(place);
        --size_;
        if (line->waiting.empty())
          lines_.erase(line);
        else
          on_turn(line);
        return item;
      }
    }
    return std::nullopt;
  }

  std::list<Line> lines_;  // in order of turns
  int64_t size_ = 0;
};

}  // namespace dgemma
