// Two ways to merge a stretch: a scan for the few symbols of a word, a priority queue for everything else.
#include "text/bpe.h"

#include <algorithm>

namespace dgemma {
namespace {

constexpr size_t kScanUpTo = 32;  // symbols; the scan is quadratic, and this bound keeps its share of the time linear
constexpr uint32_t kEnd = 0xFFFFFFFF;

}  // namespace

void BpeRun::Flush() {
  if (ids_.size() > kScanUpTo) {
    MergeByQueue();
  } else {
    if (ids_.size() > 1) MergeByScan();
    out_.insert(out_.end(), ids_.begin(), ids_.end());
  }
  ids_.clear();
  last_ = kNoCharacter;
}

void BpeRun::MergeByScan() {
  ranks_.resize(ids_.size() - 1);
  for (size_t i = 0; i + 1 < ids_.size(); ++i) ranks_[i] = merges_.Rank(ids_[i], ids_[i + 1]);
  while (!ranks_.empty()) {
    const auto best = std::min_element(ranks_.begin(), ranks_.end());
    if (*best == MergeTable::kNoRank) break;
    const auto left = static_cast<size_t>(best - ranks_.begin());
    ids_[left] = merges_.Made(*best);
    ids_.erase(ids_.begin() + static_cast<std::ptrdiff_t>(left) + 1);
    ranks_.erase(best);
    if (left > 0) ranks_[left - 1] = merges_.Rank(ids_[left - 1], ids_[left]);
    if (left + 1 < ids_.size()) ranks_[left] = merges_.Rank(ids_[left], ids_[left + 1]);
  }
}

uint32_t BpeRun::RankOfPair(uint32_t left) const {
  const Symbol& symbol = symbols_[left];
  return symbol.next == kEnd ? MergeTable::kNoRank : merges_.Rank(symbol.id, symbols_[symbol.next].id);
}

void BpeRun::SetRank(uint32_t left, uint32_t rank) {
  symbols_[left].rank = rank;
  if (rank != MergeTable::kNoRank) queue_.Push((static_cast<uint64_t>(rank) << 32) | left);
}

void BpeRun::MergeByQueue() {
  queue_.Clear();
  symbols_.resize(ids_.size());
  const auto count = static_cast<uint32_t>(ids_.size());
  for (uint32_t i = 0; i < count; ++i) {
    symbols_[i] = {ids_[i], i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1, MergeTable::kNoRank};
  }
  for (uint32_t i = 0; i + 1 < count; ++i) SetRank(i, RankOfPair(i));
  while (!queue_.empty()) {
    const uint64_t entry = queue_.Pop();
    // Entries jump all over the text; asking for the next symbol now hides most of the wait for memory.
    if (!queue_.empty()) __builtin_prefetch(&symbols_[static_cast<uint32_t>(queue_.Smallest())]);
    const auto rank = static_cast<uint32_t>(entry >> 32);
    const auto position = static_cast<uint32_t>(entry);
    Symbol& left = symbols_[position];
    if (left.rank != rank) continue;  // out of date: one of the two symbols has changed since, or is gone
    Symbol& right = symbols_[left.next];
    left.id = merges_.Made(rank);
    left.next = right.next;
    right.rank = MergeTable::kNoRank;
    if (left.next != kEnd) symbols_[left.next].previous = position;
    // Both look-ups before anything is pushed, so that they wait for memory together.
    const uint32_t rank_after = RankOfPair(position);
    if (left.previous != kEnd) SetRank(left.previous, RankOfPair(left.previous));
    SetRank(position, rank_after);
  }
  for (uint32_t i = 0; i != kEnd; i = symbols_[i].next) out_.push_back(symbols_[i].id);
}

}  // namespace dgemma
