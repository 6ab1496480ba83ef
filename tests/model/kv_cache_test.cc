// The cache's bookkeeping against a brute-force ring that remembers which position and which writing every slot holds.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "model/config_text.h"
#include "support/idle_kernels.h"

namespace dgemma::test {
namespace {

struct Sizes {
  int64_t window = 0, pass_rows = 0, context = 0;
};

void PrintTo(const Sizes& s, std::ostream* out) {
  *out << "window " << s.window << " pass " << s.pass_rows << " context " << s.context;
}

Config ConfigWith(int64_t window, std::vector<LayerConfig> layers) {
  Config config;
  config.window = window;
  config.layers = std::move(layers);
  return config;
}

class CountingKernels final : public IdleKernels {
 public:
  Result<Buffer> Allocate(int64_t bytes) override {
    allocated += bytes;
    if (allocated > allowed) return Fail(StatusCode::kResourceExhausted, "no memory");
    return IdleKernels::Allocate(bytes);
  }
  int64_t allocated = 0;
  int64_t allowed = INT64_MAX;
};

/// What a ring holds: the position and the number of the writing, slot by slot.
class Ring {
 public:
  explicit Ring(int64_t slots) : slots_(static_cast<size_t>(slots)) {}
  void Write(int64_t position, int64_t writing) {
    slots_[static_cast<size_t>(position) % slots_.size()] = {position, writing};
  }
  bool Holds(int64_t position, int64_t writing) const {
    return slots_[static_cast<size_t>(position) % slots_.size()] == std::pair(position, writing);
  }

 private:
  std::vector<std::pair<int64_t, int64_t>> slots_{};
};

class KvCacheTest : public testing::TestWithParam<Sizes> {};

TEST_P(KvCacheTest, RingsHoldWhatAPassNeedsAndTruncateKnowsWhatIsLost) {
  const auto [window, pass_rows, context] = GetParam();
  IdleKernels kernels;
  const Config config = ConfigWith(window, {{true, 2, 1}, {false, 4, 1}});
  KvCache cache = *KvCache::Create(config, context, pass_rows, kernels);
  Ring ring(cache.Layer(0).slots);
  std::vector<int64_t> writing_of(static_cast<size_t>(context), -1);  // of each position of the sequence as it is now
  int64_t writing = 0, begin = 0, end = 0, refused = 0, kept = 0;
  std::mt19937_64 random(7);
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(random() % static_cast<uint64_t>(bound)); };

