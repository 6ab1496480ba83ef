// The bounds of files/limits.h on GGUF files at limit - 1, limit and limit + 1, with the limits the program ships.
#include <gtest/gtest.h>

#include <functional>

#include "files/bytes.h"
#include "files/gguf.h"
#include "gguf_bytes.h"

namespace dgemma {
namespace {

const FileLimits kLimits;

/// accepted(n) must hold for limit - 1 and limit, and not for limit + 1.
void ExpectLimit(uint64_t limit, const std::function<bool(uint64_t)>& accepted) {
  EXPECT_TRUE(accepted(limit - 1));
  EXPECT_TRUE(accepted(limit));
  EXPECT_FALSE(accepted(limit + 1));
}

bool Accepted(const std::string& file) { return ParseGguf(AsBytes(file)).has_value(); }

TEST(GgufLimits, Tensors) {
  ExpectLimit(kLimits.gguf_tensors, [](uint64_t n) {
    std::string head = GgufPrefix(n, 1) + U32Key("general.alignment", 8);
    for (uint64_t i = 0; i < n; ++i) head += TensorEntry(std::to_string(i), {1}, 0, 8 * i);
    return Accepted(GgufFile(head, 8 * n, 8));
  });
}

TEST(GgufLimits, MetadataEntries) {
  ExpectLimit(kLimits.gguf_metadata_entries, [](uint64_t n) {
    std::string head = GgufPrefix(0, n);
    for (uint64_t i = 0; i < n; ++i) head += U32Key(std::to_string(i), 0);
    return Accepted(head);
  });
}

TEST(GgufLimits, KeyBytes) {
  ExpectLimit(kLimits.gguf_key_bytes,
              [](uint64_t n) { return Accepted(GgufPrefix(0, 1) + U32Key(std::string(n, 'k'), 0)); });
}

TEST(GgufLimits, TextBytes) {
  ExpectLimit(kLimits.gguf_text_bytes,
              [](uint64_t n) { return Accepted(GgufPrefix(0, 1) + TextKey("k", std::string(n, 'x'))); });
  ExpectLimit(kLimits.gguf_text_bytes, [](uint64_t n) {
    return Accepted(GgufPrefix(0, 1) + ArrayKey("k", 8, 1, RawText(std::string(n, 'x'))));
  });
}

TEST(GgufLimits, ArrayEntries) {
  ExpectLimit(kLimits.gguf_array_entries,
              [](uint64_t n) { return Accepted(GgufPrefix(0, 1) + ArrayKey("k", 0, n, std::string(n, 'x'))); });
}

TEST(GgufLimits, TensorNameBytes) {
  ExpectLimit(kLimits.gguf_tensor_name_bytes, [](uint64_t n) {
    return Accepted(GgufFile(GgufPrefix(1, 0) + TensorEntry(std::string(n, 'a'), {1}, 0, 0), 4));
  });
}

TEST(GgufLimits, Dimensions) {
  ExpectLimit(kLimits.gguf_dimensions, [](uint64_t n) {
    std::string entry = RawText("a") + Raw(static_cast<uint32_t>(n));
    for (uint64_t i = 0; i < n; ++i) entry += Raw<uint64_t>(1);
    return Accepted(GgufFile(GgufPrefix(1, 0) + entry + Raw<uint32_t>(0) + Raw<uint64_t>(0), 4));
  });
}

TEST(GgufLimits, Alignment) {
  const auto accepted = [](uint64_t alignment) {
    return Accepted(GgufPrefix(0, 1) + U32Key("general.alignment", static_cast<uint32_t>(alignment)));
  };
  EXPECT_TRUE(accepted(kLimits.gguf_alignment / 2));
  EXPECT_TRUE(accepted(kLimits.gguf_alignment));
  EXPECT_FALSE(accepted(kLimits.gguf_alignment * 2));
  EXPECT_FALSE(accepted(kLimits.gguf_alignment + 1));
}

TEST(GgufLimits, HeaderBytes) {
  // Arrays of numbers fill the header up to one byte. Lowered, so that the test needs no 128 MiB.
  FileLimits limits;
  limits.gguf_header_bytes = 10'000;
  const uint64_t empty = (GgufPrefix(0, 1) + ArrayKey("k", 0, 0, "")).size();
  ExpectLimit(limits.gguf_header_bytes, [&](uint64_t n) {
    const std::string head = GgufPrefix(0, 1) + ArrayKey("k", 0, n - empty, std::string(n - empty, 'x'));
    const auto table = ParseGguf(AsBytes(head), limits);
    if (!table) {
      EXPECT_NE(table.error().message.find("exceed the limit of 10000 header bytes"), std::string::npos)
          << table.error().message;
    }
    return table.has_value();
  });
}

}  // namespace
}  // namespace dgemma
