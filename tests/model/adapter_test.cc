// Attaching and merging: which columns of a weight's LowRank belong to which delta, what is planned, W' = W + scale up
// down.
#include "model/adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "model/stored_tensors.h"
#include "support/adapter_fixtures.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

/// Deltas of layer 0's up_proj, with values that say whose they are.
AdapterDelta MakeDelta(DeltaRole role, int64_t rank, float value, float scale) {
  AdapterDelta delta;
  delta.tensor = "model.decoder.layers.0.mlp.up_proj.weight";
  delta.role = role;
  delta.rank = rank;
  delta.out = 40;
  delta.in = 48;
  delta.scale = scale;
  delta.down.assign(static_cast<size_t>(rank * 48), value);
  delta.up.assign(static_cast<size_t>(40 * rank), -value);
  return delta;
}

TEST(AttachAdapters, ColumnsStandByRoleThenAdapter) {
  const TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kRefF32);
  Weights& weights = loaded.model->weights;
  const Adapter a{"a", {MakeDelta(DeltaRole::kBoth, 1, 1, 2), MakeDelta(DeltaRole::kEncoder, 2, 3, 4)}};
  const Adapter b{"b", {MakeDelta(DeltaRole::kEncoder, 1, 5, 6), MakeDelta(DeltaRole::kDecoder, 3, 7, 8)}};
  const AppliedAdapter applied[] = {{&a, 1}, {&b, 0.5f}};
  ASSERT_TRUE(AttachAdapters(applied, loaded.config(), weights, *loaded.kernels));
  const Weight& weight = weights.layers[0].dense.up;
  ASSERT_NE(weight.low_rank, nullptr);
  EXPECT_EQ(weight.low_rank->rank(), 7);
  EXPECT_EQ(weight.low_rank->encoder, 3);
  EXPECT_EQ(weight.low_rank->decoder, 3);
  EXPECT_EQ(weight.low_rank->scale, (std::vector<float>{4, 4, 3, 4, 4, 4, 2}));
  EXPECT_EQ(weights.layers[1].dense.up.low_rank, nullptr);

  const std::vector<AttachedDelta> found = FindDeltas(applied, loaded.config(), weights);
  ASSERT_EQ(found.size(), 4u);
  const size_t expected[4][3] = {{0, 1, 0}, {1, 0, 2}, {1, 1, 3}, {0, 0, 6}};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found[i].adapter, expected[i][0]);
    EXPECT_EQ(found[i].delta, expected[i][1]);
    EXPECT_EQ(found[i].column, static_cast<int64_t>(expected[i][2]));
    EXPECT_EQ(found[i].weight, &weight);
  }
  ASSERT_TRUE(AttachAdapters({}, loaded.config(), weights, *loaded.kernels));
  EXPECT_EQ(weight.low_rank, nullptr) << "attaching replaces";
}

TEST(AttachAdapters, AllocatesWhatIsPlanned) {
  for (const TestBackend backend : {TestBackend::kRefF32, TestBackend::kCpu}) {
    const TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", backend);
    const Adapter roles = *ReadAdapter(FixturePath("peft-roles"), loaded.config());
    const Adapter experts = *ReadAdapter(FixturePath("peft-experts"), loaded.config());
    const AppliedAdapter applied[] = {{&roles, 1}, {&experts, 1}, {&roles, 2}};
    ASSERT_TRUE(AttachAdapters(applied, loaded.config(), loaded.model->weights, *loaded.kernels));
    int64_t bytes = 0, deltas = 0;
    for (const NamedWeight& named : NameWeights(loaded.config(), loaded.model->weights)) {
      if (named.weight->low_rank == nullptr) continue;
      bytes += named.weight->low_rank->down.buffer.bytes + named.weight->low_rank->up.buffer.bytes;
      ++deltas;
    }
    EXPECT_GT(deltas, 20);
    EXPECT_EQ(bytes, PlanAdapters(applied, *loaded.kernels, {})) << Name(backend);
  }
}

