// Properties of the task generator as a whole: the same key gives the same example, the splits never meet, lengths
// fit a small model, lines are what the trainer reads, grading.
#include "train/tasks.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <set>
#include <string>

#include "tasks_tokenizer.h"
#include "text/utf8.h"
#include "train/jsonl.h"
#include "train/sudoku.h"

namespace dgemma {
namespace {

TaskExample Make(std::string_view task, uint64_t seed, Split split, uint64_t index) {
  auto example = MakeTask(task, {.seed = seed, .split = split, .index = index});
  EXPECT_TRUE(example) << example.error().message;
  return *std::move(example);
}

std::string Line(const TaskExample& example) { return boost::json::serialize(TaskJson(example)); }

// A digging puzzle costs a thousand times a word.
uint64_t DrawsOf(std::string_view task) { return task == "sudoku9" ? 400 : 10'000; }

TEST(Tasks, AreAFunctionOfTheKey) {
  for (const TaskInfo& task : Tasks()) {
    std::set<std::string> lines;
    for (uint64_t index = 0; index < 30; ++index) {
      for (const Split split : {Split::kTrain, Split::kHeldOut}) {
        const std::string line = Line(Make(task.name, 5, split, index));
        EXPECT_EQ(line, Line(Make(task.name, 5, split, index)));
        lines.insert(line);
      }
      lines.insert(Line(Make(task.name, 6, Split::kTrain, index)));
    }
    EXPECT_GT(lines.size(), 60U) << task.name;  // indices, seeds and splits matter
  }
}

TEST(Tasks, AreTheSameOnEveryMachine) {
  EXPECT_EQ(Line(Make("sort", 1, Split::kTrain, 0)),
            R"({"task":"sort","prompt":"sort 767 863 791","completion":"767 791 863"})");
  EXPECT_EQ(Line(Make("sudoku", 1, Split::kHeldOut, 0)),
            R"({"task":"sudoku","prompt":"sudoku .2.4 1423 .132 2341","completion":"3214\n1423\n4132\n2341"})");
}

TEST(Tasks, SplitsNeverMeet) {
  std::set<std::string> contents[2], prompts[2];
  for (const TaskInfo& task : Tasks()) {
    for (const Split split : {Split::kTrain, Split::kHeldOut}) {
      const auto side = static_cast<size_t>(split);
      for (uint64_t index = 0; index < DrawsOf(task.name); ++index) {
        // Different seeds, as for a training run and a test file made independently.
        const TaskExample example = Make(task.name, 21 + side, split, index);
        ASSERT_EQ(SplitOf(example.content), split);
        contents[side].insert(example.content);
        prompts[side].insert(example.prompt);
      }
    }
  }
  for (const auto* sets : {contents, prompts}) {
    for (const std::string& held_out : sets[1]) ASSERT_FALSE(sets[0].contains(held_out)) << held_out;
  }
  EXPECT_GT(contents[1].size(), 20'000U);
}

TEST(Tasks, AnEighthIsHeldOut) {
  int held_out = 0;
  for (int i = 0; i < 80'000; ++i) held_out += SplitOf("content " + std::to_string(i)) == Split::kHeldOut ? 1 : 0;
  EXPECT_NEAR(held_out, 10'000, 4 * 94);  // four standard deviations of the binomial
  // The same word is on one side whatever is asked of it, and so is its reversal; operands in any order.
  EXPECT_EQ(Make("reverse", 3, Split::kHeldOut, 7).content.substr(0, 5), "word:");
  EXPECT_EQ(Make("spell", 3, Split::kHeldOut, 7).content.substr(0, 5), "word:");
}

TEST(Tasks, FitASmallModel) {
  for (const TaskInfo& task : Tasks()) {
    const size_t most = task.name == "sudoku9" ? 96 : 64;
    for (uint64_t index = 0; index < 300; ++index) {
      const TaskExample example = Make(task.name, 8, index % 2 == 0 ? Split::kTrain : Split::kHeldOut, index);
      const auto answer = TasksTokenizer().Encode(ReplyText(example), SpecialTokens::kParse);
      const auto prompt = EncodeChat(TasksTokenizer(), TaskPrompt(example));
      ASSERT_GE(answer.size(), 1U);
      ASSERT_LE(answer.size() + 1, most) << ReplyText(example);  // one more for the turn's end
      ASSERT_LE(prompt.size(), 192U) << example.prompt;
    }
  }
}

TEST(Tasks, LinesAreWhatTheTrainerReads) {
  for (const TaskInfo& task : Tasks()) {
    for (uint64_t index = 0; index < 20; ++index) {
      const TaskExample example = Make(task.name, 9, Split::kTrain, index);
      const auto record = ReadJsonRecord(Line(example));
      ASSERT_TRUE(record) << record.error().message;
      EXPECT_EQ(record->task, task.name);
      EXPECT_EQ(record->thinking, example.thinking);
      ASSERT_EQ(record->messages.size(), 2U);
      EXPECT_EQ(std::get<std::string>(record->messages[0].content), example.prompt);
      std::string prompt, whole;
      const ChatOptions options{.enable_thinking = record->thinking, .add_generation_prompt = false};
      whole = *FormatChat(record->messages, record->tools, options);
      for (const ChatPiece& piece : TaskPrompt(example)) prompt += piece.text;
      EXPECT_TRUE(whole.starts_with(prompt + ReplyText(example))) << whole;
    }
  }
}

TEST(Tasks, GradingTakesTheAnswerAndNothingElse) {
  for (const TaskInfo& task : Tasks()) {
    for (uint64_t index = 0; index < 50; ++index) {
      const TaskExample example = Make(task.name, 10, Split::kTrain, index);
      const std::string answer = ReplyText(example);
      EXPECT_TRUE(Correct(task.name, example.prompt, answer, answer));
      EXPECT_TRUE(Correct(task.name, example.prompt, answer, " " + answer + "\n"));
      EXPECT_TRUE(Correct(task.name, example.prompt, answer, "<|channel>thought\nhm\n<channel|>" + answer));
      EXPECT_FALSE(Correct(task.name, example.prompt, answer, ""));
      EXPECT_FALSE(Correct(task.name, example.prompt, answer, answer + "x"));
      EXPECT_FALSE(Correct(task.name, example.prompt, answer, answer.substr(0, answer.size() - 1)));
    }
  }
  // Two ways to fill the empty cells: both count.
  const std::string prompt = "sudoku 12.. 34.. 21.. 43..";
  EXPECT_TRUE(Correct("sudoku", prompt, "1234\n3412\n2143\n4321", "1243\n3421\n2134\n4312"));
}

TEST(Tasks, AnUnknownNameIsAnError) {
  const auto example = MakeTask("juggle", {});
  ASSERT_FALSE(example);
  EXPECT_EQ(example.error().code, StatusCode::kInvalidArgument);
  EXPECT_NE(example.error().message.find("\"juggle\""), std::string::npos);
}

}  // namespace
}  // namespace dgemma
