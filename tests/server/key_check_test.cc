// Keys: where they may come from, which requests show one, and that nothing of them stays.
#include "server/key_check.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "files/temp_folder.h"

namespace dgemma {
namespace {

RequestHead With(std::vector<HttpField> fields) {
  RequestHead head;
  head.fields = std::move(fields);
  return head;
}

std::string NameOf(const KeyRing& ring, std::vector<HttpField> fields) {
  const Caller* caller = ring.Find(With(std::move(fields)));
  return caller == nullptr ? "-" : caller->key_name;
}

TEST(KeyRing, KnowsWhoShowsWhichKey) {
  KeyRing ring;
  ASSERT_TRUE(ring.Add("alice", "alice-key"));
  ASSERT_TRUE(ring.Add("bob", "bob-key-longer"));
  EXPECT_EQ(NameOf(ring, {{"authorization", "Bearer alice-key"}}), "alice");
  EXPECT_EQ(NameOf(ring, {{"authorization", "bearer   bob-key-longer"}}), "bob");
  EXPECT_EQ(NameOf(ring, {{"x-api-key", "bob-key-longer"}}), "bob");
  EXPECT_EQ(NameOf(ring, {{"authorization", "Bearer alice-key"}, {"x-api-key", "bob-key-longer"}}), "alice");
  for (const char* value : {"alice-key", "Basic alice-key", "Bearer", "Bearer ", "Bearer alice-ke", "Bearer alice-keyy",
                            "Bearer ALICE-KEY", "Beareralice-key", "Bearer alice-key, Bearer bob-key-longer"}) {
    EXPECT_EQ(NameOf(ring, {{"authorization", value}}), "-") << value;
  }
  EXPECT_EQ(NameOf(ring, {}), "-");
  EXPECT_EQ(NameOf(ring, {{"x-api-key", std::string(100'000, 'k')}}), "-");
  EXPECT_EQ(NameOf(KeyRing(), {{"x-api-key", "alice-key"}}), "-");
}

TEST(KeyRing, BoundsKeysAndNames) {
  for (const size_t size : {7U, 8U, 9U, 511U, 512U, 513U}) {
    KeyRing ring;
    const std::string key(size, 'k');
    EXPECT_EQ(ring.Add("a", key).has_value(), size >= 8 && size <= 512) << size;
    EXPECT_EQ(NameOf(ring, {{"x-api-key", key}}), size >= 8 && size <= 512 ? "a" : "-") << size;
  }
  KeyRing ring;
  EXPECT_FALSE(ring.Add("", "long-enough"));
  EXPECT_FALSE(ring.Add("a b", "long-enough"));
  EXPECT_FALSE(ring.Add(std::string(65, 'n'), "long-enough"));
  EXPECT_FALSE(ring.Add("a", "with blank"));
  EXPECT_FALSE(ring.Add("a", "with\nline"));
  EXPECT_TRUE(ring.Add("a", "long-enough"));
  EXPECT_FALSE(ring.Add("a", "another-one"));
}

TEST(KeyFile, IsReadWhenOthersCannot) {
  const TempFolder folder;
  const std::string path = folder.path() / "keys";
  std::ofstream(path) << "# who may use it\n\nalice:alice-key\r\n  plain-key \nbob:bob:with:colons";
  for (const mode_t mode : {0600U, 0400U, 0640U, 0440U}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    KeyRing ring;
    const auto added = ring.AddFile(path);
    ASSERT_TRUE(added) << added.error().message;
    EXPECT_EQ(ring.size(), 3U);
    EXPECT_EQ(NameOf(ring, {{"x-api-key", "alice-key"}}), "alice");
    EXPECT_EQ(NameOf(ring, {{"x-api-key", "plain-key"}}), "key2");
    EXPECT_EQ(NameOf(ring, {{"x-api-key", "bob:with:colons"}}), "bob");
  }
  for (const mode_t mode : {0644U, 0604U, 0602U, 0601U}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    KeyRing ring;
    const auto refused = ring.AddFile(path);
    ASSERT_FALSE(refused) << mode;
    EXPECT_EQ(refused.error().code, StatusCode::kInvalidFile);
    EXPECT_TRUE(ring.empty());
  }
}

TEST(KeyFile, ErrorsNameTheLineAndNotTheKey) {
  const TempFolder folder;
  const std::string path = folder.path() / "keys";
  std::ofstream(path) << "alice:good-enough\nbob:c4n4ry\n";
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  KeyRing ring;
  const auto refused = ring.AddFile(path);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("line 2"), std::string::npos);
  EXPECT_EQ(refused.error().message.find("c4n4ry"), std::string::npos);
  EXPECT_FALSE(KeyRing().AddFile(folder.path() / "none"));
  EXPECT_FALSE(KeyRing().AddFile(folder.path()));
}

}  // namespace
}  // namespace dgemma