TEST(AttachAdapters, RefusesWhatFitsNoLinearLayer) {
  const TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kRefF32);
  const auto refused = [&](const AdapterDelta& delta, float scale, const std::string& named) {
    const Adapter adapter{"made", {delta}};
    const AppliedAdapter applied{&adapter, scale};
    const auto attached = AttachAdapters({&applied, 1}, loaded.config(), loaded.model->weights, *loaded.kernels);
    ASSERT_FALSE(attached) << named;
    EXPECT_EQ(attached.error().code, StatusCode::kInvalidArgument);
    EXPECT_NE(attached.error().message.find(named), std::string::npos) << attached.error().message;
  };
  AdapterDelta delta = MakeDelta(DeltaRole::kBoth, 2, 1, 1);
  refused(delta, NAN, "scale");
  delta.tensor = "model.decoder.norm.weight";
  refused(delta, 1, "no linear layer");
  delta.tensor = "model.decoder.layers.1.self_attn.v_proj.weight";
  refused(delta, 1, "no such tensor");
  delta = MakeDelta(DeltaRole::kEncoder, 2, 1, 1);
  delta.tensor = "model.decoder.self_conditioning.up_proj.weight";
  refused(delta, 1, "encoder does not use it");
}

// ---- merging --------------------------------------------------------------------------------------------------------

std::vector<float> ValuesOf(const CheckpointFiles& files, const TensorSpec& spec) {
  const StoredTensor stored = *FindStored(files, spec);
  std::vector<float> values(spec.Values());
  for (int64_t row = 0; row < stored.count * stored.rows; ++row)
    ReadRow(stored, row / stored.rows, row % stored.rows, values.data() + row * stored.cols);
  return values;
}

/// scale up down in long double.
std::vector<long double> Product(const AdapterDelta& delta) {
  std::vector<long double> product(static_cast<size_t>(delta.count * delta.out * delta.in));
  for (int64_t row = 0; row < delta.count * delta.out; ++row) {
    for (int64_t r = 0; r < delta.rank; ++r) {
      const int64_t down = (row / delta.out * delta.rank + r) * delta.in;
      for (int64_t col = 0; col < delta.in; ++col) {
        product[static_cast<size_t>(row * delta.in + col)] +=
            static_cast<long double>(delta.scale) *
            static_cast<long double>(delta.up[static_cast<size_t>(row * delta.rank + r)]) *
            static_cast<long double>(delta.down[static_cast<size_t>(down + col)]);
      }
    }
  }
  return product;
}

TEST(MergeAdapters, AddsTheProductsAndCopiesEverythingElse) {
  for (const std::string model : {"alternating-f32", "alternating-bf16"}) {
    SCOPED_TRACE(model);
    const MergedFolder merged(model, {"trl-both", "nemo"}, 0.5f);
    ASSERT_EQ(merged.error, "");
    const CheckpointFiles before = *OpenCheckpoint(GoldenRoot() + "/" + model),
                          after = *OpenCheckpoint(merged.folder());
    const Config config = *ReadConfig(after);
    EXPECT_EQ(config, *ReadConfig(before));
    std::map<std::string, std::vector<AdapterDelta>> deltas;
    for (const char* fixture : {"trl-both", "nemo"}) {
      Adapter adapter = *ReadAdapter(FixturePath(fixture), config);
      for (AdapterDelta& delta : adapter.deltas) deltas[delta.tensor].push_back(std::move(delta));
    }
    EXPECT_EQ(merged.merged.size(), deltas.size());
    for (const TensorSpec& spec : ListTensors(config)) {
      const TensorBytes old_bytes = *before.Tensor(spec.name), new_bytes = *after.Tensor(spec.name);
      ASSERT_EQ(old_bytes.dtype, new_bytes.dtype) << spec.name;
      if (!deltas.contains(spec.name)) {
        EXPECT_TRUE(std::ranges::equal(old_bytes.bytes, new_bytes.bytes)) << spec.name;
        continue;
      }
      const std::vector<float> old_values = ValuesOf(before, spec), new_values = ValuesOf(after, spec);
      std::vector<long double> sums(old_values.begin(), old_values.end());
      for (const AdapterDelta& delta : deltas[spec.name]) {
        const std::vector<long double> product = Product(delta);
        for (size_t i = 0; i < sums.size(); ++i) sums[i] += 0.5L * product[i];
      }
      // Half a unit in the last place of what is stored, and a little for the float64 sums.
      const long double half_ulp = (old_bytes.dtype == DType::kF32 ? 0x1p-24L : 0x1p-8L) * (1 + 0x1p-20L);
      for (size_t i = 0; i < sums.size(); ++i) {
        ASSERT_LE(std::abs(static_cast<long double>(new_values[i]) - sums[i]), half_ulp * std::abs(sums[i]) + 0x1p-60L)
            << spec.name << " " << i;
      }
    }
  }
}

