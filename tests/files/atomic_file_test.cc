// Saving: each system call of a save is made to fail, writers are killed at random moments, and the target must always
// be the complete old or the complete new content.
#include "files/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <random>
#include <vector>

#include "files/bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

/// Forwards to the system; the call number `fail_at` (from 0) does what `fault` says instead.
class FaultyFileSystem : public FileSystem {
 public:
  enum class Fault { kNone, kNoSpace, kIoError, kInterrupted, kShortWrite, kZeroWrite };

  FaultyFileSystem(int fail_at, Fault fault) : fail_at_(fail_at), fault_(fault) {}

  int Open(const std::string& path, int flags, mode_t mode) override {
    return Fails("open") ? -1 : SystemCalls().Open(path, flags, mode);
  }
  int Lock(int descriptor) override { return Fails("lock") ? -1 : SystemCalls().Lock(descriptor); }
  ssize_t Write(int descriptor, const std::byte* bytes, size_t length) override {
    const bool hit = static_cast<int>(calls_.size()) == fail_at_;
    if (hit && fault_ == Fault::kShortWrite) length = (length + 1) / 2;
    if (hit && fault_ == Fault::kZeroWrite) length = 0;
    return Fails("write") ? -1 : length == 0 ? 0 : SystemCalls().Write(descriptor, bytes, length);
  }
  int WriteBack(int descriptor, off_t begin, off_t length) override {
    return Fails("write back") ? -1 : SystemCalls().WriteBack(descriptor, begin, length);
  }
  int Sync(int descriptor) override { return Fails("sync") ? -1 : SystemCalls().Sync(descriptor); }
  int Close(int descriptor) override {
    // Like Linux: the descriptor is gone even when close reports an error.
    const int closed = SystemCalls().Close(descriptor);
    return Fails("close") ? -1 : closed;
  }
  int Rename(const std::string& from, const std::string& to) override {
    return Fails("rename") ? -1 : SystemCalls().Rename(from, to);
  }
  int Unlink(const std::string& path) override { return Fails("unlink") ? -1 : SystemCalls().Unlink(path); }

  const std::vector<std::string>& calls() const { return calls_; }

 private:
  bool Fails(const char* call) {
    const bool hit = static_cast<int>(calls_.size()) == fail_at_;
    calls_.push_back(call);
    if (!hit || fault_ == Fault::kNone || fault_ == Fault::kShortWrite || fault_ == Fault::kZeroWrite) return false;
    errno = fault_ == Fault::kNoSpace ? ENOSPC : fault_ == Fault::kIoError ? EIO : EINTR;
    return true;
  }

  int fail_at_;
  Fault fault_;
  std::vector<std::string> calls_;
};

using Fault = FaultyFileSystem::Fault;

const std::string kBefore = "old content", kAfter = std::string(5000, 'n') + "end";

Result<void> SaveInTwoPieces(const std::filesystem::path& target, FileSystem& system) {
  auto file = AtomicFile::Create(target, system);
  if (!file) return std::unexpected(file.error());
  for (const std::string_view piece :
       {std::string_view(kAfter).substr(0, 1000), std::string_view(kAfter).substr(1000)}) {
    if (auto written = file->Write(AsBytes(piece)); !written) return written;
  }
  return file->Commit();
}

TEST(AtomicFile, CallsInTheOrderThatSurvivesAPowerCut) {
  const TempFolder folder;
  FaultyFileSystem system(-1, Fault::kNone);
  ASSERT_TRUE(SaveInTwoPieces(folder.path() / "f", system));
  EXPECT_EQ(system.calls(), (std::vector<std::string>{"open", "lock", "write", "write", "sync", "close", "rename",
                                                      "open", "sync", "close"}));
  EXPECT_EQ(FileContent(folder.path() / "f"), kAfter);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"f"});
}

