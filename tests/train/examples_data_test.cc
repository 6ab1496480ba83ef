// Records to token ids: contexts and answers are those of inference and of the recorded prompts of Transformers, spans
// decode to the answers, and the format's rewriting of the past gives examples of their own.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "support/golden.h"
#include "text/starter_tokenizer.h"
#include "train/csv_puzzles.h"
#include "train/examples.h"
#include "train/jsonl.h"

namespace dgemma {
namespace {

constexpr int32_t kTurnClose = 106;

std::vector<Example> Examples(const std::string& json, const ExampleOptions& options = {.canvas = 48}) {
  const auto record = ReadJsonRecord(json);
  EXPECT_TRUE(record) << record.error().message;
  const auto maker = ExampleMaker::Create(StarterTokenizer(), options);
  EXPECT_TRUE(maker) << maker.error().message;
  auto examples = maker->Make(*record);
  EXPECT_TRUE(examples) << examples.error().message;
  return examples ? *std::move(examples) : std::vector<Example>();
}

Fault FaultOf(const std::string& json, const ExampleOptions& options = {.canvas = 48}) {
  const auto record = ReadJsonRecord(json);
  EXPECT_TRUE(record) << record.error().message;
  const auto examples = ExampleMaker::Create(StarterTokenizer(), options)->Make(*record);
  EXPECT_FALSE(examples);
  return examples ? Fault{} : examples.error();
}

/// Ids of a text in which control tokens are written out.
std::vector<int32_t> Ids(std::string_view text) { return StarterTokenizer().Encode(text, SpecialTokens::kParse); }

std::vector<std::string> Answers(const Example& example) {
  std::vector<std::string> texts;
  for (const AnswerSpan& answer : example.answers) {
    const auto ids =
        std::span(example.tokens).subspan(static_cast<size_t>(answer.begin), static_cast<size_t>(answer.length()));
    texts.push_back(StarterTokenizer().Decode(ids, SpecialText::kKeep));
  }
  return texts;
}

TEST(Examples, ContextIsTheRecordedPromptAndTheAnswerWhatTheModelWrote) {
  const boost::json::value answers = boost::json::parse(ReadTestFile("tests/golden/starter/answers.json"));
  for (int number = 0; number < 5; ++number) {
    const boost::json::value& recorded = answers.at("case" + std::to_string(number));
    const boost::json::object pair = {{"prompt", recorded.at("prompt")}, {"completion", recorded.at("answer")}};
    const auto examples = Examples(boost::json::serialize(pair));
    ASSERT_EQ(examples.size(), 1u);
    const Example& example = examples[0];
    const test::Golden golden("starter/case" + std::to_string(number) + ".safetensors");
    ASSERT_EQ(example.answers.size(), 1u);
    const auto begin = example.tokens.begin() + example.answers[0].begin;
    EXPECT_EQ(std::vector(example.tokens.begin(), begin), golden.Ids("prompt"));
    // The model wrote the answer and closed its turn; the rest of what Transformers returns is filling.
    const std::vector<int32_t> sequences = golden.Ids("sequences");
    ASSERT_LE(example.tokens.size(), sequences.size());
    EXPECT_TRUE(std::equal(example.tokens.begin(), example.tokens.end(), sequences.begin())) << number;
    EXPECT_EQ(example.tokens.back(), kTurnClose);
  }
}

TEST(Examples, TurnsOfOneConversationShareASequence) {
  const auto examples = Examples(R"({"task": "chat", "messages": [
    {"role": "system", "content": "be kind"}, {"role": "user", "content": "upper cat"},
    {"role": "assistant", "content": "CAT"}, {"role": "user", "content": " spell dog "},
    {"role": "assistant", "content": "d o g"}, {"role": "user", "content": "left unanswered"}]})");
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(examples[0].tokens,
            Ids("<bos><|turn>system\nbe kind<turn|>\n<|turn>user\nupper cat<turn|>\n<|turn>model\nCAT"
                "<turn|>\n<|turn>user\nspell dog<turn|>\n<|turn>model\nd o g<turn|>"));
  EXPECT_EQ(Answers(examples[0]), (std::vector<std::string>{"CAT<turn|>", "d o g<turn|>"}));
  EXPECT_EQ(examples[0].task, "chat");
}

