// Files as lists of examples: what is counted, where faults are reported, limits at their borders, and files that
// change.
#include "train/dataset.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "files/temp_folder.h"
#include "text/starter_tokenizer.h"

namespace dgemma {
namespace {

const DatasetOptions kOptions{.examples = {.canvas = 8, .max_tokens = 64}, .limits = {}, .stop = {}};

Result<Dataset> Open(const std::vector<std::string>& paths, const DatasetOptions& options = kOptions) {
  return Dataset::Open(paths, StarterTokenizer(), options);
}

std::string Pair(const std::string& prompt, const std::string& completion, const std::string& task = "") {
  return fmt::format(R"({{"prompt": "{}", "completion": "{}"{}}})", prompt, completion,
                     task.empty() ? "" : fmt::format(R"(, "task": "{}")", task)) +
         "\n";
}

std::string AnswerText(const Example& example, size_t answer = 0) {
  const AnswerSpan span = example.answers.at(answer);
  const auto ids =
      std::span(example.tokens).subspan(static_cast<size_t>(span.begin), static_cast<size_t>(span.length()));
  return StarterTokenizer().Decode(ids, SpecialText::kSkip);
}

std::vector<std::string> AllAnswers(const Dataset& data) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < data.size(); ++i) {
    const auto example = data.Get(i);
    EXPECT_TRUE(example) << example.error().message;
    if (example) texts.push_back(AnswerText(*example));
  }
  return texts;
}

TEST(Dataset, ReadsLinesOfEveryShape) {
  const TempFolder folder;
  // A byte order mark, carriage returns, blank lines, no newline at the end.
  std::string last = Pair("c", "z");
  last.pop_back();
  const std::string text = "\xEF\xBB\xBF" + Pair("a", "x") + "\r\n \t\n" +
                           Pair("b", "y").insert(Pair("b", "y").size() - 1, "\r") + "\n\n" + last;
  const std::string path = folder.Add("train.jsonl", text);
  const auto data = Open({path});
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(AllAnswers(*data), (std::vector<std::string>{"x", "y", "z"}));
  EXPECT_EQ(data->statistics().records, 3);
  EXPECT_EQ(data->statistics().used, 3);
}