TEST(AtomicFile, EachCallMayFailOnce) {
  FaultyFileSystem counted(-1, Fault::kNone);
  const TempFolder first;
  ASSERT_TRUE(SaveInTwoPieces(first.path() / "f", counted));
  const std::vector<std::string> calls = counted.calls();
  const std::map<Fault, std::string> reasons = {{Fault::kNoSpace, "No space left on device"},
                                                {Fault::kIoError, "Input/output error"},
                                                {Fault::kInterrupted, ""},
                                                {Fault::kShortWrite, ""},
                                                {Fault::kZeroWrite, "Input/output error"}};
  for (const auto& [fault, reason] : reasons) {
    for (size_t at = 0; at < calls.size(); ++at) {
      if ((fault == Fault::kShortWrite || fault == Fault::kZeroWrite) && calls[at] != "write") continue;
      SCOPED_TRACE(calls[at] + " as call " + std::to_string(at) + ", " + reason);
      const TempFolder folder;
      const auto target = folder.Add("f", kBefore);
      FaultyFileSystem system(static_cast<int>(at), fault);
      const auto saved = SaveInTwoPieces(target, system);
      EXPECT_EQ(folder.Names(), std::vector<std::string>{"f"}) << "a temporary file was left behind";
      // A missing lock and an error from closing the folder lose nothing; interruptions and short writes are continued.
      const bool harmless = reason.empty() || calls[at] == "lock" || at == calls.size() - 1;
      if (harmless) {
        EXPECT_TRUE(saved) << saved.error().message;
        EXPECT_EQ(FileContent(target), kAfter);
        continue;
      }
      ASSERT_FALSE(saved);
      EXPECT_EQ(saved.error().code, StatusCode::kIo);
      EXPECT_TRUE(saved.error().message.starts_with(target.string() + ": ")) << saved.error().message;
      EXPECT_NE(saved.error().message.find(reason), std::string::npos) << saved.error().message;
      const bool renamed = at >= 7;  // see CallsInTheOrderThatSurvivesAPowerCut
      EXPECT_EQ(FileContent(target), renamed ? kAfter : kBefore);
    }
  }
}

TEST(AtomicFile, LargeFilesAreOnTheirWayToTheDiskBeforeTheLastSync) {
  const std::string megabytes(size_t{20} << 20, 'm');
  const auto save = [&](const std::filesystem::path& target, FileSystem& system) -> Result<void> {
    auto file = AtomicFile::Create(target, system);
    if (!file) return std::unexpected(file.error());
    for (int piece = 0; piece < 4; ++piece) {
      if (auto written = file->Write(AsBytes(megabytes)); !written) return written;
    }
    return file->Commit();
  };
  const std::vector<std::string> calls = {"open",       "lock", "write", "write",  "write back", "write", "write",
                                          "write back", "sync", "close", "rename", "open",       "sync",  "close"};
  const TempFolder folder;
  FaultyFileSystem counted(-1, Fault::kNone);
  ASSERT_TRUE(save(folder.path() / "f", counted));
  EXPECT_EQ(counted.calls(), calls) << "after 40 and 80 MiB; twice 32 are whole";
  const auto target = folder.Add("f", kBefore);
  FaultyFileSystem full(4, Fault::kNoSpace);
  const auto failed = save(target, full);
  ASSERT_FALSE(failed) << "where blocks are only found for the disk, that is where it is full";
  EXPECT_NE(failed.error().message.find("No space left on device"), std::string::npos) << failed.error().message;
  EXPECT_EQ(FileContent(target), kBefore);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"f"});
}

TEST(AtomicFile, TemporaryIsSweptLaterWhenItCannotBeRemoved) {
  const TempFolder folder;
  const auto target = folder.Add("f", kBefore);
  {
    FaultyFileSystem system(3, Fault::kIoError);  // unlink comes right after the close of the dropped file
    auto file = AtomicFile::Create(target, system);
    ASSERT_TRUE(file);
  }
  EXPECT_EQ(folder.Names().size(), 2U);
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 1);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"f"});
}

TEST(AtomicFile, SweepingSparesLivingWritersAndForeignFiles) {
  const TempFolder folder;
  folder.Add(".dgemma-notes", "mine");
  folder.Add("model.tmp", "mine");
  auto living = AtomicFile::Create(folder.path() / "f");
  ASSERT_TRUE(living);
  ASSERT_TRUE(living->Write(AsBytes("x")));
  EXPECT_EQ(RemoveStaleTemporaries(folder.path()), 0);
  ASSERT_TRUE(living->Commit());
  EXPECT_EQ(FileContent(folder.path() / "f"), "x");
  EXPECT_EQ(folder.Names().size(), 3U);
  EXPECT_EQ(RemoveStaleTemporaries(folder.path() / "absent"), 0);
}

