// Merging against the plainest possible program: look at all pairs, join the best, repeat.
#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace dgemma {
namespace {

struct Rules {
  std::vector<MergeRule> list;
  std::map<std::pair<int32_t, int32_t>, size_t> rank;
};

/// Rules over letters 0..letters-1: each joins two tokens that exist, as a trained vocabulary would. Shuffled, so that
/// a longer token may have a lower rank than its parts.
Rules RandomRules(int letters, int count, std::mt19937& random, std::vector<std::string>& contents) {
  Rules rules;
  std::map<std::string, int32_t> ids;
  for (int i = 0; i < letters; ++i) {
    contents.push_back(std::string(1, static_cast<char>('a' + i)));
    ids[contents.back()] = i;
  }
  for (int i = 0; i < count; ++i) {
    const auto left = static_cast<int32_t>(random() % contents.size()),
               right = static_cast<int32_t>(random() % contents.size());
    const std::string made = contents[static_cast<size_t>(left)] + contents[static_cast<size_t>(right)];
    if (made.size() > 12) continue;
    const auto [entry, fresh] = ids.try_emplace(made, static_cast<int32_t>(contents.size()));
    if (fresh) contents.push_back(made);
    rules.list.push_back({left, right, entry->second});
  }
  std::shuffle(rules.list.begin(), rules.list.end(), random);
  for (size_t i = 0; i < rules.list.size(); ++i) rules.rank[{rules.list[i].left, rules.list[i].right}] = i;
  return rules;
}

std::vector<int32_t> MergePlainly(std::vector<int32_t> ids, const Rules& rules) {
  while (true) {
    size_t best = rules.list.size(), place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = rules.rank.find({ids[i], ids[i + 1]});
      if (found != rules.rank.end() && found->second < best) {
        best = found->second;
        place = i;
      }
    }
    if (best == rules.list.size()) return ids;
    ids[place] = rules.list[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

TEST(Bpe, EqualsThePlainProgram) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const int letters = 1 + static_cast<int>(random() % 5);
    std::vector<std::string> contents;
    const Rules rules = RandomRules(letters, static_cast<int>(random() % 40), random, contents);
    const auto table = MergeTable::Build(rules.list);
    ASSERT_TRUE(table);
    JunctionSet junctions;
    for (const MergeRule& rule : rules.list) {
      junctions.Add(static_cast<unsigned char>(contents[static_cast<size_t>(rule.left)].back()),
                    static_cast<unsigned char>(contents[static_cast<size_t>(rule.right)].front()));
    }
    const size_t length = round % 10 == 0 ? 900 : random() % 80;  // both ways of merging, and their border
    std::vector<int32_t> start, merged;
    BpeRun run(*table, junctions, merged);
    for (size_t i = 0; i < length; ++i) {
      start.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(letters)));
      run.Add(start.back(), static_cast<char32_t>('a' + start.back()));
    }
    run.Flush();
    ASSERT_EQ(merged, MergePlainly(start, rules)) << "round " << round;
  }
}

TEST(Bpe, QueueGivesKeysInOrder) {
  std::mt19937_64 random(1);
  RunQueue queue;
  std::multimap<uint64_t, int> reference;
  for (int i = 0; i < 40000; ++i) {
    if (reference.empty() || random() % 5 < 3) {
      const uint64_t key = random() % 5000;
      queue.Push(key);
      reference.emplace(key, 0);
    } else {
      ASSERT_EQ(queue.Pop(), reference.begin()->first);
      reference.erase(reference.begin());
    }
  }
  while (!reference.empty()) {
    ASSERT_EQ(queue.Pop(), reference.begin()->first);
    reference.erase(reference.begin());
  }
  EXPECT_TRUE(queue.empty());
}

TEST(MergeTable, LaterRuleForAPairCounts) {
  const std::vector<MergeRule> rules = {{1, 2, 3}, {4, 5, 6}, {1, 2, 7}};
  const auto table = MergeTable::Build(rules);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->Rank(1, 2), 2U);
  EXPECT_EQ(table->Made(table->Rank(4, 5)), 6);
  EXPECT_EQ(table->Rank(2, 1), MergeTable::kNoRank);
  EXPECT_EQ(table->Rank(MergeTable::kMaxIds - 1, MergeTable::kMaxIds - 1), MergeTable::kNoRank);
  EXPECT_FALSE(MergeTable::Build(std::vector<MergeRule>{{0, 0, MergeTable::kMaxIds}}));
  EXPECT_FALSE(MergeTable::Build(std::vector<MergeRule>{{0, -1, 0}}));
}

}  // namespace
}  // namespace dgemma
