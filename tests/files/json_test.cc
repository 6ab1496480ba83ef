// The JSON reader: the rules it adds to the parser it uses, and its bounds at limit - 1, limit, limit + 1.
#include "files/json.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace dgemma {
namespace {

TEST(Json, KeepsValuesAndOrder) {
  const std::string text = R"({"b":[1,-2,18446744073709551615,2.5,true,null],"a":{"é\n😀":"x"},"":""})";
  const auto value = ParseJson(text);
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(boost::json::serialize(*value),
            R"({"b":[1,-2,18446744073709551615,2.5E0,true,null],"a":{"é\n😀":"x"},"":""})");
}

TEST(Json, AcceptsAnyKindOfRootAndSurroundingSpace) {
  for (const char* text : {"null", "true", "3", "\"x\"", "[]", "{}", " \t\r\n[1] \n"})
    EXPECT_TRUE(ParseJson(text)) << text;
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1",
                           "[1,]",
                           "{\"a\":1,}",
                           "{\"a\"}",
                           "{a:1}",
                           "'a'",
                           "[1]]",
                           "{} {}",
                           "nul",
                           "NaN",
                           "Infinity",
                           "+1",
                           "01",
                           "1.",
                           ".5",
                           "1e",
                           "0x1",
                           "--1",
                           "\"a",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\t\"",
                           "/**/1",
                           "1//",
                           "[1 2]",
                           "\xef\xbb\xbf{}",
                           "\"\xff\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\""}) {
    const auto value = ParseJson(text);
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().code, StatusCode::kInvalidFile);
    EXPECT_TRUE(value.error().message.starts_with("JSON: ")) << value.error().message;
  }
  EXPECT_FALSE(ParseJson(std::string_view("{}\0", 3)));
}

TEST(Json, EveryTruncationIsRefused) {
  const std::string text = R"({"a":[1,{"b":"c\u00e9"},null,-1.5e3],"d":true})";
  for (size_t length = 0; length < text.size(); ++length) EXPECT_FALSE(ParseJson(text.substr(0, length))) << length;
}

TEST(Json, RefusesDuplicateKeysAtEveryDepth) {
  EXPECT_EQ(ParseJson(R"({"a":1,"b":2,"a":3})").error().message, "JSON: duplicate key \"a\" at byte 18");
  EXPECT_FALSE(ParseJson(R"([{"x":{"k":1,"\u006b":2}}])"));
  EXPECT_FALSE(ParseJson(R"({"":1,"":2})"));
  EXPECT_TRUE(ParseJson(R"({"a":{"a":{"a":1}},"b":{"a":1}})"));
}

TEST(Json, MessagesStayOnOneLine) {
  const auto value = ParseJson(R"({"a\n\u001b[31m":1,"a\n\u001b[31m":2})");
  ASSERT_FALSE(value);
  EXPECT_NE(value.error().message.find("\"a??[31m\""), std::string::npos) << value.error().message;
}

TEST(Json, HugeNumbersBecomeDoublesOrErrorsNeverWrongIntegers) {
  const auto value = ParseJson("[18446744073709551616,-9223372036854775809,123456789012345678901234567890]");
  ASSERT_TRUE(value) << value.error().message;
  for (const auto& number : value->as_array()) EXPECT_TRUE(number.is_double());
  EXPECT_FALSE(ParseJson("1e400"));  // the parser beneath would make it infinity
  EXPECT_FALSE(ParseJson("[-1e999999999999999999]"));
  EXPECT_TRUE(ParseJson("1e-400"));
}

TEST(Json, DecimalsBecomeTheNearestDouble) {
  // Literals, which the compiler rounds correctly. The parser beneath is off by one unit for several of them.
  const std::vector<std::pair<const char*, double>> numbers = {{"0.1", 0.1},
                                                               {"1e-06", 1e-06},
                                                               {"0.3333333333333333", 0.3333333333333333},
                                                               {"2.2250738585072014e-308", 0x1p-1022},
                                                               {"1.7976931348623157e308", 0x1.fffffffffffffp1023},
                                                               {"-8.41e21", -8.41e21},
                                                               {"9007199254740993.0", 9007199254740993.0},
                                                               {"123456789.123456789e-20", 123456789.123456789e-20},
                                                               {"5e-324", 0x1p-1074}};
  for (const auto& [text, exact] : numbers) EXPECT_EQ(ParseJson(text)->as_double(), exact) << text;
}

TEST(Json, DepthLimit) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  const JsonLimits limits;
  EXPECT_TRUE(ParseJson(nested(limits.depth - 1)));
  EXPECT_TRUE(ParseJson(nested(limits.depth)));
  EXPECT_FALSE(ParseJson(nested(limits.depth + 1)));
  EXPECT_FALSE(ParseJson(std::string(1'000'000, '[')));
}

TEST(Json, NodeLimitCountsValuesAndKeys) {
  JsonLimits limits;
  limits.nodes = 5;
  EXPECT_TRUE(ParseJson("[1,2,3]", limits));
  EXPECT_TRUE(ParseJson("[1,2,3,4]", limits));
  EXPECT_FALSE(ParseJson("[1,2,3,4,5]", limits));
  EXPECT_TRUE(ParseJson(R"({"a":1,"b":2})", limits));
  EXPECT_FALSE(ParseJson(R"({"a":1,"b":2,"c":3})", limits));
}

TEST(Json, ByteLimit) {
  JsonLimits limits;
  limits.bytes = 10;
  EXPECT_TRUE(ParseJson("[" + std::string(7, ' ') + "]", limits));
  EXPECT_TRUE(ParseJson("[" + std::string(8, ' ') + "]", limits));
  EXPECT_FALSE(ParseJson("[" + std::string(9, ' ') + "]", limits));
}

}  // namespace
}  // namespace dgemma
