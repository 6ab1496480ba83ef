// The pieces that a Scheduler chooses with: slots, the queue's turns, the members of a pass.
#include "engine/slots.h"

#include <random>

#include "engine/fair_queue.h"
#include "scripted_passes.h"

namespace dgemma::test {
namespace {

TEST(Slots, AreZeroedBeforeAnotherSaltTakesThem) {
  ScriptedKernels kernels;
  const Config config = ScriptedConfig();
  Slots slots = *Slots::Create(1, config, kScriptedContext, kScriptedChunk, kernels);
  ASSERT_TRUE(slots.AllocateStores());
  const std::vector<int32_t> prompt = {2, 300, 301};
  bool cleared = false;
  const auto floats = [&](const Slot& slot) {
    const KvCache& cache = const_cast<Slot&>(slot).timeline.cache();
    std::vector<std::span<float>> all;
    for (size_t layer : {0u, 1u}) {
      const KvStore store = cache.Layer(layer);
      all.emplace_back(store.k, static_cast<size_t>(store.slots));
      all.emplace_back(store.v, static_cast<size_t>(store.slots));
    }
    all.emplace_back(slot.timeline.soft_memory(config).data, static_cast<size_t>(kScriptedCanvas * 4));
    const KvStore kept = (*const_cast<Slot&>(slot).timeline.Store(config, kernels))->Layer(0);
    all.emplace_back(kept.k, static_cast<size_t>(kept.slots));
    all.emplace_back(kept.v, static_cast<size_t>(kept.slots));
    return all;
  };
  const auto count = [&](const Slot& slot, float value) {
    int64_t equal = 0, total = 0;
    for (std::span<float> part : floats(slot)) {
      equal += std::count(part.begin(), part.end(), value);
      total += std::ssize(part);
    }
    return std::pair(equal, total);
  };
  Slot* slot = slots.Take("alice", prompt, DecodeMode::kDiffusion, &cleared);
  ASSERT_NE(slot, nullptr);
  EXPECT_EQ(slots.Take("bob", prompt, DecodeMode::kDiffusion, &cleared), nullptr);
  for (std::span<float> part : floats(*slot)) std::fill(part.begin(), part.end(), 7.0f);
  slot->timeline.cache().Append(3);
  slot->timeline.SetTokens(prompt);
  slots.GiveBack(*slot);
  slot = slots.Take("alice", prompt, DecodeMode::kDiffusion, &cleared);
  EXPECT_FALSE(cleared);
  EXPECT_EQ(slot->timeline.Reusable(prompt, DecodeMode::kDiffusion), 3);
  EXPECT_EQ(slot->timeline.Reusable(prompt, DecodeMode::kAutoregressive), 2);
  EXPECT_EQ(count(*slot, 7.0f).first, count(*slot, 7.0f).second);
  slots.GiveBack(*slot);
  slot = slots.Take("bob", prompt, DecodeMode::kDiffusion, &cleared);
  EXPECT_TRUE(cleared);
  EXPECT_EQ(slot->timeline.Reusable(prompt, DecodeMode::kDiffusion), 0);
  EXPECT_EQ(count(*slot, 0.0f).first, count(*slot, 0.0f).second);
}

TEST(Slots, TheLongestMatchWinsUnlessItWouldCostMore) {
  ScriptedKernels kernels;
  const Config config = ScriptedConfig();
  Slots slots = *Slots::Create(3, config, kScriptedContext, kScriptedChunk, kernels);
  bool cleared = false;
  const auto fill = [&](std::vector<int32_t> text) {
    Slot* slot = slots.Take("a", text, DecodeMode::kDiffusion, &cleared);
    slot->timeline.Reset();
    slot->timeline.cache().Append(std::ssize(text));
    slot->timeline.SetTokens(text);
    return slot;
  };
  Slot* lengthy = fill({2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  Slot* brief = fill({2, 3, 4, 20});
  Slot* other = fill({30});
  for (Slot* slot : {other, brief, lengthy}) slots.GiveBack(*slot);
  const auto taken = [&](std::vector<int32_t> prompt) {
    Slot* slot = slots.Take("a", prompt, DecodeMode::kDiffusion, &cleared);
    slot->busy = false;
    slot->prompt_tokens = std::ssize(slot->timeline.tokens());
    return slot;
  };
  EXPECT_EQ(taken({2, 3, 4, 5, 6, 7, 8, 9, 50}), lengthy);
  EXPECT_EQ(taken({2, 3, 4, 50}), brief);  // would keep only three of the other's ten
  EXPECT_EQ(taken({2, 60}), other);        // one common token: not worth anybody's text
  lengthy->prompt_tokens = 4;              // the rest was an answer, which need not come back
  EXPECT_EQ(taken({2, 3, 4, 5, 70}), lengthy);
}

/// Fills a cache as passes over `text` would, with a value of their own for every position.
void Write(Timeline& timeline, const std::vector<int32_t>& text) {
  KvCache& cache = timeline.cache();
  for (int64_t pos = cache.end(); pos < std::ssize(text); ++pos) {
    for (size_t layer : {0u, 1u}) {
      const KvStore store = cache.Layer(layer);
      store.k[store.KeyIndex(0, pos % store.slots, 0)] = static_cast<float>(1000 + pos);
      store.v[store.ValueIndex(0, pos % store.slots, 0)] = static_cast<float>(2000 + pos);
    }
    cache.Append(1);
  }
  timeline.SetTokens(text);
}

TEST(Slots, WhatAnotherSlotOfTheSaltHoldsIsCopiedBusyOrNot) {
  ScriptedKernels kernels;
  const Config config = ScriptedConfig();
  std::vector<int32_t> text;
  for (int32_t i = 0; i < 150; ++i) text.push_back(300 + i);
  const auto prompt = [&](int64_t common) {
    std::vector<int32_t> tokens(text.begin(), text.begin() + common);
    tokens.push_back(9);
    return tokens;
  };
  // 100 tokens fit the ring of 128 slots, 150 wrap it: then only what has its whole window left can be copied.
  for (const int64_t written : {100, 150}) {
    for (const bool busy : {true, false}) {
      Slots slots = *Slots::Create(3, config, kScriptedContext, 112, kernels);
      bool cleared = false;
      Slot* first = slots.Take("a", text, DecodeMode::kDiffusion, &cleared);
      Write(first->timeline, {text.begin(), text.begin() + written});
      first->prompt_tokens = 1000;  // no prompt here is half of it: the text is not given away
      for (const int64_t common : {15, 16, 60, 90, 100, 140}) {
        if (!busy) slots.GiveBack(*first);  // idle, and used a moment ago
        const std::vector<int32_t> asked = prompt(common);
        Slot* second = slots.Take("a", asked, DecodeMode::kDiffusion, &cleared);
        ASSERT_NE(second, first);
        const int64_t expected = first->timeline.Reusable(asked, DecodeMode::kDiffusion);
        if (written == 100) {
          EXPECT_EQ(expected, std::min(common, written));
        }
        const int64_t copied = expected < 16 ? 0 : expected;
        ASSERT_EQ(second->timeline.cache().end(), copied);
        ASSERT_EQ(second->timeline.Reusable(asked, DecodeMode::kDiffusion), copied);
        const int64_t oldest[] = {std::max<int64_t>(0, copied - (config.window - 1)), 0};  // that a layer may read
        for (size_t layer : {0u, 1u}) {
          const KvStore store = second->timeline.cache().Layer(layer);
          for (int64_t pos = oldest[layer]; pos < copied; ++pos) {
            ASSERT_EQ(store.k[store.KeyIndex(0, pos % store.slots, 0)], static_cast<float>(1000 + pos));
            ASSERT_EQ(store.v[store.ValueIndex(0, pos % store.slots, 0)], static_cast<float>(2000 + pos));
          }
        }
        EXPECT_EQ(std::ssize(first->timeline.tokens()), written);
        second->timeline.Reset();
        slots.GiveBack(*second);
      }
      Slot* other = slots.Take("b", prompt(100), DecodeMode::kDiffusion, &cleared);
      EXPECT_EQ(other->timeline.cache().end(), 0) << "another salt's text was copied";
    }
  }
}

TEST(FairQueue, TakesTurnsAndKeepsOrder) {
  FairQueue<int> queue;
  for (const auto& [owner, item] :
       std::initializer_list<std::pair<const char*, int>>{{"a", 1}, {"a", 2}, {"a", 3}, {"b", 4}, {"c", 5}, {"b", 6}})
    queue.Push(owner, item);
  EXPECT_EQ(queue.size(), 6);
  EXPECT_EQ(queue.size("a"), 3);
  EXPECT_EQ(queue.size("d"), 0);
  const auto any = [](int) { return true; };
  EXPECT_EQ(queue.Pop([](int item) { return item == 6; }), 6);  // "b" has had its turn
  EXPECT_EQ(queue.Pop([](int item) { return item > 9; }), std::nullopt);
  queue.Push("b", 6);
  EXPECT_EQ(queue.Pop(any), 1);
  EXPECT_EQ(queue.Remove([](int item) { return item == 2; }), 2);
  EXPECT_EQ(queue.Remove([](int item) { return item == 2; }), std::nullopt);
  queue.Push("d", 7);
  std::string order;
  while (!queue.empty()) order += std::to_string(*queue.Pop(any));
  EXPECT_EQ(order, "54376");
}

// ---- passes ---------------------------------------------------------------------------------------------------------

/// Wants `passes` passes of these rows, with a canvas or without.
Story WantPasses(int64_t passes, size_t rows, bool canvas) {
  const std::vector<int32_t> tokens(rows, 300);
  for (int64_t pass = 0; pass < passes; ++pass) {
    PassJob job;
    job.segments.push_back({canvas ? SegmentKind::kCanvas : SegmentKind::kPrompt, nullptr, tokens, 0, {}});
    DG_CO_CHECK_OK(co_await job);
  }
  co_return {};
}

TEST(ChoosePass, NoneOfNStoriesMissesNPassesInARow) {
  std::mt19937 random(1);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  ScriptedKernels kernels;
  for (int round = 0; round < 300; ++round) {
    const int slots = draw(1, 8);
    ScriptedPasses limits(kernels, draw(1, slots));
    std::vector<Story> stories;
    for (int i = 0; i < slots; ++i) {
      const bool canvas = draw(0, 1) == 1;
      const auto most = static_cast<int>(canvas ? kScriptedCanvas : kScriptedChunk);
      stories.push_back(WantPasses(draw(1, 30), static_cast<size_t>(draw(1, most)), canvas));
    }
    std::vector<Story*> open;
    for (Story& story : stories) {
      story.Continue({});
      open.push_back(&story);
    }
    while (true) {
      const std::vector<Story*> members = ChoosePass(limits, open);
      if (members.empty()) break;
      int64_t rows = 0, canvases = 0;
      for (Story* story : members) {
        rows += story->job()->rows();
        canvases += story->job()->has_canvas();
      }
      EXPECT_LE(rows, limits.max_rows());
      EXPECT_LE(canvases, limits.max_canvases());
      for (const Story* story : open) EXPECT_LT(story->missed_passes(), slots);
      for (Story* story : members) story->Continue({});
    }
    for (const Story& story : stories) EXPECT_TRUE(story.ended());
  }
}

}  // namespace
}  // namespace dgemma::test
