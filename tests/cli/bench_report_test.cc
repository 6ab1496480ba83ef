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
  report.passes = {
      {"denoise", 0, 200, 210, 5, cost}, {"commit", 0, 100, 101, 5, cost}, {"commit + denoise", 0, 280, 290, 5, cost}};
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
}

TEST_F(ReportFile, OtherFilesAreRefusedByField) {
  EXPECT_NE(Read("[]").error().message.find("dgemma bench --json"), std::string::npos);
  EXPECT_NE(Read("{}").error().message.find("parameters"), std::string::npos);
  std::string text = ReportJson(Report());
  text.replace(text.find("\"least_ms\":200"), 14, "\"least_ms\":0");
  EXPECT_NE(Read(text).error().message.find("passes.least_ms"), std::string::npos) << Read(text).error().message;
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