TEST(AtomicFile, WritersOfOneTargetDoNotMix) {
  const TempFolder folder;
  const auto target = folder.path() / "f";
  auto one = AtomicFile::Create(target), two = AtomicFile::Create(target);
  ASSERT_TRUE(one && two);
  ASSERT_TRUE(one->Write(AsBytes("one")));
  ASSERT_TRUE(two->Write(AsBytes("second")));
  ASSERT_TRUE(two->Commit());
  EXPECT_EQ(FileContent(target), "second");
  ASSERT_TRUE(one->Commit());
  EXPECT_EQ(FileContent(target), "one");
  EXPECT_FALSE(one->Commit());
  EXPECT_FALSE(one->Write(AsBytes("late")));
}

TEST(AtomicFile, RefusesTargetsThatCannotBe) {
  const TempFolder folder;
  EXPECT_EQ(SaveFile(folder.path() / "absent" / "f", AsBytes("x")).error().code, StatusCode::kIo);
  EXPECT_EQ(SaveFile(folder.path() / "", AsBytes("x")).error().code, StatusCode::kInvalidArgument);
  std::filesystem::create_directory(folder.path() / "folder");
  EXPECT_EQ(SaveFile(folder.path() / "folder", AsBytes("x")).error().code, StatusCode::kInvalidArgument);
  EXPECT_EQ(folder.Names(), std::vector<std::string>{"folder"});
}

TEST(AtomicFile, NeverReplacesWhatIsNoRegularFile) {
  const TempFolder folder;
  const std::filesystem::path fifo = folder.path() / "fifo", file = folder.path() / "file",
                              link = folder.path() / "link";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto refused = SaveFile(fifo, AsBytes("x"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
  // Behind a symbolic link it is the linked file that is replaced; the link stays a link.
  ASSERT_TRUE(SaveFile(file, AsBytes("before")));
  std::filesystem::create_symlink("file", link);
  ASSERT_TRUE(SaveFile(link, AsBytes("after")));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(FileContent(file), "after");
  std::filesystem::create_symlink("nothing", folder.path() / "dangling");
  EXPECT_FALSE(SaveFile(folder.path() / "dangling", AsBytes("x")));
}

/// Content number n: a length that varies and a last byte that tells the whole file apart from its beginning.
std::string Version(uint32_t number) {
  std::string content(20'000 + number % 7 * 30'000, static_cast<char>('a' + number % 26));
  return content + "!";
}

TEST(AtomicFile, KillLoopLeavesAWholeFile) {
  const TempFolder folder;
  const auto target = folder.path() / "f";
  ASSERT_TRUE(SaveFile(target, AsBytes(Version(0))));
  std::mt19937 random(7);
  int killed_while_saving = 0;
  for (int round = 0; round < 50; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (uint32_t number = 0;; ++number) {
        if (!SaveFile(target, AsBytes(Version(number)))) _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(random() % 8000));
    kill(child, SIGKILL);
    int state = 0;
    waitpid(child, &state, 0);
    ASSERT_TRUE(WIFSIGNALED(state)) << "a save failed";
    const std::string content = FileContent(target);
    ASSERT_FALSE(content.empty());
    bool whole = false;
    for (uint32_t number = 0; number < 7 * 26 && !whole; ++number) whole = content == Version(number);
    ASSERT_TRUE(whole) << "round " << round << ": " << content.size() << " bytes";
    const size_t others = folder.Names().size() - 1;
    EXPECT_LE(others, 1U);
    killed_while_saving += others == 1;
    EXPECT_EQ(RemoveStaleTemporaries(folder.path()), static_cast<int>(others));
  }
  EXPECT_GT(killed_while_saving, 0) << "no round hit a save, so the test showed nothing";
}

}  // namespace
}  // namespace dgemma
