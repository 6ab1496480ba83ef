// A Feistel network as the permutation, and first-fit decreasing.
#include "train/packing.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/philox.h"

namespace dgemma {
namespace {

constexpr uint32_t kRounds = 8;  // more than the four that make a Feistel network of good rounds a good permutation

/// A keyed permutation of [0, 4^half_bits): each round adds a keyed function of one half to the other.
uint64_t Feistel(uint64_t value, int half_bits, uint64_t seed, int64_t epoch) {
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const DrawKey key{seed, static_cast<uint32_t>(epoch), round, static_cast<uint32_t>(right), Draw::kShuffle};
    const uint64_t mixed = left ^ (UniformInt(key, UINT32_MAX) & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits | right;
}

}  // namespace

int64_t Shuffled(int64_t index, int64_t count, uint64_t seed, int64_t epoch) {
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(count - 1)));
  const int half_bits = std::max(1, (bits + 1) / 2);
  auto value = static_cast<uint64_t>(index);
  do {  // values outside [0, count) are walked past; at most three of four are, so a few turns are enough
    value = Feistel(value, half_bits, seed, epoch);
  } while (value >= static_cast<uint64_t>(count));
  return static_cast<int64_t>(value);
}

int64_t ExampleAt(int64_t position, int64_t count, uint64_t seed, Order order) {
  const int64_t epoch = position / count, index = position % count;
  return order == Order::kAsGiven ? index : Shuffled(index, count, seed, epoch);
}

std::vector<std::vector<int64_t>> PackPasses(std::span<const int64_t> rows, int64_t budget) {
  std::vector<int64_t> longest_first(rows.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  const auto rows_of = [&](int64_t example) { return rows[static_cast<size_t>(example)]; };
  std::ranges::sort(longest_first, {}, [&](int64_t example) { return std::pair(-rows_of(example), example); });
  std::vector<std::vector<int64_t>> groups;
  std::vector<int64_t> room;  // of each group
  for (const int64_t example : longest_first) {
    const auto fits = std::ranges::find_if(room, [&](int64_t left) { return left >= rows_of(example); });
    const auto group = static_cast<size_t>(fits - room.begin());
    if (fits == room.end()) {
      groups.emplace_back();
      room.push_back(budget);
    }
    groups[group].push_back(example);
    room[group] -= rows_of(example);
  }
  for (std::vector<int64_t>& group : groups) std::ranges::sort(group);
  std::ranges::sort(groups);
  return groups;
}

}  // namespace dgemma