// 1 + 2^-9 lies between two bfloat16 numbers; a trace more must round up, which rounding to float32 first would lose.
TEST(MergeAdapters, RoundsOnce) {
  const TempFolder root;
  const CheckpointFiles files = *OpenCheckpoint(GoldenRoot() + "/alternating-bf16");
  const Config config = *ReadConfig(files);
  const TensorSpec spec{"model.decoder.layers.0.mlp.up_proj.weight", {40, 48}, TensorRole::kMatrix};
  const std::vector<float> weights = ValuesOf(files, spec);
  size_t place = 0;
  while (std::abs(weights[place]) < 0x1p-4f) ++place;
  const int64_t row = static_cast<int64_t>(place) / 48, col = static_cast<int64_t>(place) % 48;
  const float up_to = FromBf16(static_cast<uint16_t>(ToBf16(std::abs(weights[place])) + 1));
  const float half = (up_to - std::abs(weights[place])) / 2, sign = std::copysign(1.0f, weights[place]);
  for (const double trace : {0x1p-40, 0.0, -0x1p-40}) {
    AdapterDelta delta = MakeDelta(DeltaRole::kBoth, 2, 0, 1);
    delta.up[static_cast<size_t>(row * 2)] = delta.up[static_cast<size_t>(row * 2 + 1)] = 1;
    delta.down[static_cast<size_t>(col)] = sign * half;
    delta.down[static_cast<size_t>(48 + col)] = sign * static_cast<float>(trace);
    const Adapter adapter{"made", {delta}};
    const AppliedAdapter applied{&adapter, 1};
    ThreadPool pool(1);
    const std::string folder = (root.path() / std::to_string(trace)).string();
    ASSERT_TRUE(MergeAdapters(files, config, {&applied, 1}, folder, {}, pool));
    const float value = std::abs(ValuesOf(*OpenCheckpoint(folder), spec)[place]);
    const bool odd = (ToBf16(std::abs(weights[place])) & 1) != 0;  // a tie goes to the even neighbour
    EXPECT_EQ(value, trace > 0 || (trace == 0 && odd) ? up_to : std::abs(weights[place])) << trace;
  }
}

TEST(MergeAdapters, RefusesRolesThatDiffer) {
  const MergedFolder roles("alternating-f32", {"peft-roles"});
  EXPECT_NE(roles.error.find("the encoder's delta differs from the decoder's"), std::string::npos) << roles.error;
  EXPECT_NE(roles.error.find("model.decoder.layers.0."), std::string::npos) << roles.error;
  const MergedFolder decoder("alternating-f32", {"trl-both", "peft-decoder"});
  EXPECT_NE(decoder.error.find("only the decoder is changed"), std::string::npos) << decoder.error;
  EXPECT_FALSE(std::filesystem::exists(decoder.folder()));
}

TEST(MergeAdapters, SelfConditioningHasOneRole) {
  const TempFolder root;
  const CheckpointFiles files = *OpenCheckpoint(GoldenRoot() + "/alternating-f32");
  const Config config = *ReadConfig(files);
  AdapterDelta delta = MakeDelta(DeltaRole::kDecoder, 1, 1, 1);
  delta.tensor = "model.decoder.self_conditioning.up_proj.weight";
  const Adapter adapter{"made", {delta}};
  const AppliedAdapter applied{&adapter, 1};
  ThreadPool pool(1);
  const auto merged = MergeAdapters(files, config, {&applied, 1}, root.path() / "merged", {}, pool);
  ASSERT_TRUE(merged) << merged.error().message;
  EXPECT_EQ(merged->front().name, delta.tensor);
}

TEST(MergeAdapters, LeavesNothingBehindWhenItFails) {
  const TempFolder root;
  const CheckpointFiles files = *OpenCheckpoint(GoldenRoot() + "/alternating-bf16");
  const Config config = *ReadConfig(files);
  ThreadPool pool(1);
  Adapter adapter{"made", {MakeDelta(DeltaRole::kBoth, 1, 1, 1)}};
  const AppliedAdapter applied{&adapter, 1};
  std::stop_source stop;
  StreamOptions options;
  options.stop = stop.get_token();
  options.progress = [&](int64_t, int64_t) { stop.request_stop(); };
  const auto cancelled = MergeAdapters(files, config, {&applied, 1}, root.path() / "merged", options, pool);
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, StatusCode::kCancelled);
  adapter.deltas[0].scale = 3e38f;
  adapter.deltas[0].down.assign(48, 3e38f);
  const auto beyond = MergeAdapters(files, config, {&applied, 1}, root.path() / "merged", {}, pool);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code, StatusCode::kInvalidFile);
  EXPECT_NE(beyond.error().message.find("up_proj.weight: with the adapter it holds values"), std::string::npos)
      << beyond.error().message;
  EXPECT_TRUE(root.Names().empty());
}

}  // namespace
}  // namespace dgemma::test
