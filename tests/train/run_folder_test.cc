// Who may write a run's folder, and what in it is no run's.
#include "train/run_folder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace dgemma {
namespace {

namespace fs = std::filesystem;

class RunFolderTest : public testing::Test {
 protected:
  RunFolderTest() { fs::create_directories(folder_); }
  ~RunFolderTest() override { fs::remove_all(folder_); }
  RunFolderTest(const RunFolderTest&) = delete;
  RunFolderTest& operator=(const RunFolderTest&) = delete;

  std::string Refusal(bool goes_on, bool replaces, const std::vector<std::string>& inputs = {}) const {
    const auto checked = CheckRunPlaces({folder_ / "checkpoints", folder_ / "model"}, goes_on, replaces, inputs);
    return checked ? "" : checked.error().message;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("dgemma-folder-{}", getpid());
};

TEST_F(RunFolderTest, OneHoldsItAndLeavesNothingBehind) {
  const fs::path deep = folder_ / "a/b";
  {
    auto first = FolderLock::Take(deep);
    ASSERT_TRUE(first) << first.error().message;
    const FolderLock moved = *std::move(first);
    const auto second = FolderLock::Take(folder_ / "a/../a/b");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(FolderLock::Take(deep));
  EXPECT_TRUE(fs::is_empty(deep));
  std::ofstream(folder_ / "file") << "x";
  const auto file = FolderLock::Take(folder_ / "file");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, StatusCode::kIo);
  EXPECT_FALSE(FolderLock::Take(folder_ / "file/below"));
}

TEST_F(RunFolderTest, AResultIsReplacedOnlyWhenToldSo) {
  EXPECT_EQ(Refusal(false, false), "");
  fs::create_directories(folder_ / "model");
  EXPECT_NE(Refusal(false, false), "");
  EXPECT_EQ(Refusal(true, false), "") << "the run's own";
  EXPECT_EQ(Refusal(false, true), "") << "--force";
  std::ofstream(folder_ / "checkpoints") << "x";
  EXPECT_NE(Refusal(true, true).find("checkpoints: is a file"), std::string::npos);
}

TEST_F(RunFolderTest, WhatIsReadIsNotWhereIsWritten) {
  fs::create_directories(folder_ / "model");
  fs::create_directories(folder_ / "checkpoints/step-000003");
  fs::create_directories(folder_ / "models/model");
  fs::create_directory_symlink(folder_ / "model", folder_ / "link");
  const auto lost = [&](const fs::path& input) {
    return Refusal(false, true, {"", input.string()}).find("would be lost") != std::string::npos;
  };
  EXPECT_TRUE(lost(folder_ / "model"));
  EXPECT_TRUE(lost(folder_ / "model/"));
  EXPECT_TRUE(lost(folder_ / "checkpoints/../model/."));
  EXPECT_TRUE(lost(folder_ / "link"));
  EXPECT_TRUE(lost(folder_ / "checkpoints/step-000003"));
  EXPECT_FALSE(lost(folder_));
  EXPECT_FALSE(lost(folder_ / "models"));
  EXPECT_FALSE(lost(folder_ / "models/model"));
  EXPECT_FALSE(lost("embedded"));
}

}  // namespace
}  // namespace dgemma
