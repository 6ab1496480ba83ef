// Deltas of weights (Weight::low_rank): ref against the definition in float64, cpu against ref in every operation and format, and what a
// delta must never change.
#include <algorithm>
#include <array>
#include <cmath>

#include "delta_cases.h"
#include "tensor/targets.h"

#include "hwy/targets.h"

namespace dgemma::test {

namespace {

/// What deltas add is about as large as x W^T, and comes from two sums: two errors more, each up to |scale| = 1.5 times as large.
constexpr double kWithDelta = 4;

std::string Label(const std::string& op, const WeightType& type, const DeltaColumns& columns, int64_t rows) {
  return op + " " + type.Name() + " " + columns.Name() + " rows " + std::to_string(rows);
}

/// What a delta adds to an output does not depend on the format of its weight: the difference of ref with and without it is the
/// definition in float64, but for the rounding of both outputs to float32.
TEST(Delta, AddsItsDefinitionToRefInEveryFormat) {
  constexpr int64_t kRows = 9, kIn = 70, kOut = 37;
  const std::unique_ptr<Kernels> ref = Ref();
  const std::vector<float> x = Normals(kRows * kIn, 1);
  const std::vector<RowRole> roles = RolesOf({*ref, 0, kRows});
  for (const WeightType& type : AllTypes()) {
    const Stored w(type, 1, kOut, kIn, 2, UnitDeviation(kIn));
    for (const DeltaColumns& columns : kDeltaColumns) {
      const StoredDelta delta(columns, 1, kOut, kIn, 3);
      const Rows input(kRows, kIn, x);
      Rows plain(kRows, kOut), with(kRows, kOut);
      ref->Linear(input.view, {}, Packed(*ref, w), plain.view);
      ref->Linear(input.view, roles, delta.On(*ref, Packed(*ref, w)), with.view);
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t o = 0; o < kOut; ++o) {
          double added = 0;
          for (int64_t c = 0; c < columns.rank; ++c) {
            double u = 0;
            for (int64_t i = 0; i < kIn; ++i) {
              u += static_cast<double>(x[static_cast<size_t>(row * kIn + i)]) *
                   static_cast<double>(delta.down_values[static_cast<size_t>(c * kIn + i)]);
            }
            added += delta.Factor(c, roles[static_cast<size_t>(row)]) * u *
                     static_cast<double>(delta.up_values[static_cast<size_t>(o * columns.rank + c)]);
          }
          const auto before = static_cast<double>(plain.view.Row(row)[o]),
                     after = static_cast<double>(with.view.Row(row)[o]);
          EXPECT_NEAR(after - before, added, kEps * (std::abs(before) + std::abs(after)) + 1e-12)
              << type.Name() << " " << columns.Name() << " row " << row << " output " << o;
        }
      }
    }
  }
}

TEST(Delta, OfALinearLayerAgreesWithRef) {
  const auto check = [](const WeightType& type, const DeltaColumns& columns, int64_t rows, int64_t in, int64_t out) {
    const Stored w(type, 1, out, in, 7, UnitDeviation(in));
    const StoredDelta delta(columns, 1, out, in, 8);
    const std::vector<float> x = Normals(rows * in, 10);
    OpCase op{Label("linear with deltas", type, columns, rows), rows, 0, {}};
    op.bound = kWithDelta *
               SumBound(in + columns.rank, LargestRowNorm(x, in), type.Walk() * static_cast<double>(UnitDeviation(in)));
    op.run = [&](const OpRun& run) {
      Rows y(run.rows, out);
      run.kernels.Linear(run.Input(x, in).view, RolesOf(run), delta.On(run.kernels, Packed(run.kernels, w)), y.view);
      return y;
    };
    CheckOp(op);
  };
  for (const WeightType& type : AllTypes()) {
    for (const DeltaColumns& columns : kDeltaColumns) {
      for (int64_t rows : {1, 7, 13, 257}) check(type, columns, rows, 48, 40);
      check(type, columns, 11, 70, 33);
    }
  }
  for (int64_t in : {1, 3, 17, 257, 513}) check(DType::kF32, {3, 1, 1}, 13, in, 37);
  for (int64_t out : {1, 15, 16, 17, 63, 65, 255}) check(DType::kF32, {8, 3, 2}, 9, 50, out);
  for (int64_t rows : {47, 48, 49, 96, 600}) check(DType::kF32, {8, 3, 2}, rows, 31, 35);
  check(DType::kF32, {300, 90, 110}, 60, 40, 50);
}

