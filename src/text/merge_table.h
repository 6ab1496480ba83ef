// The merge rules of byte pair encoding, indexed by the pair of ids they join. Also knows which neighbouring characters
// no rule can ever join, so that text can be cut there. Read-only after building; used by bpe.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// One rule: `left` followed by `right` becomes `result`. Its rank is its place in the list.
struct MergeRule {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

class MergeTable {
 public:
  static constexpr uint32_t kNoRank = 0xFFFFFF;      ///< "no rule for this pair"; larger than every rank
  static constexpr int32_t kMaxIds = (1 << 20) - 1;  ///< ids fit 20 bits: a pair and its rank fit one 64-bit word

  /// Ids in [0, kMaxIds), fewer than kNoRank rules; of two rules for one pair the later one counts. Linear time.
  static Result<MergeTable> Build(std::span<const MergeRule> rules);

  /// Rank of the rule that joins two ids, or kNoRank.
  uint32_t Rank(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (uint64_t slot = Slot(key);; slot = (slot + 1) & mask_) {
      const uint64_t entry = slots_[slot];
      if ((entry >> kRankBits) == key) return static_cast<uint32_t>(entry & kNoRank);
      if (entry == kEmpty) return kNoRank;
    }
  }
  /// Id that the rule of this rank makes. Requires rank < number of rules.
  int32_t Made(uint32_t rank) const { return results_[rank]; }

 private:
  static constexpr int kRankBits = 24;
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 20) | static_cast<uint32_t>(right);
  }
  uint64_t Slot(uint64_t key) const { return (key * multiplier_) >> shift_; }
  bool Insert(std::span<const MergeRule> rules);

  std::vector<uint64_t> slots_;  // key (40 bits), rank (24 bits); size is a power of two, at most half full
  std::vector<int32_t> results_;
  uint64_t mask_ = 0;
  uint64_t multiplier_ = 0;
  int shift_ = 0;
};

/// A set of pairs of characters that may answer "perhaps" for a pair it does not hold, never "no" for one it does.
class JunctionSet {
 public:
  JunctionSet() : bits_((size_t{1} << kBits) / 64) {}
  void Add(char32_t left, char32_t right) {
    bits_[Index(left, right) / 64] |= uint64_t{1} << (Index(left, right) % 64);
  }
  void AddAll() { bits_.assign(bits_.size(), ~uint64_t{0}); }
  bool MayHold(char32_t left, char32_t right) const {
    return ((bits_[Index(left, right) / 64] >> (Index(left, right) % 64)) & 1U) != 0;
  }

 private:
  static constexpr int kBits = 20;  // 128 KiB; a released vocabulary has about 34,000 pairs
  static size_t Index(char32_t left, char32_t right) {
    return static_cast<size_t>((((static_cast<uint64_t>(left) << 21) | right) * 0x9E3779B97F4A7C15U) >> (64 - kBits));
  }
  std::vector<uint64_t> bits_;
};

}  // namespace dgemma
