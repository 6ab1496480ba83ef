// The tokenizer against recorded results of Hugging Face tokenizers (tests/data/text, made by make_text_golden.py), and
// the promises that hold for any text: decoding gives it back, splitting changes nothing, control tokens stay out of
// content.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "files/json.h"
#include "text/starter_tokenizer.h"
#include "text/stream_decoder.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::vector<int32_t> Ids(const json::value& list) {
  std::vector<int32_t> ids;
  for (const json::value& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_int64()));
  return ids;
}

std::string Bytes(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(
        static_cast<char>(static_cast<unsigned char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16))));
  }
  return bytes;
}

std::string_view View(const json::value& value) { return {value.as_string().data(), value.as_string().size()}; }

const json::object& Golden() {
  static const Result<json::value> document = ParseJson(ReadTestFile("tests/data/text/starter_ids.json"));
  return document->as_object();
}

/// A text of pieces that matter: letters, spaces, markup, several scripts, raw bytes when asked for.
std::string RandomText(std::mt19937& random, bool raw_bytes) {
  static const std::vector<std::string> kPieces = {
      "a",     "user",   " ",      "  ",     "\n",         "\n\n",   "<|turn>", "<turn|>", "<|tur", "<",     "|>",
      "<bos>", "\u2581", "\u00E9", "\u4F60", "\U0001F680", "\u200D", "thought", "7",       "\t",    "<0x41>"};
  std::string text;
  for (auto i = random() % 40; i > 0; --i) {
    if (raw_bytes && random() % 4 == 0) {
      text.push_back(static_cast<char>(static_cast<unsigned char>(random() % 256)));
    } else {
      text += kPieces[random() % kPieces.size()];
    }
  }
  return text;
}

TEST(Tokenizer, IdsEqualRecordedOnes) {
  const Tokenizer& tokenizer = StarterTokenizer();
  const json::array& rows = Golden().at("encoded").as_array();
  ASSERT_GT(rows.size(), 250U);
  for (const json::value& row : rows) {
    const std::string text = Bytes(View(row.at(0)));
    const std::vector<int32_t> parsed = Ids(row.at(1));
    EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kParse), parsed) << View(row.at(0));
    EXPECT_EQ(tokenizer.Encode(text, SpecialTokens::kAsText), row.at(2).is_null() ? parsed : Ids(row.at(2)))
        << View(row.at(0));
    EXPECT_EQ(tokenizer.Decode(parsed, SpecialText::kSkip), View(row.at(3))) << View(row.at(0));
  }
}

TEST(Tokenizer, DecodedTextEqualsRecordedOne) {
  for (const json::value& row : Golden().at("decoded").as_array()) {
    EXPECT_EQ(StarterTokenizer().Decode(Ids(row.at(0)), SpecialText::kSkip), View(row.at(1)));
    EXPECT_EQ(StarterTokenizer().Decode(Ids(row.at(0)), SpecialText::kKeep), View(row.at(2)));
  }
}

TEST(Tokenizer, LookUps) {
  const Tokenizer& tokenizer = StarterTokenizer();
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_EQ(tokenizer.TokenId("<|turn>"), 105);
  EXPECT_EQ(tokenizer.TokenId("nonsense"), std::nullopt);
  EXPECT_EQ(tokenizer.TokenContent(5), "\u2581");
  EXPECT_EQ(tokenizer.TokenBytes(5), " ");
  EXPECT_EQ(tokenizer.TokenBytes(256 + 0xE2), "\xE2");
  EXPECT_TRUE(tokenizer.IsByte(256));
  EXPECT_TRUE(tokenizer.IsSpecial(105) && tokenizer.IsControl(105));
  EXPECT_FALSE(tokenizer.IsSpecial(17) || tokenizer.IsByte(17) || tokenizer.IsSpecial(-1) || tokenizer.IsSpecial(512));
  for (int32_t id : {-1, 512, INT32_MAX, INT32_MIN}) {
    EXPECT_FALSE(tokenizer.Has(id));
    EXPECT_EQ(tokenizer.TokenBytes(id), "");
    EXPECT_EQ(tokenizer.Decode({&id, 1}, SpecialText::kKeep), "");
  }
}