void CheckGatedMlp(const WeightType& type, const DeltaColumns& columns, int64_t rows, int64_t width, int64_t hidden) {
  const Stored gate(type, 1, hidden, width, 1, UnitDeviation(width)),
      up(type, 1, hidden, width, 2, UnitDeviation(width)), down(type, 1, width, hidden, 3, UnitDeviation(hidden));
  const StoredDelta dgate(columns, 1, hidden, width, 4), dup(columns, 1, hidden, width, 6),
      ddown(columns, 1, width, hidden, 8);
  const std::vector<float> x = Normals(rows * width, 10);
  const std::unique_ptr<Kernels> ref = Ref();
  const std::vector<RowRole> roles = RolesOf({*ref, 0, rows});
  Rows gates(rows, hidden), ups(rows, hidden);
  ref->Linear(Rows(rows, width, x).view, roles, dgate.On(*ref, Packed(*ref, gate)), gates.view);
  ref->Linear(Rows(rows, width, x).view, roles, dup.On(*ref, Packed(*ref, up)), ups.view);
  OpCase op{Label("gated mlp with deltas", type, columns, rows), rows, 0, {}};
  // Gate, up and hidden values are sqrt(2) times as large with deltas, and so are their errors; then sums follow twice as often.
  op.bound =
      kWithDelta * GatedBound(width + columns.rank, hidden + columns.rank, LargestRowNorm(x, width)) * type.Walk();
  op.step = CodeStep(type, LargestGated(gates.view, ups.view), down.Largest());
  op.run = [&](const OpRun& run) {
    Rows out(run.rows, width);
    Kernels& k = run.kernels;
    const MlpWeights w{dgate.On(k, Packed(k, gate)), dup.On(k, Packed(k, up)), ddown.On(k, Packed(k, down))};
    k.GatedMlp(run.Input(x, width).view, RolesOf(run), w, out.view);
    return out;
  };
  CheckOp(op);
}

TEST(Delta, OfTheGatedMlpAgreesWithRef) {
  for (const WeightType& type : AllTypes()) {
    for (const DeltaColumns& columns : kDeltaColumns) CheckGatedMlp(type, columns, 19, 33, 131);
    for (int64_t rows : {1, 2, 257}) CheckGatedMlp(type, {8, 3, 2}, rows, 48, 40);
  }
}

struct ExpertShape {
  int64_t rows, width, experts, active, hidden;
};

/// The last expert stays without rows.
Routes MakeRoutes(const ExpertShape& s, const std::vector<float>& weights, int64_t begin, int64_t rows) {
  Routes routes{{}, {}, s.active};
  for (int64_t slot = begin * s.active; slot < (begin + rows) * s.active; ++slot) {
    routes.expert.push_back(static_cast<int32_t>((slot / s.active * 7 + slot % s.active) % (s.experts - 1)));
    routes.weight.push_back(weights[static_cast<size_t>(slot)]);
  }
  return routes;
}

void CheckExperts(const WeightType& type, const DeltaColumns& columns, const ExpertShape& s) {
  const Stored gate_up(type, s.experts, 2 * s.hidden, s.width, 1, UnitDeviation(s.width)),
      down(type, s.experts, s.width, s.hidden, 2, UnitDeviation(s.hidden));
  const StoredDelta dgate_up(columns, s.experts, 2 * s.hidden, s.width, 3),
      ddown(columns, s.experts, s.width, s.hidden, 5);
  const std::vector<float> x = Normals(s.rows * s.width, 7), weights = Normals(s.rows * s.active, 8, 0.3f);
  OpCase op{Label("experts with deltas", type, columns, s.rows), s.rows, 0, {}};
  op.bound = kWithDelta * GatedBound(s.width + columns.rank, s.hidden + columns.rank, LargestRowNorm(x, s.width)) *
             type.Walk() * 0.3 * std::sqrt(static_cast<double>(s.active));
  // Gate and up are some |x| / sqrt(width) with deltas beside them: below 8 each, so that hidden values are below 64.
  const float weight = std::ranges::max(weights, {}, [](float value) { return std::abs(value); });
  op.step = CodeStep(type, 64, down.Largest()) * std::abs(static_cast<double>(weight));
  op.run = [&](const OpRun& run) {
    Rows out(run.rows, s.width);
    Kernels& k = run.kernels;
    k.Experts(run.Input(x, s.width).view, RolesOf(run),
              {dgate_up.On(k, Packed(k, gate_up)), ddown.On(k, Packed(k, down))},
              MakeRoutes(s, weights, run.begin, run.rows), out.view);
    return out;
  };
  CheckOp(op);
}

