// What `dgemma eval` counts: which records are questions, what of an answer is compared, what is said of the rest.
#include "evaluate.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "scripted_engine.h"
#include "signals.h"

namespace dgemma {
namespace {

std::string Write(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

class EvaluateTest : public testing::Test {
 protected:
  Result<std::vector<EvaluationSuite>> Read(const std::string& path, int64_t count = 100) {
    return ReadSuites(program_, std::span(&path, 1), count);
  }
  /// How many of the questions in `lines` an engine gets right that answers all of them with `answer`.
  int64_t Right(const std::string& lines, const Answer& answer) {
    const auto suites = Read(Write("evaluate.jsonl", lines));
    EXPECT_TRUE(suites) << suites.error().message;
    engine_.answer = [&](const Request& request) -> Result<Answer> {
      asked_ = request;
      return answer;
    };
    const auto evaluation = Evaluate(suites->front(), engine_, {});
    EXPECT_TRUE(evaluation) << evaluation.error().message;
    samples_ = evaluation->samples;
    return evaluation->line.all().correct;
  }
  static Answer Saying(const std::string& text) {
    Answer answer;
    answer.text = text;
    return answer;
  }
  static Answer Calling(std::vector<FunctionCall> calls) {
    Answer answer;
    answer.tool_calls = std::move(calls);
    return answer;
  }

  Signals signals_;
  Program program_{signals_};
  ScriptedEngine engine_;
  Request asked_;
  std::vector<SampleLine> samples_;
};

TEST_F(EvaluateTest, TextsAreComparedWithoutSpaceAround) {
  const std::string line = R"({"task":"upper","prompt":"upper cat","completion":"CAT"})";
  EXPECT_EQ(Right(line, Saying(" CAT\n")), 1);
  EXPECT_EQ(Right(line, Saying("cat")), 0);
  EXPECT_EQ(asked_.chat.size(), 1U);
  EXPECT_EQ(asked_.chat[0].text, "upper cat");
}

TEST_F(EvaluateTest, CallsAreComparedByNameAndArgumentsInAnyOrder) {
  const std::string line =
      R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"rain?"},{"role":"assistant",)"
      R"("tool_calls":[{"function":{"name":"weather","arguments":{"city":"Rome","days":2}}}]}],)"
      R"("tools":[{"function":{"name":"weather","description":"d","parameters":{"type":"object"}}}],"thinking":true})";
  EXPECT_EQ(Right(line, Calling({{"weather", R"({"days": 2, "city": "Rome"})"}})), 1);
  EXPECT_EQ(asked_.thinking, Thinking::kOn);
  ASSERT_EQ(asked_.tools.size(), 1U);
  EXPECT_EQ(asked_.tools[0].parameters_json, R"({"type":"object"})");
  EXPECT_EQ(asked_.chat.size(), 2U);
  EXPECT_EQ(samples_.at(0).expected, R"(weather {"city":"Rome","days":2})");
  EXPECT_EQ(Right(line, Calling({{"weather", R"({"days":3,"city":"Rome"})"}})), 0);
  EXPECT_EQ(Right(line, Calling({{"clock", R"({"days":2,"city":"Rome"})"}})), 0);
  EXPECT_EQ(Right(line, Calling({{"weather", "not JSON"}})), 0);
  EXPECT_EQ(Right(line, Calling({})), 0) << "no call";
  EXPECT_EQ(Right(line, Saying(R"(weather {"city":"Rome","days":2})")), 0);
}

TEST_F(EvaluateTest, AnAnswerAfterAToolsResultIsAskedWithTheCall) {
  EXPECT_EQ(
      Right(R"({"messages":[{"role":"user","content":"rain?"},{"role":"assistant","tool_calls":[{"id":"c1","function":)"
            R"({"name":"weather","arguments":{}}}]},{"role":"tool","tool_call_id":"c1","content":"dry"},)"
            R"({"role":"assistant","content":"No rain."}]})",
            Saying("No rain.")),
      1);
  ASSERT_EQ(asked_.chat.size(), 3U);
  ASSERT_EQ(asked_.chat[1].tool_calls.size(), 1U);
  EXPECT_EQ(asked_.chat[1].tool_calls[0].arguments_json, "{}");
  EXPECT_EQ(asked_.chat[2].tool_call_id, "c1");
}

TEST_F(EvaluateTest, PuzzlesOfACsvAreQuestions) {
  const auto suites =
      Read(Write("evaluate.csv", "\xEF\xBB\xBFpuzzle,solution\r\n1034341221434321,1234341221434321\r\n"));
  ASSERT_TRUE(suites) << suites.error().message;
  ASSERT_EQ(suites->front().questions.size(), 1U);
  engine_.answer = [](const Request&) { return Saying("1234\n3412\n2143\n4321"); };
  EXPECT_EQ(Evaluate(suites->front(), engine_, {})->line.all().correct, 1);
  engine_.answer = [](const Request&) { return Saying("1234\n3412\n2143\n4312"); };
  EXPECT_EQ(Evaluate(suites->front(), engine_, {})->line.all().correct, 0);
}

TEST_F(EvaluateTest, OtherRecordsAreCountedAndTheFirstIsNamed) {
  const std::string path = Write("evaluate_mixed.jsonl",
                                 "\n{\"prompt\":\"a\",\"completion\":\"b\"}\nnot json\n"
                                 "{\"messages\":[{\"role\":\"assistant\",\"content\":\"b\"},"
                                 "{\"role\":\"user\",\"content\":\"a\"}]}\n"
                                 "{\"prompt\":\"c\",\"completion\":\"d\"}\nbeyond the count\n");
  const auto suites = Read(path, 2);
  ASSERT_TRUE(suites);
  EXPECT_EQ(suites->front().questions.size(), 2U);
  EXPECT_EQ(suites->front().left_out, 2);
  EXPECT_TRUE(suites->front().first_left_out.starts_with(path + ":3: ")) << suites->front().first_left_out;
  EXPECT_EQ(Read(Write("evaluate_none.jsonl", "nonsense\n")).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(Read(Write("evaluate_empty.jsonl", "")).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(Read(testing::TempDir() + "evaluate_missing.jsonl").error().code, StatusCode::kNotFound);
  EXPECT_EQ(Read(testing::TempDir()).error().code, StatusCode::kInvalidFile);
}

}  // namespace
}  // namespace dgemma
