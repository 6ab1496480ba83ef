// The GGUF writer: exact bytes of a small file, what our reader finds in a larger one, and every refusal.
#include "files/gguf_writer.h"

#include <gtest/gtest.h>

#include "files/bytes.h"
#include "gguf_bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

TEST(GgufWriter, WritesTheseBytes) {
  const TempFolder folder;
  GgufMetadata metadata;
  metadata.Put("a", uint32_t{7});
  metadata.Put("b", 0.5f);
  metadata.Put("c", true);
  metadata.Put("d", "text");
  const std::vector<int32_t> integers = {-1, 2};
  metadata.Put("e", std::span<const int32_t>(integers));
  metadata.Put("f", std::vector<bool>{true, false});
  const std::vector<std::string> texts = {"x", ""};
  metadata.Put("g", std::span<const std::string>(texts));
  const std::string six = "abcdef", eight = "01234567";
  ASSERT_TRUE(WriteGguf(folder.path() / "f", metadata,
                        {TensorFromMemory("one", DType::kF16, {1, 3}, AsBytes(six)),
                         TensorFromMemory("two", DType::kF32, {2}, AsBytes(eight))}));
  std::string head = GgufPrefix(2, 7) + U32Key("a", 7) + Key("b", 6, Raw(0.5f)) + Key("c", 7, "\1") +
                     TextKey("d", "text") + ArrayKey("e", 5, 2, Raw<int32_t>(-1) + Raw<int32_t>(2)) +
                     ArrayKey("f", 7, 2, std::string("\1\0", 2)) + ArrayKey("g", 8, 2, RawText("x") + RawText("")) +
                     TensorEntry("one", {3, 1}, 1, 0) + TensorEntry("two", {2}, 0, 32);
  head.resize((head.size() + 31) / 32 * 32);
  std::string data = six;
  data.resize(32);
  data += eight;
  data.resize(64);
  EXPECT_EQ(FileContent(folder.path() / "f"), head + data);
}

TEST(GgufWriter, RefusesWhatTheReaderWouldRefuse) {
  const TempFolder folder;
  const std::string four = "abcd";
  const auto write = [&](const std::vector<TensorToWrite>& tensors, const GgufMetadata& metadata = {}) {
    const auto done = WriteGguf(folder.path() / "f", metadata, tensors);
    EXPECT_FALSE(done);
    EXPECT_EQ(done.error().code, StatusCode::kInvalidArgument);
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "f"));
    return done.error().message;
  };
  const auto tensor = [&](const char* name, DType dtype = DType::kF32, std::vector<uint64_t> shape = {1}) {
    return TensorFromMemory(name, dtype, std::move(shape), AsBytes(four));
  };
  const auto contains = [](const std::string& message, const char* part) {
    return message.find(part) != std::string::npos;
  };
  EXPECT_TRUE(contains(write({tensor("a"), tensor("a")}), "tensor \"a\": occurs twice"));
  EXPECT_TRUE(contains(write({tensor("with space")}), "not printable ASCII"));
  EXPECT_TRUE(contains(write({tensor("a", DType::kU8, {4})}), "tensor \"a\": type U8 does not exist in GGUF files"));
  EXPECT_TRUE(contains(write({tensor("a", DType::kQ8_0, {33})}),
                       "tensor \"a\": rows of 33 values are no whole number of blocks"));
  EXPECT_TRUE(contains(write({tensor("a", DType::kF32, {UINT64_MAX, 4})}), "size overflows 64 bits"));
  EXPECT_TRUE(
      contains(write({tensor("a", DType::kF32, {2})}), "tensor \"a\": 4 bytes were delivered, shape and dtype need 8"));
  EXPECT_TRUE(contains(write({tensor("a", DType::kF16, {1})}),
                       "tensor \"a\": more bytes were delivered, shape and dtype need 2"));
  GgufMetadata twice;
  twice.Put("k", uint32_t{1});
  twice.Put("k", "x");
  EXPECT_TRUE(contains(write({}, twice), "key \"k\": occurs twice"));
}

TEST(GgufWriter, AFailedProducerLeavesTheOldFile) {
  const TempFolder folder;
  folder.Add("f", "old");
  const TensorToWrite failing{
      "a", DType::kF32, {1}, [](const ByteSink&) -> Result<void> { return Fail(StatusCode::kCancelled, "stopped"); }};
  const auto done = WriteGguf(folder.path() / "f", {}, {failing});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, StatusCode::kCancelled);
  EXPECT_EQ(FileContent(folder.path() / "f"), "old");
}

}  // namespace
}  // namespace dgemma
