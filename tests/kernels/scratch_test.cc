// The backend's own memory: bounded by the plan it states, and never a source of values.
#include <algorithm>
#include <limits>
#include <numeric>

#include "delta_cases.h"
#include "kernels/cpu/backend.h"
#include "kernels/cpu/head_scratch.h"
#include "op_cases.h"

namespace dgemma::test {
namespace {

TEST(CpuScratch, GrowsWithRowsAndThreads) {
  CpuShape shape{.rows = 256,
                 .width = 1024,
                 .kv_width = 512,
                 .query_width = 2048,
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
  shape.grouped = true;
  EXPECT_GT(CpuScratchBytes(shape, 1), one + 256 * 2048) << "at least a byte for every attention output";
  shape.grouped = false;
  shape.bf16 = true;
  EXPECT_GT(CpuScratchBytes(shape, 1), one + 256 * 2048 * 2) << "at least two bytes for every attention output";
  shape.bf16 = false;
  shape.rows = 512;
  EXPECT_GT(CpuScratchBytes(shape, 1), one);
}

int64_t HeldBytes(const CpuHeadScratch& head) {
  const auto bytes = [](const auto&... vectors) {
    return (static_cast<int64_t>(vectors.capacity() * sizeof(vectors.front())) + ...);
  };
  return (head.hidden.rows * head.hidden.stride + head.logits.rows * head.logits.stride) * 4 + head.codes.bytes() +
         bytes(head.temperature, head.row, head.tile, head.live, head.live_union, head.live_ids, head.tile_sum,
               head.reference, head.order, head.mass_before, head.mass_wanted);
}

struct PlanCase {
  WeightType type;
  int64_t width, dense_width, expert_width, vocab;
  int64_t rank = 0, expert_rank = 0;
};

TEST(CpuScratch, IsWhatThePlanSays) {
  constexpr int64_t kRows = 200, kExperts = 8, kActive = 4;
  constexpr QkvShape kHeads{6, 2, 32};
  const auto& [int8_16, int8_32, int8_64, int8_min, int4_32, int4_64, int4_min, int4_16_min, int8_row, int4_row] =
      kGroupedTypes;
  // The largest codes are those of: (none), attention outputs, dense hidden values, experts' hidden values, rows by expert.
  for (const PlanCase& c : {PlanCase{DType::kF32, 128, 128, 40, 300},
                            {DType::kBF16, 128, 96, 40, 300},
                            {DType::kBF16, 33, 900, 11, 2049},
                            {DType::kBF16, 40, 70, 255, 70},
                            {int8_32, 128, 96, 40, 300},
                            {int4_min, 40, 900, 10, 70},
                            {int8_64, 33, 70, 255, 2100},
                            {int4_16_min, 12, 17, 5, 2049},
                            {int8_row, 33, 70, 255, 2100},
                            {int4_row, 40, 900, 10, 70},
                            {DType::kF32, 128, 96, 40, 300, 1, 0},
                            {DType::kBF16, 33, 900, 11, 2049, 20, 64},
                            {int8_32, 128, 96, 40, 300, 33, 7}}) {
    CpuKernels cpu({.threads = 2, .norm_eps = 1e-6f});
    const Rows x(kRows, c.width, Normals(kRows * c.width, 1));
    Rows y(kRows, c.width), q(kRows, 192), attended(kRows, 192);
    const auto packed = [&](int64_t count, int64_t out, int64_t in) {
      const Weight weight = Packed(cpu, Stored(c.type, count, out, in, 2));
      const int64_t rank = count > 1 ? c.expert_rank : c.rank;
      return rank == 0 ? weight : StoredDelta({rank, rank / 3, rank / 4}, count, out, in, 5).On(cpu, weight);
    };
    const std::vector<RowRole> roles = RolesOf({cpu, 0, kRows});
    const Weight norm = PackedVector(cpu, Stored(DType::kF32, 1, 1, std::max<int64_t>(c.width, 32), 4));
    std::vector<float> keys(256 * 64), values(keys.size());
    const KvStore store{keys.data(), values.data(), 2, 32, 256};
    std::vector<KvTarget> targets;
    for (int64_t row = 0; row < kRows; ++row) targets.push_back({store, row});
    const Rows angle(kRows, 16, std::vector<float>(kRows * 16, 0.7f));
    const Weight kv = packed(1, 64, c.width);
    cpu.ProjectQkv(x.view, roles, {packed(1, 192, c.width), kv, kv, norm, norm}, kHeads, {angle.view, angle.view},
                   targets, q.view);
    AttentionSpan span;
    span.rows = kRows;
    span.cache = store;
    cpu.Attend({&span, 1}, kHeads, q.view, attended.view);
    cpu.Linear(attended.view, roles, packed(1, c.width, 192), y.view);
    const Weight gate = packed(1, c.dense_width, c.width);
    cpu.GatedMlp(x.view, roles, {gate, gate, packed(1, c.width, c.dense_width)}, y.view);
    Routes routes;
    cpu.Route(x.view, roles, {norm, packed(1, kExperts, c.width), norm}, kActive, routes);
    cpu.Experts(x.view, roles,
                {packed(kExperts, 2 * c.expert_width, c.width), packed(kExperts, c.width, c.expert_width)}, routes,
                y.view);
    const std::vector<float> scalar(kRows, 1.0f);
    cpu.JoinBranches(x.view, x.view, {norm, norm, norm}, scalar, y.view);
    CpuShape shape{.rows = kRows,
                   .width = c.width,
                   .kv_width = 64,
                   .query_width = 192,
                   .head_size = 32,
                   .group = 3,
                   .dense_width = c.dense_width,
                   .experts = kExperts,
                   .active = kActive,
                   .expert_width = c.expert_width,
                   .vocab = c.vocab,
                   .grouped = c.type.format.grouped(),
                   .bf16 = c.type.format.kind == WeightKind::kBf16,
                   .head_rows = 0,
                   .rank = c.rank,
                   .expert_rank = c.expert_rank};
    EXPECT_EQ(cpu.ScratchBytes(), CpuScratchBytes(shape, 2)) << c.type.Name() << " width " << c.width;

    shape.head_rows = kRows;
    const std::unique_ptr<HeadScratch> scratch = cpu.MakeHeadScratch();
    HeadParams params;
    params.temperature = scalar;
    std::vector<HeadRow> found(kRows);
    cpu.Denoise(x.view, Packed(cpu, Stored(c.type, 1, c.vocab, c.width, 2)), params, *scratch, found, y.view);
    std::vector<int32_t> rows(kRows), ids(kRows);
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<double> uniform(kRows, 0.4);
    cpu.Sample(*scratch, rows, uniform, ids);
    EXPECT_EQ(cpu.ScratchBytes() + HeldBytes(static_cast<const CpuHeadScratch&>(*scratch)), CpuScratchBytes(shape, 2))
        << c.type.Name() << " width " << c.width;
  }
}

TEST(CpuScratch, LeftoversOfLargerCallsChangeNothing) {
  const Stored gate(DType::kF32, 1, 40, 24, 1), up(DType::kF32, 1, 40, 24, 2), down(DType::kF32, 1, 24, 40, 3);
  const Rows x(5, 24, Normals(5 * 24, 4));
  const std::vector<float> nan(300 * 24, std::numeric_limits<float>::quiet_NaN());
  const Rows poison(300, 24, nan);
  const std::unique_ptr<Kernels> clean = Cpu(), used = Cpu();
  Rows expected(5, 24), actual(5, 24), ignored(300, 24);
  clean->GatedMlp(x.view, {}, {Packed(*clean, gate), Packed(*clean, up), Packed(*clean, down)}, expected.view);
  used->GatedMlp(poison.view, {}, {Packed(*used, gate), Packed(*used, up), Packed(*used, down)}, ignored.view);
  used->GatedMlp(x.view, {}, {Packed(*used, gate), Packed(*used, up), Packed(*used, down)}, actual.view);
  EXPECT_TRUE(SameBits(expected.view, actual.view));
}

}  // namespace
}  // namespace dgemma::test
