// The safetensors writer: exact bytes of a small file, what our reader finds in a larger one, and every refusal.
// compare_safetensors.py --rewrite shows the same to the Rust crate.
#include "files/safetensors_writer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "files/bytes.h"
#include "files/checkpoint_files.h"
#include "safetensors_bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

TEST(SafetensorsWriter, WritesTheseBytes) {
  const TempFolder folder;
  const auto path = folder.path() / "f";
  const std::string four = "abcd", two = "xy";
  ASSERT_TRUE(WriteSafetensors(path,
                               {TensorFromMemory("n", DType::kU8, {2}, AsBytes(two)),
                                TensorFromMemory("w\n", DType::kF32, {1, 1}, AsBytes(four))},
                               {{"format", "pt"}}));
  std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},\"w\\n\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
      "\"n\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}";
  header.resize((8 + header.size() + 63) / 64 * 64 - 8, ' ');
  EXPECT_EQ(FileContent(path), SafetensorsFile(header, 0) + "abcdxy");
}

TEST(SafetensorsWriter, RoundTripInAnyOrderGivesTheSameFile) {
  const TempFolder folder;
  const std::string bytes = SafetensorsFile("", 64).substr(8);
  const auto part = [&](size_t n) { return AsBytes(bytes).first(n); };
  std::vector<TensorToWrite> tensors = {TensorFromMemory("b", DType::kBF16, {3, 5}, part(30)),
                                        TensorFromMemory("a", DType::kU8, {7}, part(7)),
                                        TensorFromMemory("scalar", DType::kF64, {}, part(8)),
                                        TensorFromMemory("empty", DType::kI32, {0, 4}, part(0)),
                                        TensorFromMemory("é \"quoted\"", DType::kF32, {2}, part(8)),
                                        {"pieces", DType::kU8, {64}, [&](const ByteSink& sink) -> Result<void> {
                                           for (size_t i = 0; i < 64; ++i) {
                                             if (auto taken = sink(AsBytes(bytes).subspan(i, 1)); !taken) return taken;
                                           }
                                           return {};
                                         }}};
  ASSERT_TRUE(WriteSafetensors(folder.path() / "f", tensors));
  std::reverse(tensors.begin(), tensors.end());
  ASSERT_TRUE(WriteSafetensors(folder.path() / "g", tensors));
  EXPECT_EQ(FileContent(folder.path() / "f"), FileContent(folder.path() / "g"));

  const auto read = OpenSafetensors(folder.path() / "f");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->tensors().size(), tensors.size());
  for (const TensorToWrite& tensor : tensors) {
    const auto found = read->Tensor(tensor.name);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(found->dtype, tensor.dtype);
    EXPECT_TRUE(std::ranges::equal(found->shape, tensor.shape));
    EXPECT_EQ(AsText(found->bytes), bytes.substr(0, found->bytes.size()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(found->bytes.data()) % BytesPerValue(tensor.dtype), 0U);
  }
}

TEST(SafetensorsWriter, NoTensorsIsAFileToo) {
  const TempFolder folder;
  ASSERT_TRUE(WriteSafetensors(folder.path() / "f", {}));
  EXPECT_TRUE(OpenSafetensors(folder.path() / "f"));
}

/// Writing these must fail with this code and message, keep the old file and leave nothing behind.
void ExpectRefused(std::vector<TensorToWrite> tensors, StatusCode code, const std::string& fragment,
                   const std::map<std::string, std::string>& metadata = {}) {
  const TempFolder folder;
  const auto path = folder.Add("f", "before");
  const auto written = WriteSafetensors(path, std::move(tensors), metadata);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, code);
  EXPECT_TRUE(written.error().message.starts_with(path.string() + ": ")) << written.error().message;
  EXPECT_NE(written.error().message.find(fragment), std::string::npos) << written.error().message;
  EXPECT_EQ(FileContent(path), "before");
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"f"});
}

TEST(SafetensorsWriter, RefusesWhatCouldNotBeReadBack) {
  const auto argument = StatusCode::kInvalidArgument;
  const auto tensor = [](std::string name, std::vector<uint64_t> shape) {
    return TensorFromMemory(std::move(name), DType::kU8, std::move(shape), AsBytes("abcd"));
  };
  ExpectRefused({tensor("a", {4}), tensor("a", {4})}, argument, "tensor \"a\": occurs twice");
  ExpectRefused({tensor("__metadata__", {4})}, argument, "cannot be named __metadata__");
  ExpectRefused({tensor("\xff", {4})}, argument, "not JSON");
  ExpectRefused({tensor(std::string(1025, 'n'), {4})}, argument, "name exceeds");
  ExpectRefused({tensor("a", {1, 1, 1, 1, 1, 1, 1, 1, 4})}, argument, "more than 8 dimensions");
  ExpectRefused({tensor("a", {UINT64_MAX, 2})}, argument, "tensor \"a\": size overflows");
  ExpectRefused({tensor("a", {UINT64_MAX}), tensor("b", {2})}, argument, "tensor \"b\": size overflows");
  ExpectRefused({tensor("a", {4})}, argument, "exceeds the limit", {{"k", std::string(16 << 20, 'v')}});
}

TEST(SafetensorsWriter, RefusesWrongNumbersOfBytes) {
  ExpectRefused({TensorFromMemory("a", DType::kU8, {5}, AsBytes("abcd"))}, StatusCode::kInvalidArgument,
                "tensor \"a\": 4 bytes were delivered, shape and dtype need 5");
  ExpectRefused({TensorFromMemory("a", DType::kU8, {3}, AsBytes("abcd"))}, StatusCode::kInvalidArgument,
                "tensor \"a\": more bytes were delivered, shape and dtype need 3");
}

TEST(SafetensorsWriter, PassesOnAProducersFailure) {
  const TempFolder folder;
  const auto written =
      WriteSafetensors(folder.path() / "f", {{"a", DType::kU8, {4}, [](const ByteSink&) -> Result<void> {
                                                return Fail(StatusCode::kCancelled, "stopped");
                                              }}});
  EXPECT_EQ(written.error(), (Status{StatusCode::kCancelled, "stopped"}));
  EXPECT_TRUE(folder.Names().empty());
}

}  // namespace
}  // namespace dgemma
