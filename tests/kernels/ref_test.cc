// The reference itself against closed forms and invariants: nothing else stands behind it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "kernels/gelu.h"
#include "op_cases.h"

namespace dgemma::test {
namespace {

/// A stored float32 tensor of given values.
Stored Exactly(int64_t count, int64_t rows, int64_t cols, const std::vector<float>& values) {
  Stored stored(DType::kF32, count, rows, cols, 1);
  std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
  return stored;
}

TEST(Gelu, HasItsKnownValues) {
  EXPECT_EQ(GeluTanh(0), 0);
  EXPECT_NEAR(GeluTanh(1), 0.8411919906082768, 1e-15);
  EXPECT_NEAR(GeluTanh(-1), -0.15880800939172324, 1e-15);
  EXPECT_NEAR(GeluTanh(20), 20, 1e-12);
  EXPECT_NEAR(GeluTanh(-20), 0, 1e-12);
  for (double v : {0.1, 0.7, 2.5}) EXPECT_NEAR(GeluTanh(v) - GeluTanh(-v), v, 1e-15) << "gelu(v) - gelu(-v) = v";
}

TEST(Ref, LinearMultipliesByTheIdentity) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Stored identity = Exactly(1, 3, 3, {1, 0, 0, 0, 1, 0, 0, 0, 1});
  const Rows x(2, 3, {1, -2, 3, 0.5f, 7, -9});
  Rows y(2, 3);
  ref->Linear(x.view, {}, Packed(*ref, identity), y.view);
  EXPECT_TRUE(SameBits(x.view, y.view));
}

TEST(Ref, RmsNormGivesRowsOfUnitMeanSquare) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Rows x(4, 64, Normals(4 * 64, 1, 5.0f));
  Rows y(4, 64);
  ref->RmsNorm(x.view, {}, y.view);
  for (int64_t row = 0; row < 4; ++row) {
    const double sum = std::inner_product(y.view.Row(row), y.view.Row(row) + 64, y.view.Row(row), 0.0);
    EXPECT_NEAR(sum / 64, 1, 1e-6);
  }
}

TEST(Ref, RotaryKeepsTheNormOfEveryPair) {
  const std::unique_ptr<Kernels> ref = Ref();
  std::vector<float> eye(16 * 16, 0.0f);
  for (size_t i = 0; i < 16; ++i) eye[i * 16 + i] = 1;
  const Stored w = Exactly(1, 16, 16, eye), ones = Exactly(1, 1, 16, std::vector<float>(16, 1.0f));
  std::vector<float> k(16 * 64), v(k.size()), cosines, sines;
  for (float angle : {0.3f, 1.7f, -2.2f, 3.0f}) {
    cosines.push_back(std::cos(angle));
    sines.push_back(std::sin(angle));
  }
  const Rows a(1, 16, Normals(16, 1)), cosine(1, 4, cosines), sine(1, 4, sines);
  Rows q(1, 16), normed(1, 16);
  const KvTarget target{{k.data(), v.data(), 1, 16, 64}, 5};
  ref->ProjectQkv(a.view, {},
                  {Packed(*ref, w), Packed(*ref, w), {}, PackedVector(*ref, ones), PackedVector(*ref, ones)},
                  {1, 1, 16}, {cosine.view, sine.view}, {&target, 1}, q.view);
  ref->RmsNorm(a.view, {}, normed.view);
  for (int64_t i = 0; i < 8; ++i) {
    const float* before = normed.view.Row(0);
    const float* after = q.view.Row(0);
    EXPECT_NEAR(std::hypot(before[i], before[i + 8]), std::hypot(after[i], after[i + 8]), 1e-6);
    EXPECT_TRUE(i < 4 || before[i] == after[i]) << "pairs beyond the tables stay";
    EXPECT_EQ(v[static_cast<size_t>(target.store.ValueIndex(0, 5, i))], before[i]) << "V is the normed raw projection";
  }
}

TEST(Ref, AttentionOverEqualValuesReturnsTheValue) {
  const std::unique_ptr<Kernels> ref = Ref();
  std::vector<float> k = Normals(64 * 16, 1), v(64 * 16);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i % 16);
  AttentionSpan span;
  span.rows = 3;
  span.cache = {k.data(), v.data(), 1, 16, 64};
  span.pos = 20;
  const Rows q(3, 32, Normals(3 * 32, 2));
  Rows out(3, 32);
  ref->Attend({&span, 1}, {2, 1, 16}, q.view, out.view);
  for (int64_t i = 0; i < 32; ++i)
    EXPECT_NEAR(out.view.Row(2)[i], static_cast<float>(i % 16), 1e-5) << "weights sum to one";
}

