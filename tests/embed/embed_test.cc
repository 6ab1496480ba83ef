// Embedded files come out byte for byte: every value of a byte, an empty file, and one of a megabyte.
// The table is written by cmake/embed.cmake from tests/data/embed/ and a file made at configuration.
#include <gtest/gtest.h>

#include <cstdint>

#include "embedded/sample.h"

namespace dgemma {
namespace {

TEST(Embed, FilesKeepTheirOrderAndNames) {
  ASSERT_EQ(SampleFiles().size(), 3u);
  EXPECT_EQ(SampleFiles()[0].name, "all_bytes.bin");
  EXPECT_EQ(SampleFiles()[1].name, "empty.txt");
  EXPECT_EQ(SampleFiles()[2].name, "big.bin");
}

TEST(Embed, EveryByteValueSurvives) {
  const EmbeddedFile* file = FindEmbedded(SampleFiles(), "all_bytes.bin");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(file->bytes.size(), 256u);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(std::to_integer<size_t>(file->bytes[i]), i);
}

TEST(Embed, AnEmptyFileIsEmpty) {
  const EmbeddedFile* file = FindEmbedded(SampleFiles(), "empty.txt");
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(file->bytes.empty());
}

TEST(Embed, ALargeFileIsWholeAndAligned) {
  const EmbeddedFile* file = FindEmbedded(SampleFiles(), "big.bin");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(file->bytes.size(), 1048576u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->bytes.data()) % 64, 0u);
  constexpr std::string_view kPattern = "0123456789abcdef";
  for (size_t i = 0; i < file->bytes.size(); ++i) {
    ASSERT_EQ(std::to_integer<char>(file->bytes[i]), kPattern[i % 16]) << "at byte " << i;
  }
}

TEST(Embed, UnknownNamesAreNotFound) { EXPECT_EQ(FindEmbedded(SampleFiles(), "big"), nullptr); }

}  // namespace
}  // namespace dgemma