TEST(Dataset, ChunksDoNotShow) {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 60'000; ++i)
    text += Pair("number " + std::to_string(i), std::to_string(i * 3));  // more than two chunks
  ASSERT_GT(text.size(), size_t{2} << 20);
  const std::string path = folder.Add("train.jsonl", text);
  const auto data = Open({path});
  ASSERT_TRUE(data);
  ASSERT_EQ(data->size(), 60'000);
  for (const int64_t i : {0, 1, 19'999, 59'999}) EXPECT_EQ(AnswerText(*data->Get(i)), std::to_string(i * 3));
  int64_t wrong = 0;
  for (int64_t i = 0; i < 60'000; i += 97) wrong += AnswerText(*data->Get(i)) != std::to_string(i * 3);
  EXPECT_EQ(wrong, 0);
}

TEST(Dataset, CountsFaultsByKindWithTheirLines) {
  const TempFolder folder;
  std::string text = Pair("a", "x", "good");  // 1
  text += "{\"prompt\": \"\xFF\"}\n";         // 2
  text += "not json\n";                       // 3
  text += "\n";                               // 4, blank
  text += Pair("a", "", "good");              // 5
  text += R"({"messages": [{"role": "robot", "content": ""}]})"
          "\n";                                      // 6
  text += Pair("a", std::string(100, 'q'), "good");  // 7
  text += R"({"prompt": 1})"
          "\n";                                // 8
  text += Pair("a", std::string(400, 'x'));    // 9
  for (int i = 0; i < 7; ++i) text += "no\n";  // 10 to 16
  const std::string path = folder.Add("train.jsonl", text);
  DatasetOptions options = kOptions;
  options.limits.line_bytes = 400;
  const auto data = Open({path}, options);
  ASSERT_TRUE(data) << data.error().message;
  const DatasetStatistics& statistics = data->statistics();
  EXPECT_EQ(statistics.records, 15);
  EXPECT_EQ(statistics.used, 1);
  const auto expect = [&](FaultKind kind, int64_t records, const std::string& first) {
    EXPECT_EQ(statistics.Of(kind).records, records) << Name(kind);
    ASSERT_FALSE(statistics.Of(kind).first.empty()) << Name(kind);
    EXPECT_TRUE(statistics.Of(kind).first[0].starts_with(path + first)) << statistics.Of(kind).first[0];
  };
  expect(FaultKind::kBadUtf8, 1, ":2: is not well-formed UTF-8");
  expect(FaultKind::kNotJson, 8, ":3: JSON: ");
  expect(FaultKind::kEmptyAnswer, 1, ":5: completion: has no text");
  expect(FaultKind::kUnknownRole, 1, ":6: messages[0].role: \"robot\"");
  expect(FaultKind::kTooLong, 1, ":7: ");
  expect(FaultKind::kWrongValue, 1, ":8: prompt: must be a text");
  expect(FaultKind::kLineTooLong, 1, ":9: has more than 400 bytes");
  EXPECT_EQ(statistics.Of(FaultKind::kNotJson).first.size(), 5u) << "only the first few are kept";
  EXPECT_TRUE(statistics.Of(FaultKind::kNotJson).first[1].starts_with(path + ":10: "));
  EXPECT_GT(statistics.longest_left_out, 64);
  EXPECT_DOUBLE_EQ(statistics.TooLongShare(), 1.0 / 15);
  const TaskCounts& task = statistics.tasks.at("good");
  EXPECT_EQ(task.records, 3);
  EXPECT_EQ(task.too_long, 1);
  EXPECT_EQ(task.examples, 1);

  options.faults = FaultPolicy::kRefuse;
  const auto refused = Open({path}, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), (Status{StatusCode::kInvalidFile, path + ":2: is not well-formed UTF-8 (bad UTF-8)"}));
}

TEST(Dataset, StatisticsAreExact) {
  const TempFolder folder;
  std::string text;
  const auto tokens = [](const std::string& answer) {
    return std::ssize(StarterTokenizer().Encode(answer, SpecialTokens::kAsText)) + 1;
  };
  std::vector<int64_t> lengths;
  for (int i = 1; i <= 20; ++i) {
    std::string answer;
    for (int k = 0; k < i; ++k) answer += k % 2 == 0 ? "7" : "-";
    lengths.push_back(tokens(answer));
    text += Pair("a", answer, i % 2 == 0 ? "even" : "odd");
  }
  ASSERT_TRUE(std::ranges::is_sorted(lengths));
  const auto data = Open({folder.Add("train.jsonl", text)});
  ASSERT_TRUE(data) << data.error().message;
  const DatasetStatistics& statistics = data->statistics();
  EXPECT_EQ(statistics.answer_tokens.Quantile(0), lengths[0]);
  EXPECT_EQ(statistics.answer_tokens.Quantile(0.5), lengths[9]);
  EXPECT_EQ(statistics.answer_tokens.Quantile(0.95), lengths[18]);
  EXPECT_EQ(statistics.answer_tokens.Quantile(1), lengths[19]);
  const auto context =
      std::ssize(StarterTokenizer().Encode("<bos><|turn>user\na<turn|>\n<|turn>model\n", SpecialTokens::kParse));
  EXPECT_EQ(statistics.context_tokens.Quantile(0), context);
  EXPECT_EQ(statistics.context_tokens.Quantile(1), context);
  EXPECT_EQ(statistics.answer_canvases.Quantile(1), CanvasesOf(lengths[19], 8));
  EXPECT_EQ(statistics.tasks.at("even").examples, 10);
  const std::vector<std::string> lines = Describe(statistics);
  EXPECT_EQ(lines[0], "20 records, 20 used, 20 examples with 20 answers");
  EXPECT_EQ(lines[1], fmt::format("context tokens: min {0}, median {0}, p95 {0}, max {0}", context));
  EXPECT_EQ(lines[2], fmt::format("answer tokens: min {}, median {}, p95 {}, max {}", lengths[0], lengths[9],
                                  lengths[18], lengths[19]));
  EXPECT_EQ(LengthCounts().Quantile(0.5), 0);
}

TEST(Dataset, PuzzlesAndConversationsTogether) {
  const TempFolder folder;
  const std::string puzzles = folder.Add("four.csv",
                                         "puzzle,solution\r\n0234341221434321,1234341221434321\r\n"
                                         "0234341221434321,2234341221434321\r\n");
  // Two examples in one record: the thought is gone from the later answer's context.
  const std::string chat = folder.Add(
      "chat.jsonl", R"({"messages": [{"role": "user", "content": "a"},)"
                    R"({"role": "assistant", "content": "b", "reasoning": "r"}, {"role": "user", "content": "c"},)"
                    R"({"role": "assistant", "content": "d"}]})");
  DatasetOptions options = kOptions;
  options.examples = {.canvas = 48, .max_tokens = 256};
  const auto data = Open({puzzles, chat}, options);
  ASSERT_TRUE(data) << data.error().message;
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(AnswerText(*data->Get(0)), "1234\n3412\n2143\n4321");
  EXPECT_TRUE(AnswerText(*data->Get(1)).ends_with("b"));
  EXPECT_EQ(AnswerText(*data->Get(2)), "d");
  EXPECT_EQ(data->statistics().used, 2);
  EXPECT_EQ(data->statistics().Of(FaultKind::kBadPuzzle).first.at(0), puzzles + ":3: solution: row 1 has two 2s");

  const auto wrong = Open({folder.Add("other.csv", "quizzes,solutions\n1,1\n")});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            (folder.path() / "other.csv").string() + ": header: is \"quizzes,solutions\" (must be puzzle,solution)");
}