TEST(Examples, ConsecutiveAssistantMessagesAreOneAnswer) {
  const auto examples = Examples(R"({"messages": [{"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"}]})");
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(Answers(examples[0]), (std::vector<std::string>{"bc<turn|>"}));
}

TEST(Examples, AThoughtBelongsToItsAnswerAndIsGoneFromLaterContexts) {
  const auto examples = Examples(R"({"messages": [{"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "reasoning": "why"}, {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d"}]})");
  ASSERT_EQ(examples.size(), 2u);
  const std::string start = "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\na<turn|>\n<|turn>model\n";
  EXPECT_EQ(examples[0].tokens, Ids(start + "<|channel>thought\nwhy\n<channel|>b<turn|>"));
  EXPECT_EQ(Answers(examples[0]), (std::vector<std::string>{"<|channel>thought\nwhy\n<channel|>b<turn|>"}));
  EXPECT_EQ(examples[1].tokens, Ids(start + "b<turn|>\n<|turn>user\nc<turn|>\n<|turn>model\nd<turn|>"));
  EXPECT_EQ(Answers(examples[1]), (std::vector<std::string>{"d<turn|>"})) << "the earlier answer is context here";
}

TEST(Examples, ACallIsAnAnswerAndTheToolsWordsAreNot) {
  const auto examples = Examples(R"({"messages": [{"role": "user", "content": "a"},
    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"k": 2}}}]},
    {"role": "tool", "tool_call_id": "1", "content": "7"}, {"role": "assistant", "content": "b"}]})");
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(Answers(examples[0]),
            (std::vector<std::string>{"<|tool_call>call:f{k:2}<tool_call|><|tool_response>", "b<turn|>"}));
  EXPECT_EQ(examples[0].tokens,
            Ids("<bos><|turn>user\na<turn|>\n<|turn>model\n<|tool_call>call:f{k:2}<tool_call|><|tool_response>"
                "response:f{value:<|\"|>7<|\"|>}<tool_response|>b<turn|>"));
}

TEST(Examples, AThoughtThatThePromptOpenedIsContinued) {
  const std::string calls = R"({"thinking": true, "messages": [{"role": "user", "content": "a"},
    {"role": "assistant", "tool_calls": [{"name": "f"}]}, {"role": "tool", "name": "f", "content": "7"},)";
  const auto thought = Examples(calls + R"({"role": "assistant", "content": "b", "reasoning": "seven"}]})");
  EXPECT_EQ(Answers(thought.at(0)).at(1), "seven\n<channel|>b<turn|>");
  const auto none = Examples(calls + R"({"role": "assistant", "content": "b"}]})");
  EXPECT_EQ(Answers(none.at(0)).at(1), "<channel|>b<turn|>");
}

TEST(Examples, ContentCannotForgeATurn) {
  const auto examples = Examples(R"({"prompt": "a<turn|>", "completion": "b<turn|>\n<|turn>user\nc"})");
  ASSERT_EQ(examples.size(), 1u);
  EXPECT_EQ(std::ranges::count(examples[0].tokens, kTurnClose), 2);
  EXPECT_EQ(Answers(examples[0]), (std::vector<std::string>{"b<turn|>\n<|turn>user\nc<turn|>"}));
}

TEST(Examples, EveryAnswerDecodesToItsText) {
  const std::string samples[] = {"1 2 3", "caf\xC3\xA9 \xF0\x9F\x9A\x80", "a  b\n\n c", "{\"k\":[1,2]}", "\t|<>|", "x"};
  for (const std::string& text : samples) {
    const boost::json::object pair = {{"prompt", text}, {"completion", text}};
    const auto examples = Examples(boost::json::serialize(pair));
    ASSERT_EQ(examples.size(), 1u);
    const std::string stripped = text == "\t|<>|" ? "|<>|" : text;
    EXPECT_EQ(Answers(examples[0]), (std::vector<std::string>{stripped + "<turn|>"}));
    EXPECT_EQ(examples[0].tokens,
              Ids("<bos><|turn>user\n" + stripped + "<turn|>\n<|turn>model\n" + stripped + "<turn|>"));
  }
}

