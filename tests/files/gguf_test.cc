// The GGUF reader: what a valid file means, one malformed file for each rule with the message it must get, and every
// cut of a file.
#include "files/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "files/bytes.h"
#include "gguf_bytes.h"

namespace dgemma {
namespace {

Result<GgufTable> Parse(const std::string& file) { return ParseGguf(AsBytes(file)); }

constexpr uint32_t kF32 = 0, kF16 = 1, kQ8 = 8, kQ4K = 12;

std::string Good() {
  return GgufFile(GgufPrefix(3, 4) + TextKey("general.architecture", "gemma4") + U32Key("a.b", 7) +
                      ArrayKey("list", 5, 2, Raw<int32_t>(-1) + Raw<int32_t>(5)) +
                      ArrayKey("texts", 8, 2, RawText("x") + RawText("")) + TensorEntry("second", {4}, kF32, 32) +
                      TensorEntry("first", {3, 2}, kF16, 0) + TensorEntry("blocks", {64, 2}, kQ8, 64),
                  64 + 4 * 34);
}

TEST(Gguf, ReadsMetadataAndTensorsInTheOrderOfTheirBytes) {
  const std::string file = Good();
  const auto table = Parse(file);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->Find("general.architecture")->Text(), "gemma4");
  EXPECT_EQ(table->Find("a.b")->Integer(), 7);
  EXPECT_EQ(table->Find("a.b")->Number(), 7.0);
  EXPECT_EQ(table->Find("list")->Integers(), (std::vector<int64_t>{-1, 5}));
  EXPECT_EQ(table->Find("texts")->Texts(), (std::vector<std::string_view>{"x", ""}));
  EXPECT_EQ(table->Find("absent"), nullptr);
  EXPECT_EQ(table->alignment, 32U);
  ASSERT_EQ(table->tensors.size(), 3U);
  const GgufTensor &first = table->tensors[0], &second = table->tensors[1], &blocks = table->tensors[2];
  EXPECT_EQ(first.name, "first");
  EXPECT_EQ(first.dtype, DType::kF16);
  EXPECT_EQ(std::vector<uint64_t>(first.shape().begin(), first.shape().end()), (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(first.begin, table->data_begin);
  EXPECT_EQ(first.end, table->data_begin + 12);
  EXPECT_EQ(second.begin, table->data_begin + 32);
  EXPECT_EQ(blocks.dtype, DType::kQ8_0);
  EXPECT_EQ(blocks.end - blocks.begin, 4U * 34);
  EXPECT_EQ(blocks.end, file.size());
}

TEST(Gguf, ReadsEveryValueType) {
  const auto value_of = [](const std::string& entry, auto check) {
    const std::string file = GgufFile(GgufPrefix(0, 1) + entry, 0);
    const auto table = Parse(file);
    ASSERT_TRUE(table) << table.error().message;
    check(*table->Find("k"));
  };
  const auto integer = [&](uint32_t type, const std::string& bytes, int64_t expected) {
    value_of(Key("k", type, bytes), [&](const GgufValue& value) {
      EXPECT_EQ(value.Integer(), expected) << type;
      EXPECT_EQ(value.Number(), static_cast<double>(expected)) << type;
      EXPECT_FALSE(value.Text() || value.Bool() || value.Texts() || value.Integers()) << type;
    });
    value_of(ArrayKey("k", type, 2, bytes + bytes), [&](const GgufValue& value) {
      EXPECT_EQ(value.Integers(), (std::vector<int64_t>{expected, expected})) << type;
      EXPECT_FALSE(value.Integer() || value.Number() || value.Bool() || value.Texts()) << type;
    });
  };
  integer(0, Raw<uint8_t>(255), 255);
  integer(1, Raw<int8_t>(-1), -1);
  integer(2, Raw<uint16_t>(65535), 65535);
  integer(3, Raw<int16_t>(-300), -300);
  integer(4, Raw<uint32_t>(UINT32_MAX), UINT32_MAX);
  integer(5, Raw<int32_t>(INT32_MIN), INT32_MIN);
  integer(10, Raw<uint64_t>(uint64_t{1} << 40), int64_t{1} << 40);
  integer(11, Raw<int64_t>(INT64_MIN), INT64_MIN);
  value_of(Key("k", 10, Raw<uint64_t>(UINT64_MAX)), [](const GgufValue& value) { EXPECT_FALSE(value.Integer()); });
  value_of(Key("k", 6, Raw(0.5f)), [](const GgufValue& value) {
    EXPECT_EQ(value.Number(), 0.5);
    EXPECT_FALSE(value.Integer());
  });
  value_of(Key("k", 12, Raw(0.1)), [](const GgufValue& value) { EXPECT_EQ(value.Number(), 0.1); });
  value_of(Key("k", 7, Raw<uint8_t>(1)), [](const GgufValue& value) {
    EXPECT_EQ(value.Bool(), true);
    EXPECT_FALSE(value.Integer() || value.Number());
  });
  value_of(ArrayKey("k", 7, 3, std::string("\1\0\1", 3)),
           [](const GgufValue& value) { EXPECT_EQ(value.Integers(), (std::vector<int64_t>{1, 0, 1})); });
  value_of(TextKey("k", "text"), [](const GgufValue& value) {
    EXPECT_EQ(value.Text(), "text");
    EXPECT_FALSE(value.Integer() || value.Number() || value.Bool() || value.Texts() || value.Integers());
  });
}

TEST(Gguf, AlignmentIsTheFiles) {
  const std::string head = GgufPrefix(2, 1) + U32Key("general.alignment", 8) + TensorEntry("a", {1}, kF32, 0) +
                           TensorEntry("b", {1}, kF32, 8);
  const auto table = Parse(GgufFile(head, 12, 8));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->alignment, 8U);
  EXPECT_EQ(table->tensors[1].begin, table->data_begin + 8);
}

TEST(Gguf, TypeNumbersAreThoseOfTheFormat) {
  for (const auto& [number, dtype] : {std::pair(0U, DType::kF32),
                                      {1U, DType::kF16},
                                      {2U, DType::kQ4_0},
                                      {3U, DType::kQ4_1},
                                      {6U, DType::kQ5_0},
                                      {7U, DType::kQ5_1},
                                      {8U, DType::kQ8_0},
                                      {12U, DType::kQ4K},
                                      {13U, DType::kQ5K},
                                      {14U, DType::kQ6K},
                                      {23U, DType::kIq4Xs},
                                      {28U, DType::kF64},
                                      {30U, DType::kBF16}}) {
    EXPECT_EQ(DTypeFromGguf(number), dtype);
    EXPECT_EQ(GgufNumber(dtype), number);
  }
  EXPECT_FALSE(DTypeFromGguf(10));
  EXPECT_FALSE(GgufNumber(DType::kU8));
}

struct Malformed {
  const char* rule;
  std::string file;
  const char* message;
};

std::vector<Malformed> MalformedFiles() {
  const auto one = [](const std::string& entry, uint64_t data) { return GgufFile(GgufPrefix(1, 0) + entry, data); };
  const auto two = [](const std::string& a, const std::string& b, uint64_t data) {
    return GgufFile(GgufPrefix(2, 0) + a + b, data);
  };
  const auto meta = [](const std::string& entry) { return GgufFile(GgufPrefix(0, 1) + entry, 0); };
  const std::string a = TensorEntry("a", {1}, kF32, 0);
  return {
      {"empty", "", "4 bytes at 0 are beyond the end"},
      {"magic", "GGML" + GgufPrefix(0, 0).substr(4), "does not begin with \"GGUF\""},
      {"magic_alone", "GGUF", "4 bytes at 4 are beyond the end"},
      {"version_0", GgufPrefix(0, 0, 0), "version 0 is not supported"},
      {"version_1", GgufPrefix(0, 0, 1), "version 1 is not supported"},
      {"version_2", GgufPrefix(0, 0, 2), "version 2 is not supported"},
      {"version_4", GgufPrefix(0, 0, 4), "version 4 is not supported"},
      {"big_endian", GgufPrefix(0, 0, 0x03000000), "is big-endian"},
      {"counts_missing", GgufPrefix(0, 0).substr(0, 20), "8 bytes at 16 are beyond the end"},
      {"tensor_count_huge", GgufPrefix(UINT64_MAX, 0), "tensors: 18446744073709551615 exceeds the limit of 65536"},
      {"entry_count_huge", GgufPrefix(0, UINT64_MAX),
       "metadata entries: 18446744073709551615 exceeds the limit of 4096"},
      {"entry_missing", GgufPrefix(0, 1), "metadata key 0: 8 bytes at 24 are beyond the end"},
      {"key_length_huge", meta(Raw(UINT64_MAX)),
       "metadata key 0: text of 18446744073709551615 bytes exceeds the limit of 256"},
      {"key_beyond_file", GgufPrefix(0, 1) + Raw<uint64_t>(200) + "key", "200 bytes at 32 are beyond the end"},
      {"key_empty", meta(U32Key("", 1)), "metadata key 0: is empty"},
      {"key_space", meta(U32Key("a b", 1)), "\"a b\" is not printable ASCII"},
      {"key_control", meta(U32Key("a\n", 1)), "\"a?\" is not printable ASCII"},
      {"key_not_ascii", meta(U32Key("\xC3\xA9", 1)), "is not printable ASCII"},
      {"key_twice", GgufPrefix(0, 2) + U32Key("k", 1) + TextKey("k", "x"), "key \"k\": occurs twice"},
      {"value_type", meta(Key("k", 13, Raw<uint64_t>(0))), "key \"k\": value type 13 is unknown"},
      {"value_type_huge", meta(Key("k", UINT32_MAX, "")), "value type 4294967295 is unknown"},
      {"value_missing", GgufPrefix(0, 1) + Key("k", 10, "1234567"), "key \"k\": 8 bytes at 37 are beyond the end"},
      {"text_length_huge", meta(Key("k", 8, Raw(UINT64_MAX))),
       "key \"k\": text of 18446744073709551615 bytes exceeds the limit"},
      {"text_beyond_file", GgufPrefix(0, 1) + Key("k", 8, Raw<uint64_t>(9) + "12345678"),
       "key \"k\": 9 bytes at 45 are beyond the end"},
      {"bool_2", meta(Key("k", 7, Raw<uint8_t>(2))), "key \"k\": holds a bool that is neither 0 nor 1"},
      {"bool_in_array", meta(ArrayKey("k", 7, 2, "\1\xff")), "key \"k\": holds a bool that is neither 0 nor 1"},
      {"array_of_arrays", meta(ArrayKey("k", 9, 1, Raw<uint32_t>(0) + Raw<uint64_t>(0))),
       "key \"k\": is an array of arrays"},
      {"array_type", meta(ArrayKey("k", 77, 0, "")), "value type 77 is unknown"},
      {"array_count_huge", meta(ArrayKey("k", 0, UINT64_MAX, "")),
       "array of 18446744073709551615 exceeds the limit of 4000000"},
      {"array_size_wraps", meta(ArrayKey("k", 10, uint64_t{1} << 61, "")), "exceeds the limit of 4000000"},
      {"array_beyond_file", GgufPrefix(0, 1) + ArrayKey("k", 10, 100, "12345678"),
       "key \"k\": 800 bytes at 49 are beyond the end"},
      {"array_text_beyond_file", GgufPrefix(0, 1) + ArrayKey("k", 8, 2, RawText("x")),
       "key \"k\": 8 bytes at 58 are beyond the end"},
      {"alignment_type", meta(TextKey("general.alignment", "32")), "general.alignment: is not one u32"},
      {"alignment_i32", meta(Key("general.alignment", 5, Raw<int32_t>(32))), "general.alignment: is not one u32"},
      {"alignment_0", meta(U32Key("general.alignment", 0)), "general.alignment: 0 is no power of two from 8 on"},
      {"alignment_4", meta(U32Key("general.alignment", 4)), "general.alignment: 4 is no power of two from 8 on"},
      {"alignment_24", meta(U32Key("general.alignment", 24)), "general.alignment: 24 is no power of two from 8 on"},
      {"alignment_huge", meta(U32Key("general.alignment", 1U << 31)),
       "general.alignment: 2147483648 exceeds the limit of 65536"},
      {"tensor_missing", GgufPrefix(1, 0), "tensor 0: 8 bytes at 24 are beyond the end"},
      {"tensor_name_long", one(TensorEntry(std::string(65, 'a'), {1}, kF32, 0), 4),
       "tensor 0: text of 65 bytes exceeds the limit of 64"},
      {"tensor_name_empty", one(TensorEntry("", {1}, kF32, 0), 4), "tensor 0: is empty"},
      {"tensor_name_control", one(TensorEntry("a\x7f", {1}, kF32, 0), 4), "\"a?\" is not printable ASCII"},
      {"tensor_twice", two(a, TensorEntry("a", {1}, kF32, 32), 36), "tensor \"a\": occurs twice"},
      {"five_dimensions", one(TensorEntry("a", {1, 1, 1, 1, 1}, kF32, 0), 4),
       "tensor \"a\": 5 dimensions exceed the limit of 4"},
      {"rank_huge", GgufPrefix(1, 0) + RawText("a") + Raw(UINT32_MAX), "tensor \"a\": 4294967295 dimensions exceed"},
      {"dimension_missing", GgufPrefix(1, 0) + RawText("a") + Raw<uint32_t>(2) + Raw<uint64_t>(1),
       "tensor \"a\": 8 bytes at 45 are beyond"},
      {"dimension_0", one(TensorEntry("a", {4, 0}, kF32, 0), 0), "tensor \"a\": shape: a dimension is 0"},
      {"product_overflow", one(TensorEntry("a", {uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0), 4),
       "tensor \"a\": shape: size overflows 64 bits"},
      {"product_wraps_to_right_size", one(TensorEntry("a", {2, (uint64_t{1} << 63) + 1}, kF16, 0), 4),
       "shape: size overflows 64 bits"},
      {"bytes_overflow", one(TensorEntry("a", {uint64_t{1} << 62}, kF32, 0), 4), "shape: size overflows 64 bits"},
      {"type_unknown", one(TensorEntry("a", {32}, 99, 0), 64), "tensor \"a\": type number 99 is not supported"},
      {"type_q2_k", one(TensorEntry("a", {256}, 10, 0), 84), "tensor \"a\": type number 10 is not supported"},
      {"row_no_whole_blocks", one(TensorEntry("a", {48, 2}, kQ8, 0), 102),
       "rows of 48 values are no whole number of blocks of 32 (Q8_0)"},
      {"row_no_whole_superblocks", one(TensorEntry("a", {704, 4}, kQ4K, 0), 1584),
       "rows of 704 values are no whole number of blocks of 256"},
      {"offset_unaligned", one(TensorEntry("a", {1}, kF32, 4), 8),
       "tensor \"a\": offset 4 is no multiple of the alignment 32"},
      {"offset_overflow", one(TensorEntry("a", {16}, kF32, UINT64_MAX - 31), 64),
       "tensor \"a\": offset and size overflow 64 bits"},
      {"offset_beyond_file", one(TensorEntry("a", {1}, kF32, 64), 36),
       "tensor \"a\": bytes [64, 68] of the data end beyond the file's 36"},
      {"size_beyond_file", one(TensorEntry("a", {9}, kF32, 0), 35),
       "tensor \"a\": bytes [0, 36] of the data end beyond the file's 35"},
      {"data_absent", GgufPrefix(1, 0) + a, "end beyond the file's 0"},
      {"overlap", two(TensorEntry("a", {16}, kF32, 0), TensorEntry("b", {1}, kF32, 32), 64),
       "\"b\": bytes [32, 36] of the data overlap the tensor before, which ends at 64"},
      {"same_place", two(a, TensorEntry("b", {1}, kF32, 0), 4), "\"b\": bytes [0, 4] of the data overlap"},
      {"hole_at_start", one(TensorEntry("a", {1}, kF32, 32), 36),
       "\"a\": bytes [32, 36] of the data leave a hole after byte 0"},
      {"hole_between", two(a, TensorEntry("b", {1}, kF32, 64), 68),
       "\"b\": bytes [64, 68] of the data leave a hole after byte 4"},
      {"trailing_data", one(a, 33), "29 bytes follow the last tensor"},
      {"data_without_tensors", GgufFile(GgufPrefix(0, 0), 1), "1 bytes follow the last tensor"},
  };
}

TEST(Gguf, EveryRuleHasItsMessage) {
  for (const Malformed& malformed : MalformedFiles()) {
    const auto table = Parse(malformed.file);
    ASSERT_FALSE(table) << malformed.rule;
    EXPECT_NE(table.error().message.find(malformed.message), std::string::npos)
        << malformed.rule << ": " << table.error().message;
    const std::string rule = malformed.rule;
    const bool unsupported =
        rule == "version_1" || rule == "version_2" || rule == "big_endian" || rule.starts_with("type_");
    EXPECT_EQ(table.error().code, unsupported ? StatusCode::kUnsupported : StatusCode::kInvalidFile) << rule;
  }
}

TEST(Gguf, PaddingBehindTheLastTensorMayBeThereOrNot) {
  const std::string head = GgufPrefix(1, 0) + TensorEntry("a", {1}, kF32, 0);
  for (const uint64_t data : {4U, 5U, 31U, 32U}) EXPECT_TRUE(Parse(GgufFile(head, data))) << data;
  EXPECT_TRUE(Parse(GgufPrefix(0, 0))) << "not even padding behind the table";
}

TEST(Gguf, NoCutOfAFileIsAccepted) {
  const std::string file =
      GgufFile(GgufPrefix(1, 2) + TextKey("k", "text") + ArrayKey("texts", 8, 2, RawText("x") + RawText("yz")) +
                   TensorEntry("a", {9, 2}, kF32, 0),
               72);
  ASSERT_TRUE(Parse(file));
  for (size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(Parse(file.substr(0, size))) << size;
}

TEST(Gguf, NoByteChangeCrashes) {
  const std::string good = Good();
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int change : {1, 0x7f, 0x80, 0xff}) {
      std::string file = good;
      file[at] = static_cast<char>(file[at] ^ change);
      (void)Parse(file);  // under sanitizers: no access outside, whatever the verdict
    }
  }
}

}  // namespace
}  // namespace dgemma
