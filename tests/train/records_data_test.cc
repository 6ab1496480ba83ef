// Lines of JSONL and CSV files: what is read from good ones, and the fault of every bad one.
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "train/csv_puzzles.h"
#include "train/jsonl.h"

namespace dgemma {
namespace {

std::string TextOf(const Message& message) {
  return std::holds_alternative<std::string>(message.content) ? std::get<std::string>(message.content) : "(no text)";
}

TEST(JsonRecord, PairIsAUserAndAnAssistantMessage) {
  const auto record = ReadJsonRecord(R"({"id": 7, "prompt": "sort 2 1", "completion": "1 2", "task": "sort"})");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->form, Record::Form::kPair);
  ASSERT_EQ(record->messages.size(), 2u);
  EXPECT_EQ(record->messages[0].role, Role::kUser);
  EXPECT_EQ(TextOf(record->messages[0]), "sort 2 1");
  EXPECT_EQ(record->messages[1].role, Role::kAssistant);
  EXPECT_EQ(TextOf(record->messages[1]), "1 2");
  EXPECT_EQ(record->task, "sort");
  EXPECT_FALSE(record->thinking);
}

TEST(JsonRecord, ConversationKeepsRolesCallsAndThoughts) {
  const auto record = ReadJsonRecord(R"({"messages": [
    {"role": "system", "content": "s"},
    {"role": "user", "content": [{"type": "text", "text": "u"}]},
    {"role": "assistant", "content": null, "reasoning_content": "hm",
     "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                    {"name": "g", "arguments": {"b": 2}}]},
    {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "3"},
    {"role": "assistant", "content": "done"}],
   "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]})");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->form, Record::Form::kConversation);
  ASSERT_EQ(record->messages.size(), 5u);
  EXPECT_EQ(record->messages[0].role, Role::kSystem);
  EXPECT_EQ(std::get<std::vector<ContentPart>>(record->messages[1].content).at(0).text, "u");
  const Message& calling = record->messages[2];
  EXPECT_TRUE(std::holds_alternative<std::monostate>(calling.content));
  EXPECT_EQ(calling.reasoning, "hm");
  ASSERT_EQ(calling.tool_calls.size(), 2u);
  EXPECT_EQ(calling.tool_calls[0].id, "c1");
  EXPECT_EQ(calling.tool_calls[0].name, "f");
  EXPECT_EQ(boost::json::serialize(calling.tool_calls[0].arguments), R"({"a":1})");
  EXPECT_EQ(calling.tool_calls[1].name, "g");
  EXPECT_EQ(boost::json::serialize(calling.tool_calls[1].arguments), R"({"b":2})");
  EXPECT_EQ(record->messages[3].tool_call_id, "c1");
  EXPECT_EQ(record->messages[3].name, "f");
  ASSERT_EQ(record->tools.size(), 1u);
  EXPECT_EQ(record->tools[0].description, "d");
  EXPECT_TRUE(record->thinking) << "the assistant has a thought";
}

TEST(JsonRecord, ThinkingCanBeSaid) {
  const auto record = ReadJsonRecord(R"({"messages": [{"role": "user", "content": "u"}], "thinking": true})");
  ASSERT_TRUE(record);
  EXPECT_TRUE(record->thinking);
}

TEST(JsonRecord, ThoughtsHaveThreeNames) {
  for (const char* key : {"reasoning", "reasoning_content", "thinking"}) {
    const auto record =
        ReadJsonRecord(std::string(R"({"messages": [{"role": "assistant", "content": "a", ")") + key + R"(": "hm"}]})");
    ASSERT_TRUE(record) << record.error().message;
    EXPECT_EQ(record->messages[0].reasoning, "hm");
    EXPECT_TRUE(record->thinking);
  }
}

TEST(JsonRecord, PromptAndCompletionMayBeListsOfMessages) {
  const auto record =
      ReadJsonRecord(R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    "completion": [{"role": "assistant", "content": "a"}], "tools": [{"name": "f"}]})");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->form, Record::Form::kConversation);
  ASSERT_EQ(record->messages.size(), 3u);
  EXPECT_EQ(TextOf(record->messages[1]), "u");
  EXPECT_EQ(record->messages[2].role, Role::kAssistant);
  EXPECT_EQ(record->tools.size(), 1u);
  const auto wrong = ReadJsonRecord(R"({"prompt": [{"role": "user", "content": "u"}], "completion": [1]})");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "completion[0]: must be an object");
}

