// Keys: where they may come from, which requests show one, and that nothing of them stays.
#include "server/key_check.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <random>
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

/// How well a threshold on time tells two kinds of requests apart: the share of pairs in which the second took longer,
/// 0.5 when it does not.
double AreaUnderCurve(const std::vector<double>& first, const std::vector<double>& second) {
  std::vector<std::pair<double, bool>> all;
  for (const double time : first) all.emplace_back(time, false);
  for (const double time : second) all.emplace_back(time, true);
  std::ranges::sort(all);
  double pairs = 0, firsts_below = 0;
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin;
    double equal_firsts = 0, equal_seconds = 0;
    for (; end < all.size() && all[end].first == all[begin].first; ++end)
      ++(all[end].second ? equal_seconds : equal_firsts);
    pairs += equal_seconds * (firsts_below + equal_firsts / 2);
    firsts_below += equal_firsts;
    begin = end;
  }
  return pairs / (static_cast<double>(first.size()) * static_cast<double>(second.size()));
}

/// The time of a look-up, for requests that alternate at random between `first` and `second`.
double Distinguishable(const KeyRing& ring, const RequestHead& first, const RequestHead& second) {
  constexpr int kProbes = 10'000;  // of each kind; a standard deviation of the area is then 0.004
  const std::array<const RequestHead*, 2> heads = {&first, &second};
  std::array<std::vector<double>, 2> times;
  std::mt19937 random(5);
  while (times[0].size() < kProbes || times[1].size() < kProbes) {
    const size_t kind = random() % 2;
    const auto begin = std::chrono::steady_clock::now();
    const Caller* volatile found = ring.Find(*heads[kind]);
    (void)found;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (times[kind].size() < kProbes) times[kind].push_back(took.count());
  }
  return AreaUnderCurve(times[0], times[1]);
}

TEST(KeyTiming, SaysNothingOfHowMuchOfAKeyIsRight) {
  const std::string key = "0123456789abcdef0123456789abcdef";
  KeyRing ring;
  ASSERT_TRUE(ring.Add("alice", key));
  const auto shown = [](const std::string& text) { return With({{"authorization", "Bearer " + text}}); };
  std::string almost = key, nothing(key.size(), 'z');
  almost.back() = 'X';
  EXPECT_NEAR(Distinguishable(ring, shown(nothing), shown(almost)), 0.5, 0.05);
}

TEST(KeyTiming, SaysNothingOfWhichKeyMatches) {
  KeyRing ring;
  for (int number = 0; number < 50; ++number) {
    ASSERT_TRUE(ring.Add("k" + std::to_string(number), "key-of-number-" + std::to_string(100 + number)));
  }
  const auto shown = [](const std::string& text) { return With({{"x-api-key", text}}); };
  EXPECT_NEAR(Distinguishable(ring, shown("key-of-number-100"), shown("key-of-number-149")), 0.5, 0.05);
}

}  // namespace
}  // namespace dgemma