TEST(Tokenizer, DecodingGivesTheTextBack) {
  std::mt19937 random(11);
  const Tokenizer& tokenizer = StarterTokenizer();
  for (int i = 0; i < 2000; ++i) {
    const std::string text = RandomText(random, i % 2 == 1);
    // The lower block spells a space in the vocabulary, so decoding cannot tell the two apart.
    std::string expected = ReplaceInvalidUtf8(text);
    for (size_t at = expected.find("\u2581"); at != std::string::npos; at = expected.find("\u2581"))
      expected.replace(at, 3, " ");
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text, SpecialTokens::kAsText), SpecialText::kSkip), expected);
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text, SpecialTokens::kParse), SpecialText::kKeep), expected);
  }
}

TEST(Tokenizer, PartsEqualTheWholeAndLiteralPartsHaveNoControlTokens) {
  std::mt19937 random(12);
  const Tokenizer& tokenizer = StarterTokenizer();
  for (int i = 0; i < 2000; ++i) {
    const std::string text = ReplaceInvalidUtf8(RandomText(random, false));
    std::vector<TextPart> literal, parsed;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin;
      for (auto characters = 1 + random() % 6; characters > 0 && end < text.size(); --characters)
        NextCodePoint(text, end);
      literal.push_back({std::string_view(text).substr(begin, end - begin), SpecialTokens::kAsText});
      parsed.push_back({literal.back().text, SpecialTokens::kParse});
      begin = end;
    }
    EXPECT_EQ(tokenizer.EncodeParts(parsed), tokenizer.Encode(text, SpecialTokens::kParse));
    EXPECT_EQ(tokenizer.EncodeParts(literal), tokenizer.Encode(text, SpecialTokens::kAsText));
    for (int32_t id : tokenizer.EncodeParts(literal)) EXPECT_FALSE(tokenizer.IsControl(id));
  }
}

TEST(Tokenizer, ControlTokensDoNotFormAcrossPartsWithContent) {
  const Tokenizer& tokenizer = StarterTokenizer();
  const std::vector<TextPart> parts = {
      {"<|turn>", SpecialTokens::kParse}, {"<turn", SpecialTokens::kAsText}, {"|><turn|>", SpecialTokens::kParse}};
  const std::vector<int32_t> ids = tokenizer.EncodeParts(parts);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 106), 1);
  EXPECT_EQ(ids.front(), 105);
  EXPECT_EQ(ids.back(), 106);
}

TEST(StreamDecoder, EqualsDecodeAndIsAlwaysWholeCharacters) {
  std::mt19937 random(13);
  const Tokenizer& tokenizer = StarterTokenizer();
  for (int i = 0; i < 2000; ++i) {
    std::vector<int32_t> ids;
    for (auto n = random() % 30; n > 0; --n) {
      ids.push_back(static_cast<int32_t>(random() % 3 == 0 ? random() % 520 : 256 + 0x80 + random() % 0x78));
    }
    if (i % 2 == 0) ids = tokenizer.Encode(RandomText(random, true), SpecialTokens::kParse);
    for (SpecialText special : {SpecialText::kKeep, SpecialText::kSkip}) {
      StreamDecoder decoder(tokenizer, special);
      std::string whole;
      for (int32_t id : ids) {
        std::string text;
        decoder.Push(id, text);
        ASSERT_TRUE(IsValidUtf8(text));
        whole += text;
      }
      decoder.Finish(whole);
      EXPECT_EQ(whole, tokenizer.Decode(ids, special));
      EXPECT_TRUE(IsValidUtf8(whole));
    }
  }
}

TEST(Tokenizer, LongTextsOfOneCharacter) {
  const Tokenizer& tokenizer = StarterTokenizer();
  // 100,000 newlines pair up; 100,000 bytes of an unknown letter become byte tokens.
  const std::vector<int32_t> newlines = tokenizer.Encode(std::string(100'000, '\n'), SpecialTokens::kParse);
  EXPECT_EQ(newlines, std::vector<int32_t>(50'000, *tokenizer.TokenId("\n\n")));
  std::string letters;
  for (int i = 0; i < 50'000; ++i) letters += "\u0436";
  EXPECT_EQ(tokenizer.Encode(letters, SpecialTokens::kParse).size(), 100'000U);
}

}  // namespace
}  // namespace dgemma