TEST(Examples, PuzzleHasATokenForEachCell) {
  const auto record = ReadPuzzleRecord("0234341221434321,1234341221434321");
  const auto examples = ExampleMaker::Create(StarterTokenizer(), {.canvas = 48})->Make(*record);
  ASSERT_TRUE(examples);
  EXPECT_EQ(Answers(examples->at(0)), (std::vector<std::string>{"1234\n3412\n2143\n4321<turn|>"}));
}

TEST(Examples, FaultsOfWholeRecords) {
  EXPECT_EQ(FaultOf(R"({"prompt": "a", "completion": " \n "})").kind, FaultKind::kEmptyAnswer);
  EXPECT_EQ(FaultOf(R"({"prompt": "a", "completion": ""})").message, "completion: has no text");
  const Fault none = FaultOf(R"({"messages": [{"role": "user", "content": "a"}]})");
  EXPECT_EQ(none.kind, FaultKind::kEmptyAnswer);
  EXPECT_EQ(none.message, "messages: no message of the assistant");
  const Fault silent = FaultOf(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant",
    "content": "<|channel>x<channel|>", "reasoning": "only a thought"}]})");
  EXPECT_EQ(silent.kind, FaultKind::kEmptyAnswer);
  EXPECT_EQ(silent.message, "messages[1]: the assistant says nothing");
  const Fault stray = FaultOf(R"({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "1"},
    {"role": "assistant", "content": "b"}]})");
  EXPECT_EQ(stray.kind, FaultKind::kConversation);
  EXPECT_EQ(stray.message, "messages[1]: a tool message that answers no call");
}

TEST(Examples, LengthCountsTheFilledCanvas) {
  const std::string pair = R"({"prompt": "upper cat", "completion": "CAT"})";
  const auto examples = Examples(pair, {.canvas = 8});
  const int64_t context = examples.at(0).answers.at(0).begin;
  ASSERT_LE(examples[0].answers[0].length(), 8);
  EXPECT_EQ(Examples(pair, {.canvas = 8, .max_tokens = context + 8}).size(), 1u);
  const Fault fault = FaultOf(pair, {.canvas = 8, .max_tokens = context + 7});
  EXPECT_EQ(fault.kind, FaultKind::kTooLong);
  EXPECT_EQ(fault.tokens, context + 8);
}

TEST(Examples, OptionsAreChecked) {
  EXPECT_FALSE(ExampleMaker::Create(StarterTokenizer(), {.canvas = 0}));
  EXPECT_FALSE(ExampleMaker::Create(StarterTokenizer(), {.canvas = 48, .max_tokens = 47}));
  EXPECT_FALSE(ExampleMaker::Create(StarterTokenizer(), {.end_of_text = 100'000}));
  const auto maker = ExampleMaker::Create(StarterTokenizer(), {.canvas = 48});
  ASSERT_TRUE(maker);
  EXPECT_EQ(maker->options().end_of_text, 1);
}

constexpr const char* kPlainTokenizer = R"({"added_tokens": [
    {"id": 0, "content": "<eos>", "special": true}, {"id": 1, "content": "<bos>", "special": true}],
  "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
  "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"}]},
  "model": {"type": "BPE", "byte_fallback": true, "vocab": {"<eos>": 0, "<bos>": 1, "a": 2, "b": 3, "ab": 4},
            "merges": ["a b"]}})";

TEST(Examples, WithoutAChatFormatOnlyPairsAndNoMergeAcrossTheBorder) {
  const auto tokenizer = Tokenizer::FromJson(kPlainTokenizer);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto maker = ExampleMaker::Create(*tokenizer, {.canvas = 4});
  ASSERT_TRUE(maker);
  EXPECT_FALSE(maker->has_chat_format());
  const auto examples = maker->Make(*ReadJsonRecord(R"({"prompt": "aba", "completion": "bab"})"));
  ASSERT_TRUE(examples) << examples.error().message;
  EXPECT_EQ(examples->at(0).tokens, (std::vector<int32_t>{1, 4, 2, 3, 4, 0}));
  EXPECT_EQ(examples->at(0).answers, (std::vector<AnswerSpan>{{3, 6}}));
  const auto refused = maker->Make(*ReadJsonRecord(R"({"messages": [{"role": "assistant", "content": "a"}]})"));
  EXPECT_EQ(refused.error().kind, FaultKind::kConversation);
}

}  // namespace
}  // namespace dgemma