TEST(Ref, RouterWeightsSumToOneInDescendingOrder) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Stored ones = Exactly(1, 1, 8, std::vector<float>(8, 1.0f)), proj(DType::kF32, 1, 8, 8, 3);
  const Rows h(5, 8, Normals(5 * 8, 4));
  Routes routes;
  ref->Route(h.view, {}, {PackedVector(*ref, ones), Packed(*ref, proj), PackedVector(*ref, ones)}, 3, routes);
  for (size_t row = 0; row < 5; ++row) {
    EXPECT_NEAR(routes.weight[row * 3] + routes.weight[row * 3 + 1] + routes.weight[row * 3 + 2], 1, 1e-6);
    EXPECT_TRUE(std::is_sorted(routes.weight.begin() + static_cast<int64_t>(row) * 3,
                               routes.weight.begin() + static_cast<int64_t>(row) * 3 + 3, std::greater<>()));
  }
}

TEST(Ref, PermutedExpertsGiveTheSameSum) {
  const std::unique_ptr<Kernels> ref = Ref();
  constexpr int64_t kExperts = 4, kHidden = 6, kWidth = 8;
  const std::vector<float> gate_up = Normals(kExperts * 2 * kHidden * kWidth, 1),
                           down = Normals(kExperts * kWidth * kHidden, 2);
  std::vector<float> gate_up_turned, down_turned;  // expert e moves to place (e + 1) % 4
  for (int64_t e : {3, 0, 1, 2}) {
    gate_up_turned.insert(gate_up_turned.end(), gate_up.begin() + e * 2 * kHidden * kWidth,
                          gate_up.begin() + (e + 1) * 2 * kHidden * kWidth);
    down_turned.insert(down_turned.end(), down.begin() + e * kWidth * kHidden,
                       down.begin() + (e + 1) * kWidth * kHidden);
  }
  const Rows x(3, kWidth, Normals(3 * kWidth, 3));
  Routes routes{{0, 2, 1, 3, 2, 0}, {0.7f, 0.3f, 0.6f, 0.4f, 0.5f, 0.5f}, 2}, turned = routes;
  for (int32_t& expert : turned.expert) expert = (expert + 1) % 4;
  Rows a(3, kWidth), b(3, kWidth);
  ref->Experts(x.view, {},
               {Packed(*ref, Exactly(kExperts, 2 * kHidden, kWidth, gate_up)),
                Packed(*ref, Exactly(kExperts, kWidth, kHidden, down))},
               routes, a.view);
  ref->Experts(x.view, {},
               {Packed(*ref, Exactly(kExperts, 2 * kHidden, kWidth, gate_up_turned)),
                Packed(*ref, Exactly(kExperts, kWidth, kHidden, down_turned))},
               turned, b.view);
  EXPECT_TRUE(SameBits(a.view, b.view));
}

TEST(Ref, DenoiseOfUniformLogitsHasTheEntropyOfTheVocabulary) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Stored table(DType::kF32, 1, 50, 4, 1);
  const Rows hidden(1, 4, {0, 0, 0, 0});
  const std::unique_ptr<HeadScratch> scratch = ref->MakeHeadScratch();
  Rows soft(1, 4);
  std::vector<HeadRow> rows(1);
  const std::vector<float> temperature = {0.5f};
  HeadParams params;
  params.temperature = temperature;
  const Weight packed = Packed(*ref, table);
  ref->Denoise(hidden.view, packed, params, *scratch, rows, soft.view);
  EXPECT_NEAR(rows[0].entropy, std::log(50.0), 1e-6);
  for (int64_t i = 0; i < 4; ++i) {
    double mean = 0;
    for (int64_t id = 0; id < 50; ++id) mean += static_cast<double>(packed.Vector()[id * 4 + i]) / 50;
    EXPECT_NEAR(soft.view.Row(0)[i], mean, 1e-6);
  }
  const std::vector<int32_t> picked = {0};
  for (double uniform : {0.0, 0.019, 0.021, 0.5001, 0.9999}) {
    std::vector<int32_t> ids(1);
    const std::vector<double> draw = {uniform};
    ref->Sample(*scratch, picked, draw, ids);
    EXPECT_EQ(ids[0], static_cast<int32_t>(uniform * 50));
  }
}

TEST(Ref, LogitsNeverExceedTheSoftcap) {
  const std::unique_ptr<Kernels> ref = Ref();
  const Stored table(DType::kF32, 1, 40, 4, 1);
  const Rows hidden(2, 4, Normals(8, 2, 1000.0f));
  Rows out(2, 40);
  ref->Logits(hidden.view, Packed(*ref, table), 30.0f, out.view);
  for (int64_t i = 0; i < 40; ++i) EXPECT_LE(std::abs(out.view.Row(1)[i]), 30.0f);
}

}  // namespace
}  // namespace dgemma::test
