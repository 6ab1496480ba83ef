// A pass that is stopped half-way: nothing is appended, and the cache knows that its rings were written to.
#include <gtest/gtest.h>

#include "model/forward.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

/// Asks for a stop once layer 0 is through.
class StopAfterFirstLayer final : public ForwardObserver {
 public:
  explicit StopAfterFirstLayer(std::stop_source& source) : source_(source) {}
  void Observe(const char* name, int64_t layer, Matrix) override {
    if (layer == 0 && std::string_view(name) == "layer") source_.request_stop();
  }

 private:
  std::stop_source& source_;
};

TEST(InterruptedPass, AppendsNothingAndCountsWhatItOverwrote) {
  TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kRefF32);
  constexpr int64_t kPassRows = 57;  // with the window of 8: a ring of exactly 64 slots
  ASSERT_EQ(loaded.config().window, 8);
  Activations activations = *Activations::Create(loaded.config(), kPassRows, 1, *loaded.kernels);
  KvCache cache = *KvCache::Create(loaded.config(), 512, kPassRows, *loaded.kernels);
  ASSERT_EQ(cache.Layer(0).slots, 64);
  const std::vector<int32_t> ids(kPassRows, 5);
  const auto prompt = [&](int64_t rows) {
    return Segment{SegmentKind::kPrompt, &cache, std::span(ids).first(static_cast<size_t>(rows)),
                   cache.end(),          {},     HiddenRows::kNone};
  };
  ASSERT_TRUE(Forward(*loaded.model, activations, {{prompt(50)}, {}}));
  ASSERT_TRUE(Forward(*loaded.model, activations, {{prompt(10)}, {}}));

  std::stop_source stop;
  StopAfterFirstLayer observer(stop);
  const auto stopped = Forward(*loaded.model, activations, {{prompt(kPassRows)}, stop.get_token()}, &observer);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, StatusCode::kCancelled);
  EXPECT_EQ(cache.end(), 60);
  // Positions 60..116 went into the slots of -4..52, so 53..59 are left: what a sequence of 60 needs, and no shorter one.
  EXPECT_FALSE(cache.Truncate(59));
  EXPECT_TRUE(cache.Truncate(60));
  EXPECT_EQ(cache.end(), 60);
}

}  // namespace
}  // namespace dgemma::test
