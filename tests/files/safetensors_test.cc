// The safetensors reader: what a valid file means, and one malformed file for each rule with the message it must get.
#include "files/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "files/bytes.h"
#include "files/checkpoint_files.h"
#include "safetensors_bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

Result<SafetensorsHeader> Parse(const std::string& file) { return ParseSafetensors(AsBytes(file)); }

TEST(Safetensors, ReadsTablesInTheOrderOfTheirBytes) {
  const std::string header = "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\\n\"}," +
                             Entry("second", "BF16", "2,3", "4,16") + "," + Entry("fir\\u0073t", "F32", "", "0,4") +
                             "," + Entry("empty", "I64", "3,0", "4,4") + "}   ";
  const auto parsed = Parse(SafetensorsFile(header, 16));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->data_begin, 8 + header.size());
  ASSERT_EQ(parsed->tensors.size(), 3U);
  EXPECT_EQ(parsed->tensors[0].name, "first");
  EXPECT_EQ(parsed->tensors[0].dtype, DType::kF32);
  EXPECT_TRUE(parsed->tensors[0].shape.empty());
  EXPECT_EQ(parsed->tensors[1].name, "empty");
  EXPECT_EQ(parsed->tensors[1].begin, parsed->tensors[1].end);
  EXPECT_EQ(parsed->tensors[2].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(parsed->tensors[2].begin, 8 + header.size() + 4);
  EXPECT_EQ(parsed->tensors[2].end, 8 + header.size() + 16);
  EXPECT_EQ(parsed->metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"note", "é\n"}}));
}

TEST(Safetensors, EmptyTableIsValid) {
  const auto parsed = Parse(SafetensorsFile("{}", 0));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_TRUE(parsed->tensors.empty());
}

TEST(Safetensors, EveryTypeHasItsSize) {
  // Sizes from the format's description, not from our table.
  const std::map<std::string, uint64_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},     {"F8_E5M2FNUZ", 1},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  const auto plain = std::ranges::count(kDTypes, uint64_t{1}, &DTypeEntry::block_values);
  EXPECT_EQ(std::ssize(sizes), plain);
  for (const auto& [name, size] : sizes) {
    const std::string end = std::to_string(3 * size);
    EXPECT_TRUE(Parse(SafetensorsFile("{" + Entry("a", name, "3", "0," + end) + "}", 3 * size))) << name;
    const auto dtype = DTypeFromName(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(Name(*dtype), name);
    EXPECT_EQ(BytesPerValue(*dtype), size);
  }
}

struct Malformed {
  const char* rule;
  std::string file;
  const char* message;
};

