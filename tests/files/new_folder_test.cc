// New folders of files: there when complete, absent when anything failed, existing ones kept.
#include "files/new_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/try.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

Result<void> WriteTwo(const std::filesystem::path& folder) {
  std::ofstream(folder / "weights") << "w";
  std::ofstream(folder / "text") << "t";
  return {};
}

Result<void> FailBetween(const std::filesystem::path& folder) {
  std::ofstream(folder / "weights") << "w";
  return Fail(StatusCode::kCancelled, "cancelled");
}

size_t EntriesOf(const std::filesystem::path& folder) {
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) entries += size_t{entry.exists()};
  return entries;
}

TEST(NewFolder, AppearsWhenItIsComplete) {
  const TempFolder temporary;
  for (const char* name : {"plain", "with_slash/", "parents/of/it"}) {
    const std::filesystem::path target = temporary.path() / name;
    const auto saved = SaveNewFolder(target, [&](const std::filesystem::path& folder) {
      EXPECT_FALSE(std::filesystem::exists(target)) << name;
      return WriteTwo(folder);
    });
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_EQ(EntriesOf(target), 2U) << name;
  }
  EXPECT_EQ(EntriesOf(temporary.path()), 3U) << "nothing but the folders";
}

TEST(NewFolder, LeavesNothingWhenFillingFails) {
  const TempFolder temporary;
  const auto saved = SaveNewFolder(temporary.path() / "new", FailBetween);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, StatusCode::kCancelled);
  EXPECT_EQ(EntriesOf(temporary.path()), 0U);
}

TEST(NewFolder, FillsAnExistingFolderWhereItIs) {
  const TempFolder temporary;
  const std::filesystem::path target = temporary.path() / "there";
  std::filesystem::create_directory(target);
  std::ofstream(target / "precious") << "p";
  EXPECT_FALSE(SaveNewFolder(target, FailBetween));
  ASSERT_TRUE(SaveNewFolder(target, WriteTwo));
  EXPECT_EQ(EntriesOf(target), 3U);
  EXPECT_EQ(EntriesOf(temporary.path()), 1U);
}

TEST(NewFolder, SaysWhichFolderCannotBeMade) {
  const TempFolder temporary;
  std::ofstream(temporary.path() / "file") << "f";
  const auto below = SaveNewFolder(temporary.path() / "file" / "new", WriteTwo);
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().code, StatusCode::kIo);
  EXPECT_NE(below.error().message.find("file/new: cannot create the folder"), std::string::npos)
      << below.error().message;
  EXPECT_FALSE(SaveNewFolder(temporary.path() / "file", WriteTwo)) << "a file is in the way";
}

TEST(SaveNewFolder, AnExistingFolderIsNotWrittenThroughLinks) {
  const TempFolder temp;
  const auto out = temp.path() / "out";
  std::filesystem::create_directory(out);
  std::ofstream(temp.path() / "precious") << "p";
  std::filesystem::create_symlink("../precious", out / "weights");
  const auto saved = SaveNewFolder(out, WriteTwo);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, StatusCode::kInvalidArgument);
  EXPECT_NE(saved.error().message.find("weights: is a symbolic link"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(temp.path() / "precious"), 1u);
  EXPECT_FALSE(std::filesystem::exists(out / "text"));
}

TEST(SaveNewFolder, SweepsWhatDeadProcessesLeft) {
  const TempFolder temp;
  const auto out = temp.path() / "out";
  // No process has a number above the kernel's largest; this one lives.
  const auto dead = out.string() + ".partial-2000000000",
             alive = out.string() + ".partial-" + std::to_string(getppid()), other = out.string() + ".partial-x";
  for (const std::string& folder : {dead, alive, other}) std::filesystem::create_directory(folder);
  ASSERT_TRUE(SaveNewFolder(out, WriteTwo));
  EXPECT_FALSE(std::filesystem::exists(dead));
  EXPECT_TRUE(std::filesystem::exists(alive));
  EXPECT_TRUE(std::filesystem::exists(other));
}

}  // namespace
}  // namespace dgemma
