// Reading outputs: each part of the format, text that only spells markup, broken calls, and independence of splits.
#include "text/answer.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <random>

#include "text/chat.h"
#include "text/starter_tokenizer.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

ParsedAnswer Read(std::string_view text, AnswerStart start = AnswerStart::kAnswer) {
  return ParseAnswer(StarterTokenizer(), StarterTokenizer().Encode(text, SpecialTokens::kParse), start);
}

std::string Show(const ParsedAnswer& answer) {
  std::string out = "[" + answer.thought + "][" + answer.text + "]";
  for (const ParsedToolCall& call : answer.calls) out += call.name + json::serialize(call.arguments);
  for (const BrokenToolCall& call : answer.broken_calls) out += "!" + call.text + "!" + call.status.message;
  if (answer.end) out += " end " + std::to_string(static_cast<int>(*answer.end));
  return out;
}

TEST(Answer, PlainAnswerEndsAtTheTurn) {
  EXPECT_EQ(Show(Read("Hello<turn|>\n<|turn>user")), "[][Hello] end 0");
  EXPECT_EQ(Show(Read("Hello<eos>more")), "[][Hello] end 2");
  EXPECT_EQ(Show(Read("Hello")), "[][Hello]");
  EXPECT_EQ(Show(Read("")), "[][]");
}

TEST(Answer, Thought) {
  EXPECT_EQ(Show(Read("<|channel>thought\nplan it\n<channel|>Done.<turn|>")), "[plan it][Done.] end 0");
  EXPECT_EQ(Show(Read("<|channel>thought\n<channel|>Done.<turn|>")), "[][Done.] end 0");
  EXPECT_EQ(Show(Read("<|channel>thought<channel|>Done.")), "[][Done.]");
  EXPECT_EQ(Show(Read("<|channel>odd<channel|>Done.")), "[odd][Done.]");
  EXPECT_EQ(Show(Read("<|channel>thought\na\n\n\nb\n\n<channel|>c")), "[a\n\n\nb\n][c]");
  EXPECT_EQ(Show(Read("<|channel>thought\ncut sho")), "[cut sho][]");
  EXPECT_EQ(Show(Read("a<|channel>thought\nb\n<channel|>c<|channel>thought\nd\n<channel|>e")), "[bd][ace]");
  EXPECT_EQ(Show(Read("more\n<channel|>Done.<turn|>", AnswerStart::kThought)), "[more][Done.] end 0");
  const std::string line(100, 'x');
  EXPECT_EQ(Show(Read("<|channel>" + line + "\nb<channel|>")), "[" + line + "\nb][]");
}

TEST(Answer, ToolCalls) {
  EXPECT_EQ(Show(Read("<|channel>thought\nplan\n<channel|><|tool_call>call:f{a:<|\"|>x{y}<|\"|>,b:[1]}<tool_call|><|"
                      "tool_call>call:g{}<tool_call|><|tool_response>junk")),
            "[plan][]f{\"a\":\"x{y}\",\"b\":[1]}g{} end 1");
  EXPECT_EQ(Show(Read("<|tool_call>call:f{a:<|\"|>x<turn|>")), "[][]!call:f{a:x!tool call: cut short end 0");
  EXPECT_EQ(Show(Read("<|tool_call>nonsense<tool_call|>ok")),
            "[][ok]!nonsense!tool call: does not begin with call: at byte 0");
  EXPECT_EQ(Show(Read("<|tool_call>call:f{<|tool_call>call:g{}<tool_call|>")), "[][]g{}!call:f{!tool call: cut short");
}

TEST(Answer, TextThatSpellsMarkupIsText) {
  const Tokenizer& tokenizer = StarterTokenizer();
  const std::string text = "<turn|> <|channel>thought\nx<channel|> <|tool_call>call:f{}<tool_call|><eos>";
  EXPECT_EQ(Show(ParseAnswer(tokenizer, tokenizer.Encode(text, SpecialTokens::kAsText), AnswerStart::kAnswer)),
            "[][" + text + "]");
}

