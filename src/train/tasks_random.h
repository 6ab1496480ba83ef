// Random numbers of the task generator: a stream that is a pure function of (seed, task, index, attempt), on Philox.
// Used by the files tasks*.cc and by the generator of Sudoku; noise of the diffusion process is elsewhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace dgemma {

/// 64-bit hash of bytes (FNV-1a, then mixed so that every bit depends on all): the same on every machine.
uint64_t HashText(std::string_view text);

class TaskRandom {
 public:
  /// Streams of different tasks, indices or attempts are independent.
  TaskRandom(uint64_t seed, std::string_view task, uint64_t index, uint32_t attempt);

  /// Uniform integer in [0, bound); bound >= 1. Bias below bound / 2^32.
  uint32_t Below(uint32_t bound);
  /// Uniform integer in [low, high].
  int Between(int low, int high) { return low + static_cast<int>(Below(static_cast<uint32_t>(high - low + 1))); }
  /// True in `percent` of 100 draws.
  bool Chance(uint32_t percent) { return Below(100) < percent; }
  /// One element of a list that is not empty.
  template <typename T, size_t N>
  const T& Pick(const std::array<T, N>& list) {
    return list[Below(static_cast<uint32_t>(N))];
  }
  template <typename T>
  const T& Pick(const std::vector<T>& list) {
    return list[Below(static_cast<uint32_t>(list.size()))];
  }
  /// A uniform permutation in place.
  template <typename T>
  void Shuffle(std::span<T> list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[Below(static_cast<uint32_t>(i))]);
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;  // draw block, attempt, index
  std::array<uint32_t, 4> words_{};
  size_t used_ = 4;  // of words_
};

}  // namespace dgemma
