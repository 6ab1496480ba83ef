// Status and the two macros that pass it on.
#include "dgemma/status.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/try.h"

namespace dgemma {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(StatusCode::kInvalidArgument, std::to_string(value) + " is odd");
  return value / 2;
}

Result<void> RequireEven(int value) {
  DG_TRY([[maybe_unused]] const int half, Half(value));
  return {};
}

Result<int> Quarter(int value) {
  DG_CHECK_OK(RequireEven(value));
  DG_TRY(int half, Half(value));
  DG_TRY(half, Half(half));
  return half;
}

TEST(Status, TravelsThroughTheMacros) {
  EXPECT_EQ(Quarter(12), 3);
  EXPECT_EQ(Quarter(7).error(), (Status{StatusCode::kInvalidArgument, "7 is odd"}));
  EXPECT_EQ(Quarter(6).error(), (Status{StatusCode::kInvalidArgument, "3 is odd"}));
}

TEST(Status, AtPutsThePlaceInFront) {
  EXPECT_EQ((Status{StatusCode::kIo, "read failed"}.At("b").At("a")), (Status{StatusCode::kIo, "a: b: read failed"}));
}

TEST(Status, EveryCodeHasItsOwnName) {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    names.insert(Name(static_cast<StatusCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(StatusCode::kInternal) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace dgemma
