// The hash of fingerprints against the values published with it.
#include "base/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace dgemma {
namespace {

/// From the test vectors of draft-eastlake-fnv.
TEST(Fnv1a, IsThePublishedFunction) {
  EXPECT_EQ(Fnv1a().value(), 0xCBF29CE484222325u);
  EXPECT_EQ(Fnv1a().Add("a").value(), 0xAF63DC4C8601EC8Cu);
  EXPECT_EQ(Fnv1a().Add("foobar").value(), 0x85944171F73967E8u);
}

TEST(Fnv1a, CountsBytesAndNotPieces) {
  const std::string text = "\x01\x02\x03\x04\x05\x06\x07\xFF and more";
  const auto bytes = std::as_bytes(std::span(text));
  const uint64_t whole = Fnv1a().Add(text).value();
  EXPECT_EQ(Fnv1a().Add(bytes).value(), whole);
  EXPECT_EQ(Fnv1a().Add(bytes.first(3)).Add(text.substr(3)).value(), whole);
  EXPECT_EQ(Fnv1a().Add(uint64_t{0xFF07060504030201}).Add(" and more").value(), whole);
  EXPECT_NE(Fnv1a().Add("\x01\x02").value(), Fnv1a().Add("\x02\x01").value());
}

}  // namespace
}  // namespace dgemma