  for (int operation = 0; operation < 20'000; ++operation) {
    const int64_t choice = below(1000);
    if (choice < 950 && end < context) {
      const int64_t rows = 1 + below(std::min(pass_rows, context - end));
      const bool interrupted = choice < 80;
      cache.WillWrite(end + rows);
      for (int64_t p = end; p < end + rows; ++p) ring.Write(p, ++writing);
      if (interrupted) continue;
      for (int64_t p = end; p < end + rows; ++p) writing_of[static_cast<size_t>(p)] = writing - (end + rows - 1 - p);
      // The first row of the pass sees window - 1 positions before it, the last row itself.
      for (int64_t p = std::max(begin, end - (window - 1)); p < end + rows; ++p) {
        ASSERT_TRUE(ring.Holds(p, writing_of[static_cast<size_t>(p)])) << "position " << p << " in a pass at " << end;
      }
      cache.Append(rows);
      end += rows;
    } else if (choice < 998) {
      const int64_t target = choice < 975 ? std::max<int64_t>(0, end - below(2 * window + 4)) : below(context);
      bool intact = true;
      if (target < end && target > begin) {
        for (int64_t p = std::max(begin, target - (window - 1)); p < target; ++p) {
          intact = intact && ring.Holds(p, writing_of[static_cast<size_t>(p)]);
        }
      }
      ASSERT_EQ(cache.Truncate(target), intact) << "from " << end << " to " << target << ", begin " << begin;
      if (intact) end = std::clamp(target, begin, end);
      intact ? ++kept : ++refused;
    } else {
      begin = end = below(2) * below(context / 2);
      cache.Reset(begin);
    }
    ASSERT_EQ(cache.begin(), begin);
    ASSERT_EQ(cache.end(), end);
  }
  EXPECT_GT(kept, 50);
  if (cache.Layer(0).slots < context && window > 1) {
    EXPECT_GT(refused, 50);
  } else {
    EXPECT_EQ(refused, 0) << "nothing that is needed is ever lost";
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, KvCacheTest,
                         testing::Values(Sizes{8, 57, 500}, Sizes{8, 58, 500}, Sizes{65, 64, 700}, Sizes{1, 64, 300},
                                         Sizes{64, 1, 400}, Sizes{40, 30, 1000}, Sizes{100, 30, 90},
                                         Sizes{2, 1, 1000}));

TEST(KvCache, SlotsOfEachLayer) {
  IdleKernels kernels;
  const Config config = ConfigWith(65, {{true, 2, 3}, {false, 4, 1}});
  const auto slots = [&](int64_t context, int64_t pass_rows, size_t layer) {
    return KvCache::Create(config, context, pass_rows, kernels)->Layer(layer).slots;
  };
  EXPECT_EQ(slots(1000, 64, 0), 128) << "window - 1 + pass rows, exactly two blocks";
  EXPECT_EQ(slots(1000, 65, 0), 192);
  EXPECT_EQ(slots(100, 500, 0), 128) << "never more than the context needs";
  EXPECT_EQ(slots(1000, 64, 1), 1024) << "full layers keep every position";
  EXPECT_EQ(RoundUpToKeyBlock(0), 0);
  EXPECT_EQ(RoundUpToKeyBlock(1), kKeyBlock);
  EXPECT_EQ(RoundUpToKeyBlock(kKeyBlock), kKeyBlock);
}

TEST(KvCache, WithoutSlidingLayersNothingIsEverLost) {
  IdleKernels kernels;
  KvCache cache = *KvCache::Create(ConfigWith(8, {{false, 4, 1}}), 1000, 16, kernels);
  cache.Append(1000);
  EXPECT_TRUE(cache.Truncate(3));
  EXPECT_EQ(cache.end(), 3);
}

TEST(KvCache, TruncatingToTheEndOrBeyondChangesNothing) {
  IdleKernels kernels;
  KvCache cache = *KvCache::Create(ConfigWith(8, {{true, 4, 1}}), 1000, 16, kernels);
  cache.Reset(5);
  cache.Append(10);
  EXPECT_TRUE(cache.Truncate(15));
  EXPECT_TRUE(cache.Truncate(400));
  EXPECT_EQ(cache.end(), 15);
  EXPECT_TRUE(cache.Truncate(2)) << "everything is forgotten";
  EXPECT_EQ(cache.begin(), 5);
  EXPECT_EQ(cache.end(), 5);
}

TEST(KvCache, PlansTheBytesThatItAllocates) {
  const auto released = ParseConfig(ReleasedText(Geometry::kPerLayer));
  ASSERT_TRUE(released);
  for (const auto& [context, pass_rows] : {std::pair<int64_t, int64_t>{300, 20}, {2000, 256}, {64, 1}}) {
    CountingKernels kernels;
    ASSERT_TRUE(KvCache::Create(*released, context, pass_rows, kernels));
    EXPECT_EQ(kernels.allocated, KvCache::PlannedBytes(*released, context, pass_rows));
  }
  // 25 sliding layers of 8 x 256 and 5 full ones of 2 x 512, keys and values, float32.
  EXPECT_EQ(KvCache::PlannedBytes(*released, 8192, 257),
            int64_t{8} * (25 * 8 * 256 * (1023 + 257) + 5 * 2 * 512 * 8192));
}

TEST(KvCache, AFailedAllocationIsAnError) {
  CountingKernels kernels;
  kernels.allowed = 1 << 20;
  const auto cache = KvCache::Create(ConfigWith(8, std::vector<LayerConfig>(100, {false, 64, 4})), 1000, 16, kernels);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code, StatusCode::kResourceExhausted);
}

class ReadableKernels final : public IdleKernels {
 public:
  void Download(Matrix source, std::span<float> target) override { CopyRows(source, target.data()); }
};

TEST(KvCache, FindsWhatIsNoNumberWhereItLooks) {
  ReadableKernels kernels;
  const Config config = ConfigWith(8, {{true, 2, 4}, {false, 1, 6}});
  const KvCache cache = *KvCache::Create(config, 200, 20, kernels);
  constexpr int64_t kBegin = 59, kEnd = 83;  // from one panel to the third, around the end of the ring of 64 slots
  EXPECT_TRUE(cache.IsFinite(kBegin, kEnd, kernels));
  EXPECT_TRUE(IsFinite({nullptr, 0, 8, 8}, kernels)) << "a pass whose rows nobody asks for has none";
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const KvStore store = cache.Layer(layer);
    for (int64_t i = 0; i < store.kv_heads * store.head_size * store.slots; ++i) {
      const int64_t head = i / (store.head_size * store.slots), dim = i / store.slots % store.head_size,
                    slot = i % store.slots;
      bool looked_at = false;
      for (int64_t pos = kBegin; pos < kEnd; ++pos) looked_at |= pos % store.slots == slot;
      for (float* value : {&store.k[store.KeyIndex(head, slot, dim)], &store.v[store.ValueIndex(head, slot, dim)]}) {
        *value = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
        EXPECT_EQ(cache.IsFinite(kBegin, kEnd, kernels), !looked_at)
            << layer << " " << head << " " << slot << " " << dim;
        *value = std::numeric_limits<float>::max();
      }
    }
  }
  EXPECT_TRUE(cache.IsFinite(kBegin, kEnd, kernels));
}

