// Opening files: what is read comes back, and everything that is not a regular, non-empty file is refused without
// waiting.
#include "files/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <utility>

#include "temp_folder.h"

namespace dgemma {
namespace {

TEST(MappedFile, ShowsTheBytes) {
  const TempFolder folder;
  const std::string content = std::string("a\0b", 3) + std::string(10'000, 'x');
  auto file = MappedFile::Open(folder.Add("f", content));
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->size(), content.size());
  EXPECT_EQ(file->path(), folder.path() / "f");
  const MappedFile moved = std::move(*file);
  EXPECT_EQ(AsText(moved.bytes()), content);
  moved.Advise(5000, 100, Advice::kWillNeed);
  moved.Advise(0, UINT64_MAX, Advice::kDontNeed);
  moved.Advise(UINT64_MAX, 1, Advice::kDontNeed);
  EXPECT_EQ(AsText(moved.bytes()), content);
}

TEST(MappedFile, BlobOutlivesTheName) {
  const TempFolder folder;
  const auto path = folder.Add("f", "content");
  const auto blob = MapBlob(path);
  ASSERT_TRUE(blob);
  std::filesystem::remove(path);
  EXPECT_EQ(AsText(blob->bytes), "content");
  EXPECT_EQ(blob->name, path.string());
}

TEST(MappedFile, OwnedBlobKeepsItsCopy) {
  Blob blob = OwnedBlob("n", std::string(100, 'q'));
  const Blob copy = blob;
  blob = {};
  EXPECT_EQ(AsText(copy.bytes), std::string(100, 'q'));
}

TEST(ReadWholeFile, KeepsToItsBound) {
  const TempFolder folder;
  const auto path = folder.Add("f", "12345");
  EXPECT_EQ(ReadWholeFile(path, 5), "12345");
  EXPECT_EQ(ReadWholeFile(path, 6), "12345");
  const auto over = ReadWholeFile(path, 4);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(over.error().message, path.string() + ": 5 bytes exceed the limit of 4");
}

/// Both ways of opening must refuse `path` with this code and a message that begins with the path and holds `fragment`.
void ExpectRefused(const std::filesystem::path& path, StatusCode code, const std::string& fragment) {
  SCOPED_TRACE(path);
  for (const Status& status : {MappedFile::Open(path).error(), ReadWholeFile(path, 1000).error()}) {
    EXPECT_EQ(status.code, code);
    EXPECT_TRUE(status.message.starts_with(path.string() + ": ")) << status.message;
    EXPECT_NE(status.message.find(fragment), std::string::npos) << status.message;
  }
}

TEST(MappedFile, RefusesWhatIsNotAFileWithContent) {
  const TempFolder folder;
  ExpectRefused(folder.path() / "absent", StatusCode::kNotFound, "No such file");
  ExpectRefused(folder.Add("empty", ""), StatusCode::kInvalidFile, "is empty");
  ExpectRefused(folder.path(), StatusCode::kInvalidFile, "is a folder");
  ExpectRefused(folder.path() / "empty" / "below", StatusCode::kNotFound, "Not a directory");
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ExpectRefused(pipe, StatusCode::kInvalidFile, "not a regular file");
  ExpectRefused("/dev/zero", StatusCode::kInvalidFile, "not a regular file");
  const auto loop = folder.path() / "loop";
  std::filesystem::create_symlink(loop, loop);
  ExpectRefused(loop, StatusCode::kIo, "open failed");
}

TEST(MappedFile, FollowsLinks) {  // download caches keep the content elsewhere and link to it
  const TempFolder folder;
  std::filesystem::create_symlink(folder.Add("f", "content"), folder.path() / "link");
  EXPECT_EQ(AsText(MapBlob(folder.path() / "link")->bytes), "content");
}

}  // namespace
}  // namespace dgemma
