// Building of the pair index, with a bound on probes so that no list of rules makes it slow.
#include "text/merge_table.h"

#include <array>
#include <bit>

namespace dgemma {
namespace {

constexpr int kProbesAllowed = 512;
// Odd constants without structure; each is a different arrangement of the same table.
constexpr std::array<uint64_t, 6> kMultipliers = {0x9E3779B97F4A7C15U, 0xC2B2AE3D27D4EB4FU, 0xD6E8FEB86659FD93U,
                                                  0xA0761D6478BD642FU, 0xE7037ED1A0B428DBU, 0x8EBC6AF09C88C6E3U};

}  // namespace

Result<MergeTable> MergeTable::Build(std::span<const MergeRule> rules) {
  if (rules.size() >= kNoRank) return Fail(StatusCode::kInvalidFile, "merges: too many rules");
  MergeTable table;
  const uint64_t size = std::bit_ceil(std::max<uint64_t>(16, rules.size() * 2));
  table.mask_ = size - 1;
  table.shift_ = 64 - std::countr_zero(size);
  table.results_.reserve(rules.size());
  for (const MergeRule& rule : rules) {
    for (int32_t id : {rule.left, rule.right, rule.result}) {
      if (id < 0 || id >= kMaxIds) return Fail(StatusCode::kInvalidFile, "merges: id outside the vocabulary");
    }
    table.results_.push_back(rule.result);
  }
  for (uint64_t multiplier : kMultipliers) {
    table.multiplier_ = multiplier;
    table.slots_.assign(size, kEmpty);
    if (table.Insert(rules)) return table;
  }
  return Fail(StatusCode::kInvalidFile, "merges: pairs collide (made to be slow)");
}

bool MergeTable::Insert(std::span<const MergeRule> rules) {
  for (size_t rank = 0; rank < rules.size(); ++rank) {
    const uint64_t key = Key(rules[rank].left, rules[rank].right);
    uint64_t slot = Slot(key);
    int probes = 0;
    while (slots_[slot] != kEmpty && (slots_[slot] >> kRankBits) != key) {
      if (++probes > kProbesAllowed) return false;
      slot = (slot + 1) & mask_;
    }
    slots_[slot] = (key << kRankBits) | rank;
  }
  return true;
}

}  // namespace dgemma
