// The way of one answer: stop strings whatever the pieces, rules on tools, thoughts kept out of the text.
#include "server/completion_answer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/answer.h"
#include "text/starter_tokenizer.h"

namespace dgemma {
namespace {

/// The rule, found another way: the match that ends first, the longest of those.
std::pair<std::string, std::string> CutNaively(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 0; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      if (stop.size() > best.size() && stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        best = stop;
    }
    if (!best.empty()) return {text.substr(0, end - best.size()), best};
  }
  return {text, ""};
}

TEST(StopStrings, CutAtTheFirstWhateverThePieces) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const auto word = [&](size_t longest) {
      std::string text;
      for (size_t i = 1 + random() % longest; i > 0; --i) text += "ab\n"[random() % 3];
      return text;
    };
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(word(4));
    const std::string text = word(30);
    const auto [cut, found] = CutNaively(text, stops);
    StopStrings strings(stops);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t piece = 1 + random() % 5;
      out += strings.Push(text.substr(at, piece));
      at += piece;
      ASSERT_TRUE(cut.starts_with(out)) << "text beyond a stop string, or a part of one, came out";
    }
    if (!strings.found()) out += strings.Finish();
    ASSERT_EQ(out, cut);
    ASSERT_EQ(strings.found() ? *strings.found() : "", found);
  }
}

TEST(StopStrings, HoldBackEndsWhereCharactersEnd) {
  StopStrings strings({"\u00e9\u00e9"});
  EXPECT_EQ(strings.Push("x\u00e9"), "x");
  EXPECT_EQ(strings.Push("\u00e8"), "\u00e9\u00e8");
  EXPECT_EQ(strings.Push("\u00e9"), "");
  EXPECT_EQ(strings.Finish(), "\u00e9");
}

/// Writes down what it hears.
class Notes final : public CompletionSink {
 public:
  void OnThought(int32_t, std::string_view more) override { thought += more; }
  void OnText(int32_t, std::string_view more) override { text += more; }
  void OnToolCall(int32_t, const FunctionCall& call) override {
    calls += call.id + "=" + call.name + call.arguments_json;
  }
  void OnAnswerEnd(int32_t, const EndOfAnswer&) override {}

  std::string thought, text, calls;
};

CompletionRequest WithTool() {
  CompletionRequest request;
  request.tools = {{.name = "f"}, {.name = "g"}};
  return request;
}

TEST(AnswerFilter, EndsSayWhatHappened) {
  const auto end = [](CompletionRequest request, const char* text, bool call, FinishReason reason) {
    Notes notes;
    AnswerFilter filter(request, 0, "c", notes);
    filter.Text(text);
    if (call) filter.Call({"f", "{}"});
    const auto kind = filter.Finish(reason);
    return notes.text + "|" + notes.calls + "|" + std::string(kind ? Name(*kind) : "none");
  };
  EXPECT_EQ(end({}, "hi", false, FinishReason::kStop), "hi||turn");
  EXPECT_EQ(end({}, "hi", false, FinishReason::kLength), "hi||length");
  EXPECT_EQ(end({}, "hi", false, FinishReason::kContext), "hi||context");
  EXPECT_EQ(end({}, "hi", false, FinishReason::kTimeout), "hi||timeout");
  EXPECT_EQ(end(WithTool(), "hi", true, FinishReason::kStop), "hi|c0=f{}|tool_calls");
  EXPECT_EQ(end(WithTool(), "hi", true, FinishReason::kLength), "hi|c0=f{}|length");
  EXPECT_EQ(end({}, "", true, FinishReason::kStop), "call:f{}||turn") << "no tool was declared: it is text";
  CompletionRequest none = WithTool();
  none.tool_use = ToolUse::kNone;
  EXPECT_EQ(end(none, "", true, FinishReason::kStop), "call:f{}||turn");
  CompletionRequest required = WithTool();
  required.tool_use = ToolUse::kRequired;
  EXPECT_EQ(end(required, "chatter", true, FinishReason::kStop), "|c0=f{}|tool_calls");
  EXPECT_EQ(end(required, "chatter", false, FinishReason::kStop), "||none");
  CompletionRequest stop;
  stop.stop = {"END"};
  EXPECT_EQ(end(stop, "aEN", false, FinishReason::kStop), "aEN||turn");
  EXPECT_EQ(end(stop, "aENDb", false, FinishReason::kCancelled), "a||stop_string");
}