TEST(Answer, StrayControlTokensVanish) {
  EXPECT_EQ(Show(Read("a<channel|>b<tool_call|>c<|\"|>d<pad><|image|>e")), "[][abcde]");
}

TEST(Answer, SplitsDoNotMatterAndTextsAreValid) {
  const Tokenizer& tokenizer = StarterTokenizer();
  std::mt19937 random(5);
  const std::vector<int32_t> likely = {100,        101,        48,         49,         52, 105, 6,
                                       256 + 0xF0, 256 + 0x9F, 256 + 0x98, 256 + 0x80, 50, 1,   106};
  const std::vector<int32_t> call = tokenizer.Encode("call:f{a:[1,{b:2}]}", SpecialTokens::kAsText);
  for (int round = 0; round < 3000; ++round) {
    std::vector<int32_t> ids;
    for (auto n = random() % 40; n > 0; --n) {
      const auto kind = random() % 8;
      if (kind == 0) ids.insert(ids.end(), call.begin(), call.end());
      ids.push_back(kind < 5 ? likely[random() % (round % 3 == 0 ? 14U : 11U)] : static_cast<int32_t>(random() % 520));
    }
    const ParsedAnswer whole = ParseAnswer(tokenizer, ids, AnswerStart::kAnswer);
    AnswerParser parser(tokenizer, AnswerStart::kAnswer);
    std::vector<AnswerEvent> events;
    for (size_t at = 0; at < ids.size();) {
      const size_t take = std::min<size_t>(1 + random() % 3, ids.size() - at);
      parser.Push(std::span(ids).subspan(at, take), events);
      at += take;
    }
    parser.Finish(events);
    ParsedAnswer pieced;
    pieced.end = parser.end();
    for (const AnswerEvent& event : events) {
      if (const auto* thought = std::get_if<ThoughtText>(&event)) {
        EXPECT_TRUE(IsValidUtf8(thought->text) && !thought->text.empty());
        pieced.thought += thought->text;
      } else if (const auto* text = std::get_if<AnswerText>(&event)) {
        EXPECT_TRUE(IsValidUtf8(text->text) && !text->text.empty());
        pieced.text += text->text;
      } else if (const auto* good = std::get_if<ParsedToolCall>(&event)) {
        pieced.calls.push_back(*good);
      } else {
        pieced.broken_calls.push_back(std::get<BrokenToolCall>(event));
      }
    }
    ASSERT_EQ(Show(pieced), Show(whole)) << "round " << round;
  }
}

TEST(Answer, ReadsWhatTheChatFormatWrites) {
  const Tokenizer& tokenizer = StarterTokenizer();
  const json::value arguments = json::parse(
      R"({"text":"a {b} [c], d: <turn|> \"q\" é🚀","n":-12,"f":2.5,"t":true,"z":null,
           "list":[1,"x",{"k":"v"},[]],"empty":""})");
  Message message{.role = Role::kAssistant, .content = {}};
  message.reasoning = "first\nsecond";
  message.tool_calls = {{"1", "search", arguments}};
  const std::vector<Message> messages = {{.role = Role::kUser, .content = "q"}, message};
  const auto before = FormatChatPieces(std::span(messages).first(1), {}, {});
  const auto after = FormatChatPieces(messages, {}, {.add_generation_prompt = false});
  ASSERT_TRUE(before && after);
  const std::vector<int32_t> prompt = EncodeChat(tokenizer, *before), all = EncodeChat(tokenizer, *after);
  ASSERT_TRUE(std::equal(prompt.begin(), prompt.end(), all.begin()));
  const ParsedAnswer answer = ParseAnswer(tokenizer, std::span(all).subspan(prompt.size()), AnswerStart::kAnswer);
  EXPECT_EQ(answer.thought, "first\nsecond");
  EXPECT_EQ(answer.text, "");
  ASSERT_EQ(answer.calls.size(), 1U);
  EXPECT_EQ(answer.calls[0].name, "search");
  EXPECT_EQ(json::value(answer.calls[0].arguments), arguments);
  EXPECT_EQ(answer.end, AnswerEnd::kToolResponse);
}

}  // namespace
}  // namespace dgemma
