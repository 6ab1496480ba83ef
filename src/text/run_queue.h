// A priority queue of 64-bit keys for many entries: a small heap takes what is new, and whenever it is full its
// contents become a sorted run; the runs' heads are a second small heap. Both heaps stay in the first-level cache,
// which makes this several times as quick as one large heap. Used by bpe.cc for long stretches of text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace dgemma {

class RunQueue {
 public:
  bool empty() const { return fresh_.empty() && heads_.empty(); }

  /// O(log n).
  void Push(uint64_t key) {
    fresh_.push_back(key);
    std::push_heap(fresh_.begin(), fresh_.end(), std::greater<>());
    if (fresh_.size() == kRunLength) Seal();
  }

  /// Removes and returns the smallest key. Requires !empty(). O(log n), O(1) while one run holds the smallest keys.
  uint64_t Pop() {
    if (heads_.empty() || (!fresh_.empty() && fresh_.front() < heads_.front().key)) {
      std::pop_heap(fresh_.begin(), fresh_.end(), std::greater<>());
      const uint64_t key = fresh_.back();
      fresh_.pop_back();
      return key;
    }
    Head& head = heads_.front();
    const uint64_t key = head.key;
    if (++head.next < head.end) {
      head.key = sealed_[head.next];
    } else {
      head = heads_.back();
      heads_.pop_back();
    }
    SinkFirstHead();
    return key;
  }

  /// The key that Pop would return. Requires !empty().
  uint64_t Smallest() const {
    if (heads_.empty()) return fresh_.front();
    return fresh_.empty() ? heads_.front().key : std::min(fresh_.front(), heads_.front().key);
  }

  void Clear() {
    fresh_.clear();
    heads_.clear();
    sealed_.clear();
  }

 private:
  static constexpr size_t kRunLength = 2048;
  struct Head {
    uint64_t key;      // sealed_[next]
    size_t next, end;  // what is left of the run
  };
  static bool Later(const Head& a, const Head& b) { return a.key > b.key; }

  /// Restores the order of heads_ after its first entry has become larger.
  void SinkFirstHead() {
    for (size_t at = 0, child = 1; child < heads_.size(); child = 2 * at + 1) {
      if (child + 1 < heads_.size() && heads_[child + 1].key < heads_[child].key) ++child;
      if (heads_[at].key <= heads_[child].key) break;
      std::swap(heads_[at], heads_[child]);
      at = child;
    }
  }

  void Seal() {
    std::sort(fresh_.begin(), fresh_.end());
    heads_.push_back({fresh_.front(), sealed_.size(), sealed_.size() + fresh_.size()});
    std::push_heap(heads_.begin(), heads_.end(), Later);
    sealed_.insert(sealed_.end(), fresh_.begin(), fresh_.end());
    fresh_.clear();
  }

  std::vector<uint64_t> fresh_;   // heap, smallest first
  std::vector<uint64_t> sealed_;  // sorted runs, one after the other
  std::vector<Head> heads_;       // heap by key, one entry for each run that is not used up
};

}  // namespace dgemma