TEST(KvStore, IndicesAreOneToOneAndRowsOfOneSlotAreKeptTogether) {
  for (const auto& [heads, size, slots] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 2, 64}, {3, 6, 128}, {2, 16, 192}}) {
    const KvStore store{nullptr, nullptr, heads, size, slots};
    const int64_t total = heads * size * slots;
    std::vector<int> key_hits(static_cast<size_t>(total)), value_hits(static_cast<size_t>(total));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t slot = 0; slot < slots; ++slot) {
        for (int64_t dim = 0; dim < size; ++dim) {
          ++key_hits.at(static_cast<size_t>(store.KeyIndex(head, slot, dim)));
          ++value_hits.at(static_cast<size_t>(store.ValueIndex(head, slot, dim)));
        }
      }
    }
    EXPECT_TRUE(std::ranges::all_of(key_hits, [](int hits) { return hits == 1; }));
    EXPECT_TRUE(std::ranges::all_of(value_hits, [](int hits) { return hits == 1; }));
    EXPECT_EQ(store.KeyIndex(0, 16, 0), 16 * size) << "[K, S/16, Q, 16]";
    EXPECT_EQ(store.KeyIndex(0, 5, 1), 16 + 5);
    EXPECT_EQ(store.ValueIndex(0, 1, 0), size) << "[K, S, Q]";
  }
}

TEST(LocalStore, LiesInsideItsMemory) {
  const Config config = ConfigWith(8, {{true, 6, 4}, {false, 32, 1}});
  const int64_t floats = LocalStoreFloats(config, 70);
  EXPECT_EQ(floats, 2 * 32 * 128);
  std::vector<float> memory(static_cast<size_t>(floats));
  for (const LayerConfig& layer : config.layers) {
    const KvStore store = LocalStore(memory.data(), layer, 70);
    EXPECT_EQ(store.slots, 128);
    EXPECT_EQ(store.v - store.k, store.kv_heads * store.head_size * store.slots);
    EXPECT_LE(store.v + store.kv_heads * store.head_size * store.slots, memory.data() + floats);
  }
}

}  // namespace
}  // namespace dgemma::test
