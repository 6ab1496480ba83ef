// Validation against an independent definition (decode, range checks, re-encode), replacement against recorded results
// of Python's decoder, and the two character classes.
#include "text/utf8.h"

#include <gtest/gtest.h>

#include <vector>

namespace dgemma {
namespace {

TEST(Utf8, EveryScalarValueRoundTripsAndNothingElseIsValid) {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    std::string text;
    AppendUtf8(code_point, text);
    const bool surrogate = code_point >= 0xD800 && code_point < 0xE000;
    ASSERT_EQ(IsValidUtf8(text), !surrogate) << static_cast<uint32_t>(code_point);
    size_t position = 0;
    if (!surrogate) {
      ASSERT_EQ(NextCodePoint(text, position), code_point);
      ASSERT_EQ(position, text.size());
      ASSERT_FALSE(IsValidUtf8(std::string_view(text).substr(1)) && text.size() > 1)
          << static_cast<uint32_t>(code_point);
      ASSERT_FALSE(IsValidUtf8(std::string_view(text).substr(0, text.size() - 1)) && text.size() > 1)
          << static_cast<uint32_t>(code_point);
    }
  }
}

TEST(Utf8, ValidTextsOfTwoAndThreeBytesAreExactlyTheEncodedOnes) {
  size_t valid = 0;
  for (unsigned a = 0x80; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      valid += IsValidUtf8(std::string{static_cast<char>(a), static_cast<char>(b)}) ? 1U : 0U;
      for (unsigned c = 0x80; c < 256; ++c) {
        valid += IsValidUtf8(std::string{static_cast<char>(a), static_cast<char>(b), static_cast<char>(c)}) ? 1U : 0U;
      }
    }
  }
  // Two bytes: U+0080..U+07FF. Three bytes: U+0800..U+FFFF without surrogates. (A third byte >= 0x80 excludes "é" +
  // "a".)
  EXPECT_EQ(valid, 0x780U + 0xF800U - 0x800U);
}

TEST(Utf8, ReplacesAsPythonDoes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"ok", "ok"},
      {"\xFF", "\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"a\xF0\x9F\x98z", "a\uFFFDz"},
      {"\xF0\x80\x80z", "\uFFFD\uFFFD\uFFFDz"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xE2\x28\xA1", "\uFFFD(\uFFFD"},
      {"\xC3\xA9\xC3", "\u00E9\uFFFD"},
  };
  for (const auto& [bytes, expected] : cases) EXPECT_EQ(ReplaceInvalidUtf8(bytes), expected);
}

TEST(Utf8, StripsWhatPythonStrips) {
  EXPECT_EQ(StripWhitespace(" \t\r\n\x1F a b \u00A0\u2003\u3000\u2028\x85"),
            "a b \u00A0\u2003\u3000\u2028\x85");  // a lone 0x85 is no NEL
  EXPECT_EQ(StripWhitespace("\u0085\u1680a\u200B\u205F"), "a\u200B");
  EXPECT_EQ(StripWhitespace(" \n "), "");
  EXPECT_EQ(StripWhitespace(""), "");
  EXPECT_EQ(StripWhitespace("\u3000"), "");
}

TEST(Utf8, PrintableTextHasNoControls) {
  EXPECT_EQ(PrintableText("a\tb\nc\rd\x1B[31m\x7F"), "a\tb\nc\uFFFDd\uFFFD[31m\uFFFD");
  EXPECT_EQ(PrintableText("\u009B\u202Eabc\u2066\uFEFF\u200F\U000E0041\xFF"),
            "\uFFFD\uFFFDabc\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(PrintableText("\U0001F469\u200D\U0001F680 \u00E9 \u4F60"), "\U0001F469\u200D\U0001F680 \u00E9 \u4F60");
  EXPECT_EQ(PrintableText(std::string(1, '\0')), "\uFFFD");
}

}  // namespace
}  // namespace dgemma
