// metrics.jsonl: its exact lines, what resuming cuts, what a torn or foreign line costs, and the curves that come back.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "files/json.h"
#include "files/temp_folder.h"
#include "train/full_disk_log.h"
#include "train/run_log.h"

namespace dgemma {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

StepLine Step(int64_t step) {
  StepLine line{.report = {.step = step,
                           .diffusion_loss = 0.5,
                           .next_token_loss = 1.25,
                           .gradient_norm = 2,
                           .rate = 1e-4,
                           .rows = 96,
                           .tasks = {}},
                .examples = 8 * (step + 1),
                .epoch = 0.125,
                .rows_per_second = 480.5,
                .seconds = 0.2,
                .memory_bytes = 1 << 20};
  line.report.tasks["sort"] = {.rows = 64, .correct = 60};
  return line;
}

EvaluationLine Evaluation(int64_t steps_taken, const std::string& suite = "held out") {
  EvaluationLine line{.suite = suite, .steps_taken = steps_taken, .diffusion_loss = 0.75, .seconds = 3};
  line.tasks["sort"] = {.answers = 8, .correct = 6, .canvases = 8, .canvas_steps = 20};
  line.tasks["spell"] = {.answers = 2, .correct = 0, .canvases = 0, .canvas_steps = 0};
  return line;
}

SampleLine Sample(int64_t steps_taken) {
  return {.steps_taken = steps_taken, .task = "sort", .prompt = "sort c a", .answer = "a c", .expected = "a c"};
}

std::string Lines(std::initializer_list<std::string> lines) {
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

TEST(RunLogLine, HoldsOneObjectALine) {
  EXPECT_EQ(JsonLine(Step(7)),
            R"({"kind":"step","step":7,"examples":64,"epoch":0.125,"diffusion_loss":0.5,"next_token_loss":1.25,)"
            R"("gradient_norm":2,"rate":0.0001,"rows":96,"rows_per_second":480.5,"seconds":0.2,"memory_bytes":1048576,)"
            R"("tasks":{"sort":{"rows":64,"correct":60}}})"
            "\n");
  EXPECT_EQ(JsonLine(Evaluation(8)),
            R"({"kind":"evaluation","suite":"held out","steps_taken":8,"accuracy":0.6,"steps_per_canvas":2.5,)"
            R"("diffusion_loss":0.75,"next_token_loss":null,"seconds":3,)"
            R"("tasks":{"sort":{"answers":8,"correct":6,"accuracy":0.75,"canvases":8,"canvas_steps":20},)"
            R"("spell":{"answers":2,"correct":0,"accuracy":0,"canvases":0,"canvas_steps":0}}})"
            "\n");
  EXPECT_EQ(
      JsonLine(SampleLine{.steps_taken = 8, .prompt = "say \"hi\"\n", .answer = "</script>\x01"}),
      "{\"kind\":\"sample\",\"steps_taken\":8,\"prompt\":\"say \\\"hi\\\"\\n\",\"answer\":\"</script>\\u0001\"}\n");
}

TEST(RunLogLine, NumbersThatAreNotFiniteAreNull) {
  StepLine line = Step(0);
  line.report.diffusion_loss = kNan;
  line.report.gradient_norm = kInfinity;
  line.report.rate = -kInfinity;
  const std::string text = JsonLine(line);
  EXPECT_NE(text.find(R"("diffusion_loss":null,)"), std::string::npos);
  EXPECT_NE(text.find(R"("gradient_norm":null,"rate":null,)"), std::string::npos);
  EXPECT_TRUE(ParseJson(text));
}

TEST(RunLogLine, HostileTextStaysOneLineOfJson) {
  for (const std::string& hostile : {std::string("a\nb\r\n\"}"), std::string("\xff\xfe\x80"), std::string(3, '\0'),
                                     std::string("\xe2\x80\xa8"), std::string("\xed\xa0\x80")}) {
    StepLine step = Step(0);
    step.report.tasks[hostile] = {};
    EvaluationLine evaluation = Evaluation(1, hostile);
    evaluation.tasks[hostile] = {};
    const SampleLine sample{
        .steps_taken = 1, .task = hostile, .prompt = hostile, .answer = hostile, .expected = hostile};
    for (const std::string& text : {JsonLine(step), JsonLine(evaluation), JsonLine(sample)}) {
      EXPECT_EQ(text.find('\n'), text.size() - 1);
      EXPECT_TRUE(ParseJson(text)) << text;
    }
  }
}

TEST(RunLog, WhatIsAppendedComesBack) {
  const TempFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  auto log = RunLog::Open(path, 0);
  ASSERT_TRUE(log) << log.error().message;
  ASSERT_TRUE(log->Append(Step(0)));
  ASSERT_TRUE(log->Append(Sample(1)));
  ASSERT_TRUE(log->Append(Evaluation(1)));
  ASSERT_TRUE(log->Sync());
  EXPECT_EQ(FileContent(path), Lines({JsonLine(Step(0)), JsonLine(Sample(1)), JsonLine(Evaluation(1))}));

  const auto read = ReadRunLog(path);
  ASSERT_TRUE(read) << read.error().message;
  for (const RunHistory* history : {&*read, &log->history()}) {
    EXPECT_EQ(history->steps, 1);
    EXPECT_EQ(history->lines_left_out, 0);
    EXPECT_EQ(history->most_memory_bytes, 1 << 20);
    EXPECT_EQ(JsonLine(history->last_step.value()), JsonLine(Step(0)));
    ASSERT_EQ(history->evaluations.size(), 1U);
    EXPECT_EQ(JsonLine(history->evaluations.begin()->second), JsonLine(Evaluation(1)));
    ASSERT_EQ(history->samples.size(), 1U);
    EXPECT_EQ(JsonLine(history->samples.front()), JsonLine(Sample(1)));
    EXPECT_EQ(history->diffusion_loss.points(), (std::vector<Series::Point>{{0, 0.5}}));
    EXPECT_EQ(history->row_accuracy.at("sort").points(), (std::vector<Series::Point>{{0, 60.0 / 64}}));
  }
}

TEST(RunLog, ResumingCutsWhatIsBeyondTheCheckpoint) {
  const TempFolder folder;
  const std::string foreign = R"({ "note" : "from a script of the user" })"
                              "\n";
  // The evaluation after two steps is of the very weights that the run goes on from: it stays.
  const auto path = folder.Add(
      "metrics.jsonl",
      Lines({JsonLine(Evaluation(0)), foreign, JsonLine(Step(0)), JsonLine(Step(1)), JsonLine(Evaluation(2)),
             JsonLine(Sample(2)), JsonLine(Step(2)), JsonLine(Step(3)), JsonLine(Sample(3)), JsonLine(Evaluation(4))}));
  auto log = RunLog::Open(path, 2);
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->lines_cut(), 4);
  EXPECT_EQ(log->history().steps, 2);
  EXPECT_EQ(log->history().evaluations.size(), 2U);
  const std::string kept = Lines({JsonLine(Evaluation(0)), foreign, JsonLine(Step(0)), JsonLine(Step(1)),
                                  JsonLine(Evaluation(2)), JsonLine(Sample(2))});
  EXPECT_EQ(FileContent(path), kept);
  ASSERT_TRUE(log->Append(Step(2)));
  EXPECT_EQ(FileContent(path), kept + JsonLine(Step(2)));
  EXPECT_EQ(folder.Names().size(), 1U);  // no temporary file is left
}

TEST(RunLog, ATornLastLineIsCut) {
  // Killed anywhere in the last line, the log is the one without that line.
  const std::string before = Lines({JsonLine(Step(0)), JsonLine(Evaluation(1))}), torn = JsonLine(Step(1));
  for (const size_t left : {torn.size(), torn.size() - 1, torn.size() / 2, size_t{20}, size_t{2}, size_t{1}}) {
    const size_t length = torn.size() - left;  // the newline alone may be missing
    const TempFolder folder;
    const auto path = folder.Add("metrics.jsonl", before + torn.substr(0, length));
    const auto read = ReadRunLog(path);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->lines_left_out, length > 0 ? 1 : 0);
    EXPECT_EQ(read->steps, 1);
    auto log = RunLog::Open(path, 2);
    ASSERT_TRUE(log);
    EXPECT_EQ(log->lines_cut(), length > 0 ? 1 : 0);
    EXPECT_EQ(FileContent(path), before);
  }
}

