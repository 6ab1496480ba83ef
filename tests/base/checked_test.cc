// Checked arithmetic against arithmetic in 128 bits, on random and extreme values.
#include "base/checked.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace dgemma {
namespace {

__extension__ using Wide = unsigned __int128;

/// Numbers of every magnitude, and the edges.
std::vector<uint64_t> Numbers() {
  std::vector<uint64_t> numbers = {
      0, 1, 2, 3, UINT32_MAX, uint64_t{1} << 32, INT64_MAX, uint64_t{1} << 63, UINT64_MAX - 1, UINT64_MAX};
  std::mt19937_64 random(1);
  for (int i = 0; i < 500; ++i) numbers.push_back(random() >> (random() % 64));
  return numbers;
}

void ExpectFits(const Result<uint64_t>& result, Wide exact) {
  ASSERT_EQ(result.has_value(), exact <= UINT64_MAX);
  if (result) {
    EXPECT_EQ(*result, static_cast<uint64_t>(exact));
  } else {
    EXPECT_EQ(result.error().code, StatusCode::kInvalidArgument);
  }
}

TEST(Checked, SumsAndProductsFitOrFail) {
  const std::vector<uint64_t> numbers = Numbers();
  for (const uint64_t a : numbers) {
    for (const uint64_t b : numbers) {
      ExpectFits(CheckedMul(a, b), static_cast<Wide>(a) * b);
      ExpectFits(CheckedAdd(a, b), static_cast<Wide>(a) + b);
    }
  }
}

TEST(Checked, ProductOfManyFactors) {
  const auto product = [](std::vector<uint64_t> factors) { return CheckedProduct(factors); };
  EXPECT_EQ(product({}), 1U);
  EXPECT_EQ(product({7}), 7U);
  EXPECT_EQ(product({30, 128, 1408, 2816}), uint64_t{30} * 128 * 1408 * 2816);
  EXPECT_EQ(product({uint64_t{1} << 32, (uint64_t{1} << 32) - 1}), ((uint64_t{1} << 32) - 1) << 32);
  EXPECT_FALSE(product({uint64_t{1} << 32, uint64_t{1} << 32}));
  EXPECT_EQ(product({0, UINT64_MAX, UINT64_MAX}), 0U);
  EXPECT_FALSE(product({UINT64_MAX, UINT64_MAX, 0}));  // left to right: an overflow is not undone by a zero
}

template <typename To, typename From>
void ExpectCast(From value, bool fits) {
  const Result<To> cast = CheckedCast<To>(value);
  ASSERT_EQ(cast.has_value(), fits);
  EXPECT_TRUE(!cast || std::cmp_equal(*cast, value));
}

TEST(Checked, CastsKeepTheValueOrFail) {
  ExpectCast<int32_t>(int64_t{INT32_MAX}, true);
  ExpectCast<int32_t>(int64_t{INT32_MAX} + 1, false);
  ExpectCast<int32_t>(int64_t{INT32_MIN}, true);
  ExpectCast<int32_t>(int64_t{INT32_MIN} - 1, false);
  ExpectCast<int64_t>(uint64_t{INT64_MAX}, true);
  ExpectCast<int64_t>(uint64_t{INT64_MAX} + 1, false);
  ExpectCast<uint64_t>(int64_t{-1}, false);
  ExpectCast<uint8_t>(255, true);
  ExpectCast<uint8_t>(256, false);
  ExpectCast<uint8_t>(-1, false);
}

}  // namespace
}  // namespace dgemma
