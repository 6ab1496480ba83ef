// Which example comes at which position of the training, and which examples of a step share a pass. Pure functions: the
// whole state of the order is one integer, so a resumed training goes on exactly where it stopped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dgemma {

/// Whether epochs are shuffled.
enum class Order : uint8_t { kShuffled, kAsGiven };

/// Number of the example at `position`, which counts examples over all epochs from 0: each epoch holds each of `count`
/// examples once, in an order that only (seed, epoch) decides. count in [1, 2^40], position >= 0. Constant time and no
/// memory.
int64_t ExampleAt(int64_t position, int64_t count, uint64_t seed, Order order);

/// Place of `index` in the epoch's order: a bijection of [0, count).
int64_t Shuffled(int64_t index, int64_t count, uint64_t seed, int64_t epoch);

/// Groups of examples for one pass each. rows[i] is what example i adds to a pass (TrainExample::rows); no group has
/// more than `budget` unless a single example does, which then is alone. Longest first into the first group with room;
/// groups and their members come in ascending order of examples, so sums over them have one order. O(n * groups).
std::vector<std::vector<int64_t>> PackPasses(std::span<const int64_t> rows, int64_t budget);

}  // namespace dgemma
