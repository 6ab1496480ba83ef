// Reports of `dgemma bench`: their arithmetic, JSON there and back, comparisons, and refusals of files that are none.
#include "bench_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "text_table.h"

namespace dgemma::test {
namespace {

BenchReport Report() {
  BenchReport report;
  report.model = "m";
  report.dtype = "int4-32-min + int8-32";
  report.backend = "cpu";
  report.parameters = 26'000'000;
  report.canvas_tokens = 256;
  report.prompt_tokens = 128;
  report.machine = {"AVX2", 2, 10e9, 400e9, 100e9, 200e9};
  report.load_ms = 12;
  report.plan_bytes = 2'000;
  report.peak_bytes = 1'000;
  PassCost cost;
  cost.expert_bytes = 1e9;
  cost.operations = {40e9, 3e9, 4e9};
  cost.soft.floats = 10e9;
  report.passes = {{"denoise", 0, 0, 200, 210, 5, cost},
                   {"commit", 0, 0, 100, 101, 5, cost},
                   {"commit + denoise", 0, 0, 280, 290, 5, cost}};
  return report;
}

/// The same with --skip=2,8,1.
BenchReport SkipReport() {
  BenchReport report = Report();
  report.skip = {2, 8, 1};
  report.passes.push_back({"denoise 256 rows", 0, 256, 210, 220, 5, {}});
  report.passes.push_back({"denoise 64 rows", 0, 64, 50, 60, 5, {}});
  return report;
}

class ReportFile : public testing::Test {
 protected:
  void SetUp() override {
    const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
    path_ = (std::filesystem::temp_directory_path() / ("dgemma_report_" + test + ".json")).string();
  }
  void TearDown() override { std::filesystem::remove(path_); }
  Result<BenchReport> Read(const std::string& text) {
    std::ofstream(path_) << text;
    return ReadReport(path_);
  }
  std::string path_;
};

TEST(BenchReport, PaceCountsStepsAndCommits) {
  const std::vector<Pace> paces = PacesOf(Report());
  ASSERT_EQ(paces.size(), 4U);
  EXPECT_EQ(paces[1].steps, 16);
  EXPECT_DOUBLE_EQ(paces[1].apart, 256 / (16 * 0.2 + 0.1));
  EXPECT_DOUBLE_EQ(paces[1].merged, 256 / (15 * 0.2 + 0.28));
}

TEST(BenchReport, SkippingCountsPassesOverAllRows) {
  EXPECT_TRUE(SkipPacesOf(Report()).empty());
  const std::vector<SkipPace> paces = SkipPacesOf(SkipReport());
  ASSERT_EQ(paces.size(), 4U);
  EXPECT_DOUBLE_EQ(paces[1].left_out, 0.75);
  EXPECT_EQ(paces[1].steps, 16);
  // Passes 1 and 2 (settled for two steps), 10 (one in eight) and 16 (the last).
  EXPECT_EQ(paces[1].full_passes, 4);
  EXPECT_DOUBLE_EQ(paces[1].computed, (4 + 12 * 0.25) / 16);
  EXPECT_DOUBLE_EQ(paces[1].tokens_per_second, 256 / (4 * 0.21 + 12 * 0.05 + 0.1));
  EXPECT_DOUBLE_EQ(paces[1].exact, 256 / (16 * 0.2 + 0.1));
  const auto full_passes = [](SkipOptions skip) {
    BenchReport report = SkipReport();
    report.skip = skip;
    return SkipPacesOf(report)[1].full_passes;
  };
  EXPECT_EQ(full_passes({1, 4096, 1}), 2) << "the first and the last";
  EXPECT_EQ(full_passes({1, 4096, 3}), 4) << "the first and the last three";
  EXPECT_EQ(full_passes({1, 4, 1}), 5) << "1, 5, 9, 13, 16";
  EXPECT_EQ(full_passes({1, 1, 1}), 16);
  EXPECT_EQ(full_passes({20, 8, 1}), 16) << "nothing settles in so few steps";
}

TEST(BenchReport, SkippingIsShownAsAnAssumption) {
  for (const TableForm form : {TableForm::kAligned, TableForm::kMarkdown}) {
    const std::string table = ReportTable(SkipReport(), form);
    EXPECT_NE(table.find("skipping 2,8,1, assumed: "), std::string::npos) << table;
    EXPECT_EQ(ReportTable(Report(), form).find("skipping"), std::string::npos);
  }
  EXPECT_NE(
      ReportTable(SkipReport(), TableForm::kMarkdown).find("| 75 % | 50.00 | 16 | 4 | 44 % | 166.2 | 77.6 | 2.14 |"),
      std::string::npos)
      << ReportTable(SkipReport(), TableForm::kMarkdown);
}

TEST(BenchReport, TableShowsSharesOfTheMachine) {
  const std::string table = ReportTable(Report(), TableForm::kAligned);
  // 1 GB in 0.2 s at 10 GB/s; 40 / 400 + 4 / 200 + 3 / 100 = 0.15 s of 0.2 s
  EXPECT_NE(table.find("5.0      50 %     75 %      75 %"), std::string::npos) << table;
  EXPECT_NE(table.find("+100.0 %"), std::string::npos) << table;
  EXPECT_NE(table.find("would add 10 GFLOP to a denoising pass, 100.0 ms"), std::string::npos) << table;
  EXPECT_NE(ReportTable(Report(), TableForm::kMarkdown).find("| denoise | 200.00 |"), std::string::npos);
}

TEST_F(ReportFile, ComesBackAsItWas) {
  const auto back = Read(ReportJson(Report()));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(ReportJson(*back), ReportJson(Report()));
  const auto skipping = Read(ReportJson(SkipReport()));
  ASSERT_TRUE(skipping) << skipping.error().message;
  EXPECT_EQ(ReportJson(*skipping), ReportJson(SkipReport()));
}

TEST_F(ReportFile, OtherFilesAreRefusedByField) {
  EXPECT_NE(Read("[]").error().message.find("dgemma bench --json"), std::string::npos);
  EXPECT_NE(Read("{}").error().message.find("parameters"), std::string::npos);
  std::string text = ReportJson(Report());
  text.replace(text.find("\"least_ms\":200"), 14, "\"least_ms\":0");
  EXPECT_NE(Read(text).error().message.find("passes.least_ms"), std::string::npos) << Read(text).error().message;
  text = ReportJson(SkipReport());
  text.replace(text.find("\"refresh_every\":8"), 17, "\"refresh_every\":0");
  EXPECT_NE(Read(text).error().message.find("skipping.refresh_every"), std::string::npos) << Read(text).error().message;
  EXPECT_FALSE(ReadReport(path_ + ".none"));
}

TEST(BenchReport, ComparisonCallsSmallDifferencesTies) {
  BenchReport other = Report();
  other.passes[0].least_ms = 180;  // 1.11
  other.passes[1].least_ms = 50;   // 2
  other.passes.pop_back();
  const std::vector<Compared> rows = Compare(Report(), other);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_TRUE(rows[0].tie());
  EXPECT_DOUBLE_EQ(rows[1].ratio(), 2);
  EXPECT_FALSE(rows[1].tie());
  EXPECT_NE(ComparisonTable(Report(), other, TableForm::kAligned).find("1.11  tie\n"), std::string::npos);
}

TEST(TextTable, AlignsAndMarksDown) {
  TextTable table({"name", "n"});
  table.Add({"a", "1"});
  table.Add({"longer", "23"});
  EXPECT_EQ(table.Aligned(), "  name     n\n  a        1\n  longer  23\n");
  EXPECT_EQ(table.Markdown(), "| name | n |\n|---|---:|\n| a | 1 |\n| longer | 23 |\n");
}

}  // namespace
}  // namespace dgemma::test