TEST(Dataset, LimitsHoldAtTheirBorders) {
  const TempFolder folder;
  const std::string line = Pair("a", "x", "t1");
  const std::string path = folder.Add("train.jsonl", line + line);
  const auto with = [&](auto change) {
    DatasetOptions options = kOptions;
    change(options.limits);
    return Open({path}, options);
  };
  EXPECT_TRUE(with([&](DatasetLimits& limits) { limits.file_bytes = 2 * line.size(); }));
  EXPECT_EQ(with([&](DatasetLimits& limits) { limits.file_bytes = 2 * line.size() - 1; }).error().code,
            StatusCode::kResourceExhausted);
  EXPECT_TRUE(with([](DatasetLimits& limits) { limits.records = 2; }));
  EXPECT_EQ(with([](DatasetLimits& limits) { limits.records = 1; }).error().message, path + ":2: more than 1 records");
  EXPECT_TRUE(with([](DatasetLimits& limits) { limits.examples = 2; }));
  EXPECT_EQ(with([](DatasetLimits& limits) { limits.examples = 1; }).error().message,
            path + ":2: more than 1 examples");
  EXPECT_TRUE(with([&](DatasetLimits& limits) { limits.line_bytes = line.size() - 1; }));  // without the newline
  EXPECT_FALSE(with([&](DatasetLimits& limits) { limits.line_bytes = line.size() - 2; }));
  for (const Status& error : {with([](DatasetLimits& limits) { limits.line_bytes = uint64_t{1} << 33; }).error(),
                              with([](DatasetLimits& limits) { limits.messages = 1 << 20; }).error()}) {
    EXPECT_EQ(error.code, StatusCode::kInvalidArgument) << error.message;
  }
  EXPECT_EQ(with([](DatasetLimits& limits) { limits.files = 0; }).error().code, StatusCode::kResourceExhausted);

  const std::string tasks = folder.Add("tasks.jsonl", line + Pair("a", "x", "t2"));
  DatasetOptions options = kOptions;
  options.limits.tasks = 1;
  const auto one_task = Open({tasks}, options);
  ASSERT_TRUE(one_task);
  EXPECT_EQ(one_task->statistics().Of(FaultKind::kWrongValue).first.at(0),
            tasks + ":2: task: more than 1 different names");
}

TEST(Dataset, AHugeLineIsSkippedWithoutBeingKept) {
  const TempFolder folder;
  std::string text = Pair("a", "x");
  text += std::string(5 << 20, ' ') + "{\n";
  text += Pair("b", "y");
  const auto data = Open({folder.Add("train.jsonl", text)});
  ASSERT_TRUE(data);
  EXPECT_EQ(AllAnswers(*data), (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(data->statistics().Of(FaultKind::kLineTooLong).records, 1);
}

TEST(Dataset, WhatCannotBeReadIsAnError) {
  const TempFolder folder;
  EXPECT_EQ(Open({(folder.path() / "none.jsonl").string()}).error().code, StatusCode::kNotFound);
  EXPECT_EQ(Open({folder.path().string()}).error().code, StatusCode::kInvalidFile);
  const std::string pipe = (folder.path() / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(Open({pipe}).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(Open({}).error().code, StatusCode::kInvalidArgument);
  const std::string empty = folder.Add("empty.jsonl", "\n\n");
  EXPECT_EQ(Open({empty}).error().message, empty + ": has no records");
  const std::string bad = folder.Add("bad.jsonl", "x\n" + Pair("a", ""));
  EXPECT_TRUE(Open({bad}).error().message.starts_with("data: none of 2 records can be used"))
      << Open({bad}).error().message;
  std::stop_source stop;
  stop.request_stop();
  DatasetOptions options = kOptions;
  options.stop = stop.get_token();
  EXPECT_EQ(Open({folder.Add("good.jsonl", Pair("a", "x"))}, options).error().code, StatusCode::kCancelled);
}

TEST(Dataset, AFileThatChangesIsAnErrorAndHasAnotherFingerprint) {
  const TempFolder folder;
  const std::string text = Pair("a", "x") + Pair("b", "y");
  const std::string path = folder.Add("train.jsonl", text);
  const auto data = Open({path});
  ASSERT_TRUE(data);
  EXPECT_EQ(Open({path})->fingerprint(), data->fingerprint());
  folder.Add("train.jsonl", Pair("a", "x") + Pair("b", "z"));
  EXPECT_EQ(AnswerText(*data->Get(0)), "x");
  EXPECT_EQ(data->Get(1).error(),
            (Status{StatusCode::kInvalidFile,
                    fmt::format("{}: changed since it was opened (line at byte {})", path, Pair("a", "x").size())}));
  EXPECT_NE(Open({path})->fingerprint(), data->fingerprint());
  folder.Add("train.jsonl", Pair("b", "y") + Pair("a", "x"));
  EXPECT_NE(Open({path})->fingerprint(), data->fingerprint()) << "the order counts";
  folder.Add("train.jsonl", "");
  EXPECT_EQ(data->Get(0).error().code, StatusCode::kInvalidFile);
}

}  // namespace
}  // namespace dgemma
