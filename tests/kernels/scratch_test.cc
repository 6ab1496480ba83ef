// The backend's own memory: bounded by the plan it states, and never a source of values.
#include <limits>

#include "kernels/cpu/backend.h"
#include "op_cases.h"

namespace dgemma::test {
namespace {

TEST(CpuScratch, GrowsWithRowsAndThreads) {
  CpuShape shape{.rows = 256,
                 .width = 1024,
                 .kv_width = 512,
                 .head_size = 256,
                 .group = 8,
                 .dense_width = 768,
                 .experts = 32,
                 .active = 4,
                 .expert_width = 256,
                 .vocab = 32768,
                 .head_rows = 256};
  const int64_t one = CpuScratchBytes(shape, 1), two = CpuScratchBytes(shape, 2);
  EXPECT_GT(one, 256 * 4 * 1024 * 4);  // at least the rows grouped by expert
  EXPECT_GT(two, one);
  EXPECT_LT(two - one, int64_t{2} << 20);
  EXPECT_LT(two, int64_t{256} * 32768 * 4) << "rows x vocabulary is never stored";
  shape.rows = 512;
  EXPECT_GT(CpuScratchBytes(shape, 1), one);
}

TEST(CpuScratch, IsWhatThePlanSays) {
  constexpr int64_t kRows = 200, kWidth = 128, kHidden = 40, kExperts = 8, kActive = 4;
  CpuKernels cpu({.threads = 2, .norm_eps = 1e-6f});
  const Rows x(kRows, kWidth, Normals(kRows * kWidth, 1));
  Rows y(kRows, kWidth), q(kRows, kWidth);
  const Stored square(DType::kF32, 1, kWidth, kWidth, 2), narrow(DType::kF32, 1, 64, kWidth, 3),
      vector(DType::kF32, 1, 1, kWidth, 4);
  const Stored gate_up(DType::kF32, kExperts, 2 * kHidden, kWidth, 5), down(DType::kF32, kExperts, kWidth, kHidden, 6);
  const Stored proj(DType::kF32, 1, kExperts, kWidth, 7);
  const Weight norm = PackedVector(cpu, vector), w = Packed(cpu, square), kv = Packed(cpu, narrow);
  std::vector<float> keys(256 * 64), values(keys.size());
  const KvStore store{keys.data(), values.data(), 2, 32, 256};
  std::vector<KvTarget> targets;
  for (int64_t row = 0; row < kRows; ++row) targets.push_back({store, row});
  const Rows angle(kRows, 16, std::vector<float>(kRows * 16, 0.7f));
  cpu.ProjectQkv(x.view, {w, kv, kv, norm, norm}, {4, 2, 32}, {angle.view, angle.view}, targets, q.view);
  AttentionSpan span;
  span.rows = kRows;
  span.cache = store;
  cpu.Attend({&span, 1}, {4, 2, 32}, q.view, y.view);
  cpu.GatedMlp(x.view, {w, w, w}, y.view);
  Routes routes;
  cpu.Route(x.view, {norm, Packed(cpu, proj), norm}, kActive, routes);
  cpu.Experts(x.view, {Packed(cpu, gate_up), Packed(cpu, down)}, routes, y.view);
  const std::vector<float> scalar(kRows, 1.0f);
  cpu.JoinBranches(x.view, x.view, {norm, norm, norm}, scalar, y.view);
  const CpuShape shape{.rows = kRows,
                       .width = kWidth,
                       .kv_width = 64,
                       .head_size = 32,
                       .group = 2,
                       .dense_width = kWidth,
                       .experts = kExperts,
                       .active = kActive,
                       .expert_width = kHidden,
                       .vocab = 0,
                       .head_rows = 0};
  EXPECT_EQ(cpu.ScratchBytes(), CpuScratchBytes(shape, 2));
}

TEST(CpuScratch, LeftoversOfLargerCallsChangeNothing) {
  const Stored gate(DType::kF32, 1, 40, 24, 1), up(DType::kF32, 1, 40, 24, 2), down(DType::kF32, 1, 24, 40, 3);
  const Rows x(5, 24, Normals(5 * 24, 4));
  const std::vector<float> nan(300 * 24, std::numeric_limits<float>::quiet_NaN());
  const Rows poison(300, 24, nan);
  const std::unique_ptr<Kernels> clean = Cpu(), used = Cpu();
  Rows expected(5, 24), actual(5, 24), ignored(300, 24);
  clean->GatedMlp(x.view, {Packed(*clean, gate), Packed(*clean, up), Packed(*clean, down)}, expected.view);
  used->GatedMlp(poison.view, {Packed(*used, gate), Packed(*used, up), Packed(*used, down)}, ignored.view);
  used->GatedMlp(x.view, {Packed(*used, gate), Packed(*used, up), Packed(*used, down)}, actual.view);
  EXPECT_TRUE(SameBits(expected.view, actual.view));
}

}  // namespace
}  // namespace dgemma::test