TEST(RunLog, LinesThatAreNoObjectsAreCutAndTheRestStays) {
  const TempFolder folder;
  std::string text = JsonLine(Step(0)) + std::string(100, '\0') + "\n\n[1,2]\n17\n{\"kind\":\"step\",\"step\":1,}\n";
  text += "{\"kind\":\"step\",\"step\":1e999}\n" + std::string(1000, '[') + "\n" + JsonLine(Step(1));
  const auto path = folder.Add("metrics.jsonl", text);
  const auto read = ReadRunLog(path);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->lines_left_out, 7);
  EXPECT_EQ(read->steps, 2);
  ASSERT_TRUE(RunLog::Open(path, 2));
  EXPECT_EQ(FileContent(path), JsonLine(Step(0)) + JsonLine(Step(1)));
}

TEST(RunLog, WrongFieldsAreNothing) {
  const TempFolder folder;
  const auto path =
      folder.Add("metrics.jsonl",
                 "{\"kind\":\"step\",\"step\":-5,\"rate\":\"fast\",\"tasks\":[1],\"rows\":1e300}\n"
                 "{\"kind\":\"evaluation\",\"suite\":7,\"steps_taken\":9223372036854775807,\"tasks\":{\"a\":3,\"b\":"
                 "{\"answers\":9223372036854775807},\"c\":{\"answers\":9223372036854775807}}}\n"
                 "{\"kind\":\"sample\"}\n{\"kind\":{}}\n{}\n");
  const auto read = ReadRunLog(path);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->steps, 1);
  EXPECT_EQ(read->last_step->report.step, 0);
  EXPECT_EQ(read->last_step->report.rows, 0);
  EXPECT_TRUE(std::isnan(read->last_step->report.rate));
  EXPECT_TRUE(read->rate.empty());
  ASSERT_EQ(read->evaluations.size(), 1U);
  EXPECT_EQ(read->evaluations.begin()->second.all().answers, int64_t{1} << 51);
  EXPECT_EQ(read->samples.size(), 1U);
}