TEST(AnswerFilter, OneCallWhenCallsMayNotBeParallel) {
  CompletionRequest request = WithTool();
  request.parallel_calls = false;
  Notes notes;
  AnswerFilter filter(request, 0, "c", notes);
  EXPECT_EQ(filter.Call({"f", "{}"}), AnswerState::kSatisfied);
  EXPECT_EQ(filter.Call({"g", "{}"}), AnswerState::kSatisfied);
  filter.Text("more");
  EXPECT_EQ(filter.Finish(FinishReason::kCancelled), EndKind::kToolCalls);
  EXPECT_EQ(notes.calls + notes.text, "c0=f{}");
}

TEST(AnswerFilter, AStopStringDoesNotReachOverACall) {
  CompletionRequest request = WithTool();
  request.stop = {"ab"};
  Notes notes;
  AnswerFilter filter(request, 0, "c", notes);
  filter.Text("xa");
  filter.Call({"f", "{}"});
  filter.Text("b");
  EXPECT_EQ(filter.Finish(FinishReason::kStop), EndKind::kToolCalls);
  EXPECT_EQ(notes.text, "xab");
}

/// Outputs of random pieces of markup and text; every letter of thoughts is 't', of answers 'a', of arguments 'c'.
TEST(AnswerFilter, ThoughtsNeverBecomeText) {
  std::mt19937 random(2);
  const Tokenizer& tokenizer = StarterTokenizer();
  CompletionRequest request = WithTool();
  for (int round = 0; round < 2000; ++round) {
    std::string output;
    std::ptrdiff_t answer_letters = 0;
    for (size_t part = random() % 6; part > 0; --part) {
      const auto letters = [&](char letter) { return std::string(1 + random() % 7, letter); };
      switch (random() % 4) {
        case 0:
          output += "<|channel>thought\n" + letters('t') + "\n" + letters('t') + "\n<channel|>";
          break;
        case 1:
          answer_letters -= std::ssize(output);
          output += letters('a');
          answer_letters += std::ssize(output);
          break;
        case 2:
          output += "<|tool_call>call:f{k:<|\"|>" + letters('c') + "<|\"|>}<tool_call|>";
          break;
        default:
          output += "<|channel>" + letters('t') + "<channel|>";
      }
    }
    if (random() % 3 == 0) output += "<|channel>thought\ntttt";  // cut short inside a thought
    const std::vector<int32_t> ids = tokenizer.Encode(output, SpecialTokens::kParse);
    Notes notes;
    AnswerFilter filter(request, 0, "c", notes);
    AnswerParser parser(tokenizer, AnswerStart::kAnswer);
    std::vector<AnswerEvent> events;
    const auto pass_on = [&] {
      for (const AnswerEvent& event : events) {
        if (const auto* thought = std::get_if<ThoughtText>(&event)) filter.Thought(thought->text);
        if (const auto* text = std::get_if<AnswerText>(&event)) filter.Text(text->text);
        if (std::holds_alternative<ParsedToolCall>(event)) filter.Call({"f", "{}"});
      }
      events.clear();
    };
    for (size_t at = 0; at < ids.size();) {
      const size_t piece = std::min(ids.size() - at, 1 + random() % 9);
      parser.Push(std::span(ids).subspan(at, piece), events);
      pass_on();
      at += piece;
    }
    parser.Finish(events);
    pass_on();
    filter.Finish(FinishReason::kStop);
    ASSERT_EQ(notes.text.find_first_not_of('a'), std::string::npos) << output << "\n" << notes.text;
    ASSERT_EQ(notes.thought.find_first_not_of("t\n"), std::string::npos) << output << "\n" << notes.thought;
    ASSERT_EQ(std::ssize(notes.text), answer_letters) << "letters of answers were lost";
  }
}

}  // namespace
}  // namespace dgemma
