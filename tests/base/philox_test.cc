// Philox against the vectors its authors published, and its distributions against bounds derived for fair draws.
#include "base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace dgemma {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Philox, PublishedVectors) {
  // Random123, kat_vectors, lines "philox4x32 10".
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, DrawsDependOnEveryPartOfTheKey) {
  const DrawKey base{.seed = 5, .canvas = 1, .step = 2, .row = 3, .purpose = Draw::kSample};
  std::vector<DrawKey> keys(7, base);
  keys[1].seed = 6;
  keys[2].seed = 5 + (uint64_t{1} << 32);
  keys[3].canvas = 2;
  keys[4].step = 3;
  keys[5].row = 4;
  keys[6].purpose = Draw::kRenoise;
  std::set<double> draws;
  for (const DrawKey& key : keys) {
    draws.insert(UniformDouble(key));
    EXPECT_EQ(UniformDouble(key), UniformDouble(key));
  }
  EXPECT_EQ(draws.size(), keys.size());
}

// A mean of n fair draws from [0, 1) has standard deviation sqrt(1 / (12 n)); a count of n draws that hit with
// probability p has sqrt(n p (1 - p)). Six of them are passed by a fair source once in 10^9 times. The draws are fixed
// by their keys, so the outcome never changes.
TEST(Philox, UniformDoubleIsFair) {
  constexpr int kDraws = 200'000, kBins = 64;
  std::array<int, kBins> bins{};
  double sum = 0;
  for (uint32_t i = 0; i < kDraws; ++i) {
    const double draw =
        UniformDouble({.seed = 42, .canvas = i / 256, .step = 7, .row = i % 256, .purpose = Draw::kSample});
    ASSERT_GE(draw, 0.0);
    ASSERT_LT(draw, 1.0);
    sum += draw;
    ++bins[static_cast<size_t>(draw * kBins)];
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 6 * std::sqrt(1.0 / 12 / kDraws));
  const double p = 1.0 / kBins;
  for (const int count : bins) EXPECT_NEAR(count, kDraws * p, 6 * std::sqrt(kDraws * p * (1 - p)));
}

TEST(Philox, UniformIntIsFairAndInRange) {
  constexpr int kDraws = 100'000;
  for (const uint32_t bound : {1U, 2U, 3U, 10U, 97U}) {
    std::vector<int> counts(bound);
    for (uint32_t i = 0; i < kDraws; ++i) {
      const uint32_t draw = UniformInt({.seed = 9, .canvas = 0, .step = i, .row = 0, .purpose = Draw::kRenoise}, bound);
      ASSERT_LT(draw, bound);
      ++counts[draw];
    }
    const double p = 1.0 / bound;
    for (const int count : counts) EXPECT_NEAR(count, kDraws * p, 6 * std::sqrt(kDraws * p * (1 - p)) + 1e-9) << bound;
  }
  // Large bounds reach both ends of their range.
  uint32_t lowest = UINT32_MAX, highest = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    const uint32_t draw = UniformInt({.seed = 1, .row = i}, UINT32_MAX);
    lowest = std::min(lowest, draw);
    highest = std::max(highest, draw);
  }
  EXPECT_LT(lowest, UINT32_MAX / 50);
  EXPECT_GT(highest, UINT32_MAX / 50 * 49);
}

}  // namespace
}  // namespace dgemma
