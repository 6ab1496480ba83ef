// A tokenizer made from generated texts: what it keeps whole and what it never merges, round trips, places of control
// tokens as in the committed one, refused plans. Ids against Hugging Face: see tests/train/compare_tokenizer.py.
#include "train/tokenizer_builder.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tasks_tokenizer.h"
#include "text/starter_tokenizer.h"

namespace dgemma {
namespace {

std::vector<std::string> Pieces(std::string_view text) {
  std::vector<std::string> pieces;
  for (const int32_t id : TasksTokenizer().Encode(text, SpecialTokens::kParse)) {
    pieces.emplace_back(TasksTokenizer().TokenBytes(id));
  }
  return pieces;
}

TEST(TokenizerBuilder, RoundTripsGeneratedTexts) {
  for (const std::string& text : TaskTexts(99, 100)) {
    const std::vector<int32_t> ids = TasksTokenizer().Encode(text, SpecialTokens::kParse);
    for (const int32_t id : ids) {
      ASSERT_TRUE(id >= 0 && id < 1024);
      ASSERT_FALSE(TasksTokenizer().IsByte(id)) << text;  // nothing of the tasks needs the fallback
    }
    ASSERT_EQ(TasksTokenizer().Decode(ids, SpecialText::kKeep), text);
  }
}

TEST(TokenizerBuilder, RoundTripsAnyText) {
  for (const std::string_view text : {"", " ", "   two  blanks ", "\t\n\n", "Zürich \xE2\x82\xAC 5 \xF0\x9F\x99\x82",
                                      "<turn|>", "sort sort  sort ", "a\x01z"}) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
      EXPECT_EQ(TasksTokenizer().Decode(TasksTokenizer().Encode(text, special), SpecialText::kKeep), text);
    }
  }
}

TEST(TokenizerBuilder, DigitsAndTheLettersOfPayloadsStandAlone) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(Pieces("reverse the"), (Texts{"reverse ", "t", "h", "e"}));
  EXPECT_EQ(Pieces("add 123 45"), (Texts{"add ", "1", "2", "3", " ", "4", "5"}));
  EXPECT_EQ(Pieces("s t o"), (Texts{"s", " t", " o"}));
  EXPECT_EQ(Pieces("json name=what"), (Texts{"json ", "n", "a", "m", "e", "=", "w", "h", "a", "t"}));
  EXPECT_EQ(Pieces("Which number is"), (Texts{"W", "h", "i", "c", "h", " number", " is"}));
  EXPECT_EQ(Pieces("{\"a\":1}"), (Texts{"{\"", "a", "\":", "1", "}"}));
  EXPECT_EQ(Pieces("sudoku ..1. ."), (Texts{"sudoku ", ".", ".", "1", ".", " ", "."}));
  EXPECT_EQ(Pieces("close ([{}"), (Texts{"close ", "(", "[", "{", "}"}));
  EXPECT_EQ(Pieces("534678912\n672"), (Texts{"5", "3", "4", "6", "7", "8", "9", "1", "2", "\n", "6", "7", "2"}));
}

TEST(TokenizerBuilder, ControlTokensAndBytesStandWhereTheStarterHasThem) {
  const Tokenizer& starter = StarterTokenizer();
  for (int32_t id = 0; id < 512; ++id) {
    const bool learnt = !starter.IsSpecial(id) && id > 112 && id < 250;
    if (!learnt) {
      EXPECT_EQ(TasksTokenizer().TokenContent(id), starter.TokenContent(id));
      EXPECT_EQ(TasksTokenizer().IsSpecial(id), starter.IsSpecial(id));
    }
  }
  EXPECT_EQ(TasksTokenizer().vocab_size(), 1024);
}

TEST(TokenizerBuilder, TheSameTextsGiveTheSameFile) {
  const auto again = BuildTokenizer(TaskTexts(1, 60), {.vocabulary = 1024, .keywords = TaskKeywords()});
  EXPECT_EQ(*again, TasksTokenizerJson());
}

TEST(TokenizerBuilder, TakesTheMostFrequentPairFirst) {
  const std::vector<std::string> texts = {"x abc abc abc abd abd xy :\" :\" ,\" ()() ()()"};
  const auto json = BuildTokenizer(texts, {.vocabulary = 640, .keywords = {}});
  ASSERT_TRUE(json) << json.error().message;
  const auto tokenizer = Tokenizer::FromJson(*json);
  ASSERT_TRUE(tokenizer);
  const int32_t after_letters = *tokenizer->TokenId("\xE2\x96\x81Z") + 1;
  EXPECT_EQ(tokenizer->TokenContent(after_letters),
            "\xE2\x96\x81"
            "ab");  // 5 uses
  EXPECT_EQ(tokenizer->TokenContent(after_letters + 1),
            "\xE2\x96\x81"
            "abc");                                              // 3
  EXPECT_EQ(tokenizer->TokenContent(after_letters + 2), ":\"");  // 2, and ":" spells before U+2581
  EXPECT_EQ(tokenizer->TokenContent(639), "<unused639>");        // nothing else that may merge occurs twice
}

TEST(TokenizerBuilder, RefusesBadPlans) {
  const auto refused = [](int32_t vocabulary, std::vector<std::string_view> keywords) {
    const auto json = BuildTokenizer({}, {.vocabulary = vocabulary, .keywords = keywords});
    return json ? std::string() : json.error().message;
  };
  EXPECT_NE(refused(639, {}).find("639"), std::string::npos);
  EXPECT_NE(refused(65'537, {}).find("65537"), std::string::npos);
  EXPECT_NE(refused(1024, {"<|turn>"}).find("markup"), std::string::npos);
  EXPECT_NE(refused(1024, {"a"}).find("bytes"), std::string::npos);
  EXPECT_NE(refused(1024, {"ab", "ab"}).find("twice"), std::string::npos);
  EXPECT_NE(refused(1024, {"z\xC3\xBC"}).find("ASCII"), std::string::npos);
  std::vector<std::string> many;
  for (int i = 0; i < 200; ++i) many.push_back("key" + std::to_string(i));
  EXPECT_NE(refused(640, {many.begin(), many.end()}).find("fit"), std::string::npos);
}

}  // namespace
}  // namespace dgemma