TEST(Delta, OfExpertsAgreesWithRef) {
  for (const WeightType& type : AllTypes()) {
    for (const DeltaColumns& columns : {DeltaColumns{1, 0, 0}, {3, 1, 1}, {8, 3, 2}, {64, 20, 30}}) {
      CheckExperts(type, columns, {31, 33, 8, 3, 21});
      CheckExperts(type, columns, {1, 48, 8, 3, 16});
    }
    CheckExperts(type, {8, 3, 2}, {257, 20, 9, 4, 10});
  }
}

TEST(Delta, OfTheRouterAgreesWithRef) {
  constexpr int64_t kRows = 31, kWidth = 48, kExperts = 19, kActive = 3;
  for (const DeltaColumns& columns : kDeltaColumns) {
    const Stored scale(DType::kF32, 1, 1, kWidth, 1), proj(DType::kF32, 1, kExperts, kWidth, 2),
        per_expert(DType::kF32, 1, 1, kExperts, 3);
    const StoredDelta delta(columns, 1, kExperts, kWidth, 4);
    const std::vector<float> h = Normals(kRows * kWidth, 6);
    OpCase op{
        Label("route with deltas", DType::kF32, columns, kRows), kRows, kWithDelta * 4 * SumBound(kWidth, 4, 1), {}};
    op.run = [&](const OpRun& run) {
      Kernels& k = run.kernels;
      Routes routes;
      k.Route(run.Input(h, kWidth).view, RolesOf(run),
              {PackedVector(k, scale), delta.On(k, Packed(k, proj)), PackedVector(k, per_expert)}, kActive, routes);
      Rows out(run.rows, 2 * kActive);
      for (int64_t i = 0; i < run.rows * kActive; ++i) {
        const auto slot = static_cast<size_t>(i);
        out.view.Row(i / kActive)[i % kActive] = static_cast<float>(routes.expert[slot]);
        out.view.Row(i / kActive)[kActive + i % kActive] = routes.weight[slot];
      }
      return out;
    };
    CheckOp(op);
  }
}