std::vector<Malformed> MalformedFiles() {
  const std::string good = Entry("a", "U8", "4", "0,4");
  const auto table = [](const std::string& entries, uint64_t data) {
    return SafetensorsFile("{" + entries + "}", data);
  };
  const auto text = [](const std::string& header) { return SafetensorsFile(header, 4); };
  return {
      {"shorter_than_prefix", "1234567", "7 bytes has no header"},
      {"header_over_limit", SafetensorsFile((16 << 20) + 1, "{}", 0), "exceeds the limit of 16777216"},
      {"header_length_huge", SafetensorsFile(UINT64_MAX, "{}", 0), "exceeds the limit"},
      {"header_beyond_file", SafetensorsFile(3, "{}", 0), "longer than the file's 10"},
      {"header_empty", SafetensorsFile(0, "", 4), "does not begin with '{'"},
      {"header_leading_space", text(" {" + good + "}"), "does not begin with '{'"},
      {"header_array", text("[]"), "does not begin with '{'"},
      {"header_truncated_json", text("{" + good), "not JSON"},
      {"header_trailing_garbage", text("{" + good + "} x"), "not JSON"},
      {"header_trailing_nul", text("{" + good + "}" + std::string(1, '\0')), "not JSON"},
      {"header_bad_utf8", text("{\"\xff\":1}"), "not JSON"},
      {"header_overlong_utf8", text("{\"\xc0\x80\":1}"), "not JSON"},
      {"header_surrogate_utf8", text("{\"\xed\xa0\x80\":1}"), "not JSON"},
      {"header_lone_surrogate_escape", text("{\"\\ud800\":1}"), "not JSON"},
      {"header_control_in_string", text("{\"a\tb\":1}"), "not JSON"},
      {"header_comment", text("{/**/" + good + "}"), "not JSON"},
      {"header_trailing_comma", text("{" + good + ",}"), "not JSON"},
      {"deep_nesting", text("{\"a\":" + std::string(10'000, '[')), "tensor \"a\": an array where an object"},
      {"metadata_not_object", text("{\"__metadata__\":[]," + good + "}"), "__metadata__: an array where"},
      {"metadata_null", text("{\"__metadata__\":null," + good + "}"), "__metadata__: null where"},
      {"metadata_value_number", text("{\"__metadata__\":{\"a\":1}," + good + "}"),
       "__metadata__: a number where a string"},
      {"metadata_value_object", text("{\"__metadata__\":{\"a\":{}}," + good + "}"),
       "__metadata__: an object where a string"},
      {"metadata_value_array", text("{\"__metadata__\":{\"a\":[]}," + good + "}"),
       "__metadata__: an array where a string"},
      {"metadata_duplicate_key", text("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}," + good + "}"),
       "duplicate key \"a\""},
      {"metadata_twice", text("{\"__metadata__\":{},\"__metadata__\":{}," + good + "}"),
       "duplicate key \"__metadata__\""},
      {"tensor_not_object", text("{\"a\":\"U8\"}"), "tensor \"a\": a string where an object"},
      {"tensor_null", text("{\"a\":null}"), "tensor \"a\": null where an object"},
      {"tensor_number", text("{\"a\":5}"), "tensor \"a\": a number where an object"},
      {"tensor_boolean", text("{\"a\":true}"), "tensor \"a\": a boolean where an object"},
      {"missing_dtype", text("{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}"), "tensor \"a\": has no dtype"},
      {"missing_shape", text("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}"), "tensor \"a\": has no shape"},
      {"missing_data_offsets", text("{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}"), "tensor \"a\": has no data_offsets"},
      {"unknown_key", text("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\\n\":1}}"),
       "unknown key \"x?\""},
      {"duplicate_tensor_key", text("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"),
       "tensor \"a\": duplicate key \"dtype\""},
      {"dtype_unknown", table(Entry("a", "u8", "4", "0,4"), 4), "unknown dtype \"u8\""},
      {"dtype_sub_byte", table(Entry("a", "F4", "8", "0,4"), 4), "less than a byte"},
      {"dtype_number", text("{\"a\":{\"dtype\":8,\"shape\":[4],\"data_offsets\":[0,4]}}"),
       "dtype: a number where a string"},
      {"shape_not_array", text("{\"a\":{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}}"),
       "shape: a number where an array"},
      {"shape_negative", table(Entry("a", "U8", "-4", "0,4"), 4), "shape: a negative number"},
      {"shape_negative_zero", table(Entry("a", "U8", "-0", "0,4"), 4), "shape: a negative number"},
      {"shape_fraction", table(Entry("a", "U8", "4.0", "0,4"), 4), "shape: a number that is no 64-bit integer"},
      {"shape_exponent", table(Entry("a", "U8", "4e0", "0,4"), 4), "no 64-bit integer"},
      {"shape_beyond_64_bits", table(Entry("a", "U8", "18446744073709551616", "0,4"), 4), "no 64-bit integer"},
      {"shape_text", table(Entry("a", "U8", "\"4\"", "0,4"), 4), "shape: a string where a non-negative integer"},
      {"shape_nested", table(Entry("a", "U8", "[4]", "0,4"), 4), "shape: an array where a non-negative integer"},
      {"shape_product_overflow", table(Entry("a", "U8", "4294967296,4294967296", "0,4"), 4), "size overflows 64 bits"},
      {"shape_wraps_to_right_size", table(Entry("a", "U8", "9223372036854775810,2", "0,4"), 4),
       "size overflows 64 bits"},
      {"bytes_overflow", table(Entry("a", "U64", "2305843009213693952", "0,0"), 0), "size overflows 64 bits"},
      {"too_many_dimensions", table(Entry("a", "U8", "1,1,1,1,1,1,1,1,4", "0,4"), 4), "more than 8 dimensions"},
      {"offsets_not_array", text("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{}}}"),
       "data_offsets: an object where"},
      {"offsets_one", table(Entry("a", "U8", "4", "4"), 4), "data_offsets has 1 numbers"},
      {"offsets_three", table(Entry("a", "U8", "4", "0,4,4"), 4), "data_offsets has 3 numbers"},
      {"offsets_negative", table(Entry("a", "U8", "4", "-4,0"), 4), "data_offsets: a negative number"},
      {"offsets_null", table(Entry("a", "U8", "4", "0,null"), 4), "data_offsets: null where"},
      {"offsets_backwards", table(Entry("a", "U8", "4", "4,0"), 4), "[4, 0] run backwards"},
      {"size_too_small", table(Entry("a", "U8", "5", "0,4"), 4), "hold 4 bytes, shape and dtype need 5"},
      {"size_too_large", table(Entry("a", "F32", "0", "0,4"), 4), "hold 4 bytes, shape and dtype need 0"},
      {"beyond_file", table(Entry("a", "U8", "5", "0,5"), 4), "end beyond the file's 4 bytes"},
      {"far_beyond_file", table(Entry("a", "U8", "18446744073709551615", "0,18446744073709551615"), 4),
       "end beyond the file's"},
      {"trailing_data", table(good, 5), "1 bytes follow the last tensor"},
      {"data_without_tensors", SafetensorsFile("{}", 4), "4 bytes follow the last tensor"},
      {"hole_at_start", table(Entry("a", "U8", "3", "1,4"), 4), "leave a hole after byte 0"},
      {"hole_between", table(Entry("a", "U8", "1", "0,1") + "," + Entry("b", "U8", "2", "2,4"), 4),
       "\"b\": data_offsets [2, 4] leave a hole"},
      {"overlap", table(Entry("a", "U8", "3", "0,3") + "," + Entry("b", "U8", "2", "2,4"), 4),
       "\"b\": data_offsets [2, 4] overlap"},
      {"same_bytes_twice", table(good + "," + Entry("b", "U8", "4", "0,4"), 4), "\"b\": data_offsets [0, 4] overlap"},
      {"empty_inside_another", table(good + "," + Entry("b", "U8", "0", "2,2"), 4),
       "\"b\": data_offsets [2, 2] overlap"},
      {"duplicate_name", table(Entry("a", "U8", "2", "0,2") + "," + Entry("a", "U8", "2", "2,4"), 4),
       "tensor \"a\": occurs twice"},
      {"duplicate_name_escaped", table(Entry("a", "U8", "2", "0,2") + "," + Entry("\\u0061", "U8", "2", "2,4"), 4),
       "occurs twice"},
      {"name_over_limit", table(Entry(std::string(1025, 'n'), "U8", "4", "0,4"), 4), "name exceeds 1024 bytes"},
      {"name_over_limit_escaped", table(Entry("\\n" + std::string(1024, 'n'), "U8", "4", "0,4"), 4),
       "name exceeds 1024 bytes"},
  };
}

TEST(Safetensors, EachMalformedFileIsRefusedByItsRule) {
  const TempFolder folder;
  for (const Malformed& malformed : MalformedFiles()) {
    SCOPED_TRACE(malformed.rule);
    const auto parsed = Parse(malformed.file);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, std::string_view(malformed.rule) == "dtype_sub_byte" ? StatusCode::kUnsupported
                                                                                        : StatusCode::kInvalidFile);
    EXPECT_NE(parsed.error().message.find(malformed.message), std::string::npos) << parsed.error().message;
    for (const char byte : parsed.error().message) EXPECT_TRUE(byte >= 0x20 && byte < 0x7f) << parsed.error().message;
    // Through the file system the message also names the file.
    const auto opened = OpenSafetensors(folder.Add("bad.safetensors", malformed.file));
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().message, (folder.path() / "bad.safetensors").string() + ": " + parsed.error().message);
  }
}

TEST(Safetensors, EveryTruncationOfAValidFileIsRefused) {
  const std::string file =
      SafetensorsFile("{" + Entry("a", "U8", "4", "0,4") + "," + Entry("b", "I16", "2", "4,8") + "}", 8);
  ASSERT_TRUE(Parse(file));
  for (size_t length = 0; length < file.size(); ++length) EXPECT_FALSE(Parse(file.substr(0, length))) << length;
}

TEST(Safetensors, NoSingleBitFlipInTheTableLeadsOutsideTheFile) {
  const std::string file =
      SafetensorsFile("{" + Entry("a", "U8", "4", "0,4") + "," + Entry("b", "I16", "2", "4,8") + "}", 8);
  for (size_t bit = 0; bit < 8 * (file.size() - 8); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto parsed = Parse(flipped);
    if (!parsed) continue;
    for (const SafetensorsEntry& entry : parsed->tensors) {
      EXPECT_LE(parsed->data_begin, entry.begin);
      EXPECT_LE(entry.begin, entry.end);
      EXPECT_LE(entry.end, flipped.size());
    }
  }
}

}  // namespace
}  // namespace dgemma