TEST(JsonRecord, EveryRuleHasItsFault) {
  struct Case {
    const char* line;
    FaultKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"{\"prompt\": \"\xC3\", \"completion\": \"a\"}", FaultKind::kBadUtf8, "is not well-formed UTF-8"},
      {"{\"prompt\"", FaultKind::kNotJson, "JSON: incomplete JSON at byte 9"},
      {"{} {}", FaultKind::kNotJson, "JSON: extra data at byte 3"},
      {R"({"task": 1, "task": 2})", FaultKind::kNotJson, nullptr},
      {"[]", FaultKind::kWrongValue, "record: must be a JSON object"},
      {"{}", FaultKind::kWrongValue, "record: must have either messages or prompt and completion"},
      {R"({"messages": [], "prompt": "a"})", FaultKind::kWrongValue,
       "record: must have either messages or prompt and completion"},
      {R"({"prompt": "a"})", FaultKind::kWrongValue, "completion: is missing"},
      {R"({"completion": "a"})", FaultKind::kWrongValue, "prompt: is missing"},
      {R"({"prompt": 1, "completion": "a"})", FaultKind::kWrongValue, "prompt: must be a text"},
      {R"({"prompt": "a", "completion": ["a"]})", FaultKind::kWrongValue, "completion: must be a text"},
      {R"({"prompt": "a", "completion": "a", "task": 3})", FaultKind::kWrongValue, "task: must be a text"},
      {R"({"prompt": "a", "completion": "a", "task": "aaaaaaaaa"})", FaultKind::kWrongValue,
       "task: has 9 bytes (at most 8)"},
      {R"({"messages": "a"})", FaultKind::kWrongValue, "messages: must be a list"},
      {R"({"messages": []})", FaultKind::kWrongValue, "messages: is empty"},
      {R"({"messages": [1]})", FaultKind::kWrongValue, "messages[0]: must be an object"},
      {R"({"messages": [{}, {}, {}, {}]})", FaultKind::kWrongValue, "messages: has 4 entries (at most 3)"},
      {R"({"messages": [{"content": "a"}]})", FaultKind::kWrongValue, "messages[0].role: is missing"},
      {R"({"messages": [{"role": "robot", "content": "a"}]})", FaultKind::kUnknownRole,
       "messages[0].role: \"robot\" is not one of system, developer, user, assistant, tool"},
      {R"({"messages": [{"role": "user"}]})", FaultKind::kWrongValue, "messages[0].content: is missing"},
      {R"({"messages": [{"role": "user", "content": 1}]})", FaultKind::kWrongValue,
       "messages[0].content: must be a text or a list of text parts"},
      {R"({"messages": [{"role": "user", "content": [1]}]})", FaultKind::kWrongValue,
       "messages[0].content: must be a text or a list of text parts"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})", FaultKind::kWrongValue,
       "messages[0].content: only parts of type text can be trained on"},
      {R"({"messages": [{"role": "assistant", "content": "", "reasoning": 1}]})", FaultKind::kWrongValue,
       "messages[0].reasoning: must be a text"},
      {R"({"messages": [{"role": "assistant", "tool_responses": []}]})", FaultKind::kWrongValue,
       "messages[0].tool_responses: write them as messages of role tool"},
      {R"({"messages": [{"role": "assistant", "tool_calls": {}}]})", FaultKind::kWrongValue,
       "messages[0].tool_calls: must be a list"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [2]}]})", FaultKind::kWrongValue,
       "messages[0].tool_calls[0]: must be an object"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": 2}]}]})", FaultKind::kWrongValue,
       "messages[0].tool_calls[0].function: must be an object"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"arguments": {}}]}]})", FaultKind::kWrongValue,
       "messages[0].tool_calls[0].name: is missing"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "x"}]}]})",
       FaultKind::kWrongValue, "messages[0].tool_calls[0].arguments: must be an object or the text of one"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": [1]}]}]})",
       FaultKind::kWrongValue, "messages[0].tool_calls[0].arguments: must be an object or the text of one"},
      {R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "f", "parameters": 1}]})",
       FaultKind::kWrongValue, "tools[0].parameters: must be an object"},
      {R"({"messages": [{"role": "user", "content": "a"}], "thinking": "yes"})", FaultKind::kWrongValue,
       "thinking: must be true or false"},
  };
  for (const Case& item : cases) {
    const auto record = ReadJsonRecord(item.line, {.messages = 3, .task_bytes = 8});
    ASSERT_FALSE(record) << item.line;
    EXPECT_EQ(record.error().kind, item.kind) << item.line << ": " << record.error().message;
    if (item.message != nullptr) {
      EXPECT_EQ(record.error().message, item.message) << item.line;
    }
  }
}