/// Queries, keys and values of every row, one after the other. With and without v: there the raw K, deltas included, is V.
Rows ProjectedRows(const OpRun& run, const Rows& input, const QkvWeights& w, const std::vector<RowRole>& roles) {
  constexpr QkvShape kShape{4, 2, 16};
  constexpr int64_t kKeys = 32, kQueries = 64;
  const Rows cosine(run.rows, 8, std::vector<float>(static_cast<size_t>(run.rows * 8), 0.8f)),
      sine(run.rows, 8, std::vector<float>(static_cast<size_t>(run.rows * 8), 0.6f));
  const int64_t slots = (run.rows + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  std::vector<float> keys(static_cast<size_t>(kKeys * slots)), values(keys.size());
  const KvStore store{keys.data(), values.data(), kShape.kv_heads, kShape.head_size, slots};
  std::vector<KvTarget> targets;
  for (int64_t row = 0; row < run.rows; ++row) targets.push_back({store, row});
  Rows out(run.rows, kQueries + 2 * kKeys);
  run.kernels.ProjectQkv(input.view, roles, w, kShape, {cosine.view, sine.view}, targets, out.view.Cols(kQueries));
  for (int64_t row = 0; row < run.rows; ++row) {
    for (int64_t i = 0; i < kKeys; ++i) {
      out.view.Row(row)[kQueries + i] = keys[static_cast<size_t>(store.KeyIndex(i / 16, row, i % 16))];
      out.view.Row(row)[kQueries + kKeys + i] = values[static_cast<size_t>(store.ValueIndex(i / 16, row, i % 16))];
    }
  }
  return out;
}

TEST(Delta, OfProjectionsAgreesWithRef) {
  constexpr int64_t kWidth = 33, kQueries = 64, kKeys = 32;
  for (const WeightType& type : AllTypes()) {
    for (const DeltaColumns& columns : {DeltaColumns{1, 0, 1}, {8, 3, 2}, {64, 20, 30}}) {
      for (const bool has_value : {true, false}) {
        const Stored q(type, 1, kQueries, kWidth, 1, UnitDeviation(kWidth)),
            k(type, 1, kKeys, kWidth, 2, UnitDeviation(kWidth)), v(type, 1, kKeys, kWidth, 3, UnitDeviation(kWidth)),
            norm(DType::kF32, 1, 1, 16, 4);
        const StoredDelta dq(columns, 1, kQueries, kWidth, 5), dk(columns, 1, kKeys, kWidth, 7),
            dv(columns, 1, kKeys, kWidth, 9);
        const std::vector<float> a = Normals(40 * kWidth, 11);
        OpCase op{Label(has_value ? "qkv with deltas" : "qk with deltas", type, columns, 40), 40, 0, {}};
        // A norm scales heads to size 1, small ones up: by less than 2 here; its weights are below 4.
        op.bound = 8 * kWithDelta *
                   SumBound(kWidth + columns.rank, LargestRowNorm(a, kWidth),
                            type.Walk() * static_cast<double>(UnitDeviation(kWidth)));
        op.run = [&](const OpRun& run) {
          Kernels& kernels = run.kernels;
          const QkvWeights w{dq.On(kernels, Packed(kernels, q)), dk.On(kernels, Packed(kernels, k)),
                             has_value ? dv.On(kernels, Packed(kernels, v)) : Weight{}, PackedVector(kernels, norm),
                             PackedVector(kernels, norm)};
          return ProjectedRows(run, run.Input(a, kWidth), w, RolesOf(run));
        };
        CheckOp(op);
      }
    }
  }
}

class DeltaInstructionSet : public ::testing::Test {
 protected:
  static void Force(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~DeltaInstructionSet() override { Force(0); }
};

TEST_F(DeltaInstructionSet, NeverChangesAResultBeyondRounding) {
  Force(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    Force(target);
    for (const WeightType& type : {kPlainTypes[0], kPlainTypes[1], kGroupedTypes[1], kGroupedTypes[6]}) {
      for (const DeltaColumns& columns : {DeltaColumns{1, 0, 0}, {8, 3, 2}, {64, 20, 30}}) {
        CheckGatedMlp(type, columns, 29, 48, 70);
        CheckExperts(type, columns, {13, 33, 8, 3, 21});
      }
    }
  }
}

/// 0 added to a value is that value, but that -0 becomes 0.
TEST(Delta, ThatIsZeroChangesNothingInAnyFormat) {
  const ExpertShape s{31, 33, 8, 3, 21};
  const std::vector<float> x = Normals(s.rows * s.width, 1), weights = Normals(s.rows * s.active, 2, 0.3f);
  const Rows input(s.rows, s.width, x);
  const auto equal = [](const Rows& a, const Rows& b) {
    for (int64_t row = 0; row < a.view.rows; ++row) {
      if (!std::equal(a.view.Row(row), a.view.Row(row) + a.view.cols, b.view.Row(row))) return false;
    }
    return true;
  };
  for (const std::unique_ptr<Kernels>& kernels : {Ref(), Cpu(2)}) {
    Kernels& k = *kernels;
    const std::vector<RowRole> roles = RolesOf({k, 0, s.rows});
    for (const WeightType& type : AllTypes()) {
      const Stored gate(type, 1, s.hidden, s.width, 1), down(type, 1, s.width, s.hidden, 2),
          gate_up(type, s.experts, 2 * s.hidden, s.width, 3), downs(type, s.experts, s.width, s.hidden, 4);
      const auto zeroed = [&](const Stored& w, int64_t count, int64_t out, int64_t in) {
        StoredDelta delta({8, 3, 2}, count, out, in, 5);
        std::ranges::fill(delta.up.bytes, std::byte{0});
        return delta.On(k, Packed(k, w));
      };
      Rows mlp(s.rows, s.width), mlp_with(s.rows, s.width), experts(s.rows, s.width), experts_with(s.rows, s.width);
      k.GatedMlp(input.view, {}, {Packed(k, gate), Packed(k, gate), Packed(k, down)}, mlp.view);
      const Weight gate_with = zeroed(gate, 1, s.hidden, s.width);
      k.GatedMlp(input.view, roles, {gate_with, gate_with, zeroed(down, 1, s.width, s.hidden)}, mlp_with.view);
      EXPECT_TRUE(equal(mlp, mlp_with)) << k.Description() << " " << type.Name();
      const Routes routes = MakeRoutes(s, weights, 0, s.rows);
      k.Experts(input.view, {}, {Packed(k, gate_up), Packed(k, downs)}, routes, experts.view);
      k.Experts(input.view, roles,
                {zeroed(gate_up, s.experts, 2 * s.hidden, s.width), zeroed(downs, s.experts, s.width, s.hidden)},
                routes, experts_with.view);
      EXPECT_TRUE(equal(experts, experts_with)) << k.Description() << " " << type.Name();
    }
  }
}

/// A row in one role is that row with the columns of the other role left out: bit by bit, since they add zeros.
TEST(Delta, OfTheOtherRoleDoesNotCount) {
  constexpr int64_t kRows = 13, kIn = 40, kOut = 37;
  constexpr DeltaColumns kBoth{7, 3, 4};
  const Rows x(kRows, kIn, Normals(kRows * kIn, 1));
  const Stored w(DType::kBF16, 1, kOut, kIn, 2, UnitDeviation(kIn));
  const StoredDelta all(kBoth, 1, kOut, kIn, 3);
  const auto columns_of = [&](int64_t begin, int64_t count, const DeltaColumns& columns) {
    StoredDelta part(columns, 1, kOut, kIn, 9);
    const auto at = [](const std::vector<float>& values, int64_t i) { return values[static_cast<size_t>(i)]; };
    std::vector<float> down, up;
    part.scale.clear();
    for (int64_t i = begin * kIn; i < (begin + count) * kIn; ++i) down.push_back(at(all.down_values, i));
    for (int64_t i = 0; i < kOut * count; ++i)
      up.push_back(at(all.up_values, i / count * kBoth.rank + begin + i % count));
    for (int64_t c = begin; c < begin + count; ++c) part.scale.push_back(at(all.scale, c));
    part.down = Stored(DType::kF32, 1, count, kIn, down);
    part.up = Stored(DType::kF32, 1, kOut, count, up);
    return part;
  };
  const StoredDelta encoder = columns_of(0, 3, {3, 3, 0}), decoder = columns_of(3, 4, {4, 0, 4});
  for (const std::unique_ptr<Kernels>& kernels : {Ref(), Cpu()}) {
    Kernels& k = *kernels;
    const std::vector<RowRole> encoders(kRows, RowRole::kEncoder), decoders(kRows, RowRole::kDecoder);
    const std::vector<RowRole> mixed = RolesOf({k, 0, kRows});
    const auto run = [&](const StoredDelta& delta, const std::vector<RowRole>& roles) {
      Rows y(kRows, kOut);
      k.Linear(x.view, roles, delta.On(k, Packed(k, w)), y.view);
      return y;
    };
    const Rows as_encoder = run(encoder, encoders), as_decoder = run(decoder, decoders), together = run(all, mixed);
    for (int64_t row = 0; row < kRows; ++row) {
      const Rows& expected = mixed[static_cast<size_t>(row)] == RowRole::kEncoder ? as_encoder : as_decoder;
      EXPECT_TRUE(SameBits(expected.view.Rows(row, 1), together.view.Rows(row, 1)))
          << k.Description() << " row " << row;
    }
    Rows plain(kRows, kOut);
    k.Linear(x.view, {}, Packed(k, w), plain.view);
    EXPECT_TRUE(SameBits(run(encoder, decoders).view, plain.view)) << k.Description();
  }
}

}  // namespace
}  // namespace dgemma::test
