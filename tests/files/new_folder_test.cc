// New folders of files: there when complete, absent when anything failed, existing ones kept.
#include "files/new_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
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

TEST(NewFolder, AnExistingFolderKeepsItsFilesUntilAllAreWritten) {
  const TempFolder temporary;
  for (const char* name : {"there", "with_slash/"}) {
    const std::filesystem::path target = temporary.path() / name;
    std::filesystem::create_directories(target);
    std::ofstream(target / "precious") << "p";
    std::ofstream(target / "weights") << "old";
    EXPECT_FALSE(SaveNewFolder(target, FailBetween));
    EXPECT_EQ(FileContent(target / "weights"), "old");
    EXPECT_EQ(EntriesOf(target), 2U);
    ASSERT_TRUE(SaveNewFolder(target, [&](const std::filesystem::path& folder) {
      EXPECT_EQ(FileContent(target / "weights"), "old");
      return WriteTwo(folder);
    }));
    EXPECT_EQ(FileContent(target / "weights"), "w");
    EXPECT_EQ(EntriesOf(target), 3U);
  }
  EXPECT_EQ(EntriesOf(temporary.path()), 2U);
}

TEST(NewFolder, ReplacesOnlyRegularFiles) {
  const TempFolder temporary;
  const std::filesystem::path target = temporary.path() / "there";
  std::filesystem::create_directories(target / "text");
  std::ofstream(target / "weights") << "old";
  const auto saved = SaveNewFolder(target, WriteTwo);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, StatusCode::kInvalidArgument);
  EXPECT_EQ(saved.error().message, (target / "text").string() + ": exists and is no regular file");
  EXPECT_EQ(FileContent(target / "weights"), "old");
  EXPECT_EQ(EntriesOf(target), 2U);
}

TEST(NewFolder, ErrorsNameTheTarget) {
  const TempFolder temporary;
  std::filesystem::create_directory(temporary.path() / "there");
  for (const char* name : {"new", "there"}) {
    const auto saved = SaveNewFolder(temporary.path() / name, [](const std::filesystem::path& folder) {
      return Fail(StatusCode::kIo, (folder / "weights").string() + ": write failed (" + folder.string() + ")");
    });
    ASSERT_FALSE(saved);
    const std::string target = (temporary.path() / name).string();
    EXPECT_EQ(saved.error().message, target + "/weights: write failed (" + target + ")");
  }
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
  // No process has a number above the kernel's largest; the parent lives. Our own number is that of one before us.
  const auto dead = out.string() + ".partial-2000000000", ours = out.string() + ".partial-" + std::to_string(getpid()),
             alive = out.string() + ".partial-" + std::to_string(getppid()), other = out.string() + ".partial-x";
  for (const std::string& folder : {dead, ours, alive, other}) std::filesystem::create_directory(folder);
  ASSERT_TRUE(SaveNewFolder(out, WriteTwo));
  EXPECT_FALSE(std::filesystem::exists(dead));
  EXPECT_FALSE(std::filesystem::exists(ours));
  EXPECT_TRUE(std::filesystem::exists(alive));
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST(SaveNewFolder, AKilledWriterLeavesAPartialNameThatTheNextOneSweeps) {
  const TempFolder temp;
  const auto fresh = temp.path() / "fresh", old = temp.path() / "old";
  ASSERT_TRUE(SaveNewFolder(old, WriteTwo));
  for (const std::filesystem::path& target : {fresh, old}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto killed = SaveNewFolder(target, [](const std::filesystem::path& folder) -> Result<void> {
        std::ofstream(folder / "weights") << "half";
        kill(getpid(), SIGKILL);
        return {};
      });
      _exit(killed ? 1 : 2);
    }
    int state = 0;
    waitpid(child, &state, 0);
    ASSERT_TRUE(WIFSIGNALED(state));
    const auto partial = target == old ? old / (".partial-" + std::to_string(child))
                                       : temp.path() / ("fresh.partial-" + std::to_string(child));
    EXPECT_TRUE(std::filesystem::exists(partial / "weights"));
    EXPECT_EQ(FileContent(target / "weights"), target == old ? "w" : "");
    ASSERT_TRUE(SaveNewFolder(target, WriteTwo));
    EXPECT_FALSE(std::filesystem::exists(partial));
    EXPECT_EQ(EntriesOf(target), 2U);
  }
  EXPECT_EQ(EntriesOf(temp.path()), 2U);
}

}  // namespace
}  // namespace dgemma