TEST(RunLog, StartingAnewEmptiesIt) {
  const TempFolder folder;
  const auto path = folder.Add("metrics.jsonl", JsonLine(Evaluation(0)) + JsonLine(Step(0)));
  auto log = RunLog::Open(path, 0);
  ASSERT_TRUE(log);
  EXPECT_EQ(FileContent(path), "");
  EXPECT_TRUE(ReadRunLog(path));
  ASSERT_TRUE(RunLog::Open(path, 0));  // an empty one
}

TEST(RunLog, RefusesWhatIsNoFile) {
  const TempFolder folder;
  EXPECT_EQ(ReadRunLog(folder.path() / "missing").error().code, StatusCode::kNotFound);
  EXPECT_EQ(ReadRunLog(folder.path()).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(RunLog::Open(folder.path(), 1).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(RunLog::Open(folder.path() / "missing" / "metrics.jsonl", 1).error().code, StatusCode::kIo);
}

TEST(RunLog, AFullDiskLosesOneLine) {
  const TempFolder folder;
  const auto path = folder.path() / "metrics.jsonl";
  FullDisk disk;
  auto log = RunLog::Open(path, 0, disk);
  ASSERT_TRUE(log);
  ASSERT_TRUE(log->Append(Step(0)));
  disk.bytes_left = 20;
  const auto failed = log->Append(Step(1));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, path.string() + ": write failed: No space left on device");
  disk.bytes_left = 10'000;
  ASSERT_TRUE(log->Append(Step(2)));
  EXPECT_EQ(FileContent(path), JsonLine(Step(0)) + JsonLine(Step(1)).substr(0, 20) + "\n" + JsonLine(Step(2)));
  EXPECT_EQ(ReadRunLog(path)->steps, 2);
}

TEST(RunLog, ResumingOnAFullDiskLeavesTheLogAsItIs) {
  const TempFolder folder;
  const std::string content = JsonLine(Step(0)) + JsonLine(Step(1));
  const auto path = folder.Add("metrics.jsonl", content);
  FullDisk disk;
  disk.bytes_left = 20;
  const auto log = RunLog::Open(path, 1, disk);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, StatusCode::kIo);
  EXPECT_EQ(FileContent(path), content);
  EXPECT_EQ(folder.Names().size(), 1U);
}

TEST(RunHistoryOfALog, AnEvaluationDoneAgainReplacesTheFirst) {
  RunHistory history;
  EvaluationLine line = Evaluation(5);
  history.Add(line);
  line.diffusion_loss = 0.25;
  history.Add(line);
  history.Add(Evaluation(5, "other"));
  ASSERT_EQ(history.evaluations.size(), 2U);
  EXPECT_EQ(history.evaluations.at({5, "held out"}).diffusion_loss, 0.25);
}

TEST(SeriesOfALog, ThinsByAveraging) {
  Series series;
  for (int i = 0; i < 799; ++i) series.Add(i, 2 * i);
  ASSERT_EQ(series.points().size(), 799U);
  EXPECT_EQ(series.points()[10], (Series::Point{10, 20}));
  series.Add(799, 1598);
  ASSERT_EQ(series.points().size(), 400U);
  EXPECT_EQ(series.points()[0], (Series::Point{0.5, 1}));
  series.Add(800, 1600);
  series.Add(801, kNan);
  series.Add(kInfinity, 1);
  series.Add(802, 1e101);
  ASSERT_EQ(series.points().size(), 401U);
  EXPECT_EQ(series.points().back(), (Series::Point{800, 1600}));
  EXPECT_EQ(series.last(), (Series::Point{800, 1600}));
}

TEST(SeriesOfALog, KeepsTheMeanOfMillionsOfPoints) {
  Series series;
  std::mt19937 draws(1);
  double sum = 0;
  const int count = 1 << 20;
  for (int i = 0; i < count; ++i) {
    const double y = static_cast<double>(draws() % 1024);
    sum += y;
    series.Add(i, y);
  }
  const auto points = series.points();
  ASSERT_LE(points.size(), Series::kMaxPoints);
  ASSERT_GE(points.size(), Series::kMaxPoints / 2);
  // All means but the last are of 2^k points each, 2^k the least that makes them few enough; sums of such small
  // integers are exact.
  const double stride = std::round((points[1].x - points[0].x));
  double total = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    total += points[i].y * (i + 1 < points.size() ? stride : count - stride * static_cast<double>(points.size() - 1));
  }
  EXPECT_NEAR(total, sum, 1e-9 * sum);
}

}  // namespace
}  // namespace dgemma