TEST(JsonRecord, LimitsHoldAtTheBorder) {
  const auto read = [](const DatasetLimits& limits) {
    return ReadJsonRecord(R"({"prompt": "a", "completion": "b", "x": [[[1]]]})", limits).has_value();
  };
  EXPECT_TRUE(read({.json_depth = 4}));
  EXPECT_FALSE(read({.json_depth = 3}));
  EXPECT_TRUE(read({.json_nodes = 10}));  // three keys, three values, three more lists, the record: with the keys ten
  EXPECT_FALSE(read({.json_nodes = 9}));
}

TEST(JsonRecord, DeepNestingIsAFaultAndNotARecursion) {
  const auto record = ReadJsonRecord(std::string(1'000'000, '['));
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().kind, FaultKind::kNotJson);
}

constexpr const char* kPuzzle9 =
    "530070000600195000098000060800060003400803001700020006060000280000419005000080079,"
    "534678912672195348198342567859761423426853791713924856961537284287419635345286179";

TEST(PuzzleRecord, AsksForTheGridInRows) {
  const auto record = ReadPuzzleRecord(kPuzzle9);
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->form, Record::Form::kPair);
  EXPECT_EQ(record->task, "sudoku 9x9");
  EXPECT_EQ(TextOf(record->messages[0]),
            "Solve this Sudoku puzzle. 0 marks an empty cell. Reply with the completed 9x9 grid.\n"
            "530070000\n600195000\n098000060\n800060003\n400803001\n700020006\n060000280\n000419005\n000080079");
  EXPECT_EQ(TextOf(record->messages[1]),
            "534678912\n672195348\n198342567\n859761423\n426853791\n713924856\n961537284\n287419635\n345286179");
}

TEST(PuzzleRecord, SmallerGridsHaveTheirOwnBoxes) {
  const auto four = ReadPuzzleRecord("0234341221434321,1234341221434321");
  ASSERT_TRUE(four) << four.error().message;
  EXPECT_EQ(four->task, "sudoku 4x4");
  // Boxes of 6 x 6 are two rows high and three columns wide.
  const auto six = ReadPuzzleRecord("023456456123231564564231312645645310,123456456123231564564231312645645312");
  ASSERT_TRUE(six) << six.error().message;
  EXPECT_EQ(six->task, "sudoku 6x6");
  EXPECT_EQ(TextOf(six->messages[0]), "sudoku .23456 456123 231564 564231 312645 64531.");
  EXPECT_EQ(TextOf(six->messages[1]), "123456\n456123\n231564\n564231\n312645\n645312");
}

TEST(PuzzleRecord, EveryRuleHasItsFault) {
  struct Case {
    const char* line;
    const char* message;
  };
  const Case cases[] = {
      {"0234341221434321", "has no comma (puzzle,solution)"},
      {"0234,1234", "puzzle: has 4 digits (16, 36 or 81)"},
      {"0234341221434321,123434122143432", "solution: has 15 digits, the puzzle 16"},
      {"0234341221434321,1234341221434321,", "solution: has 17 digits, the puzzle 16"},
      {"0235341221434321,1234341221434321", "puzzle: digits must be 0 to 4"},
      {".234341221434321,1234341221434321", "puzzle: digits must be 0 to 4"},
      {"0234341221434321,0234341221434321", "solution: digits must be 1 to 4"},
      {"4234341221434321,1234341221434321", "solution: the given 4 in row 1 was changed to 1"},
      {"0000000000000000,1134341221434321", "solution: row 1 has two 1s"},
      {"0000000000000000,1234123421434321", "solution: column 1 has two 1s"},
      {"0000000000000000,1234214334124321", "solution: box 1 has two 2s"},
  };
  for (const Case& item : cases) {
    const auto record = ReadPuzzleRecord(item.line);
    ASSERT_FALSE(record) << item.line;
    EXPECT_EQ(record.error().kind, FaultKind::kBadPuzzle);
    EXPECT_EQ(record.error().message, item.message) << item.line;
  }
  EXPECT_TRUE(CheckPuzzleHeader("puzzle,solution"));
  EXPECT_EQ(CheckPuzzleHeader("quizzes,solutions").error().message,
            "header: is \"quizzes,solutions\" (must be puzzle,solution)");
}

}  // namespace
}  // namespace dgemma
