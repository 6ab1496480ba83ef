// Passes over a model whose every linear layer has deltas, against the same model with the deltas added to its weights: prompt and canvas,
// deltas of both roles and of one.
#include <cmath>
#include <numeric>
#include <random>

#include "model/forward.h"
#include "support/golden.h"
#include "support/random_delta.h"

namespace dgemma::test {
namespace {

constexpr int64_t kPromptRows = 21;

/// The weights of a model as loaded, with deltas beside them for some role, and with the same deltas added to them.
struct Variants {
  explicit Variants(TestBackend backend) : loaded(TestModel::Load(GoldenRoot() + "/alternating-f32", backend)) {
    // The reference has plain rows.
    TestModel source = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kRefF32);
    const Config& config = loaded.config();
    Weights plain = source.model->weights, both = loaded.model->weights, encoder = both, decoder = both, sum = both;
    std::mt19937 engine(1);
    const std::vector<NamedWeight> from = NameWeights(config, plain);
    const auto to_both = NameWeights(config, both), to_encoder = NameWeights(config, encoder),
               to_decoder = NameWeights(config, decoder), to_sum = NameWeights(config, sum);
    Kernels& kernels = *loaded.kernels;
    for (size_t i = 0; i < from.size(); ++i) {
      if (!MayHaveDelta(from[i].spec.role)) continue;
      const Weight& w = *from[i].weight;
      const RandomDelta random(w, engine);
      *to_sum[i].weight = random.PackedSum(kernels, {w.Vector(), w.Vector() + w.count * w.out * w.in});
      LowRank delta = random.Packed(kernels);
      to_both[i].weight->low_rank = std::make_shared<LowRank>(delta);
      delta.encoder = RandomDelta::kRank;
      to_encoder[i].weight->low_rank = std::make_shared<LowRank>(delta);
      std::swap(delta.encoder, delta.decoder);
      to_decoder[i].weight->low_rank = std::make_shared<LowRank>(delta);
      ++layers;
    }
    for (const Weights& weights : {both, encoder, decoder, sum}) models.push_back(MakeModel(config, weights, kernels));
  }

  const Model& plain() const { return *loaded.model; }
  const Model& both() const { return models[0]; }
  const Model& encoder() const { return models[1]; }
  const Model& decoder() const { return models[2]; }
  const Model& sum() const { return models[3]; }

  TestModel loaded;
  std::vector<Model> models;
  int layers = 0;
};

class DeltaForwardTest : public testing::TestWithParam<TestBackend> {
 protected:
  /// Final hidden states of all rows of a prompt and of a self-conditioned canvas behind it: the prompt by one model, the canvas by another,
  /// in one pass where they are the same.
  std::vector<float> Run(const Model& of_prompt, const Model& of_canvas) {
    const Config& config = variants_.loaded.config();
    Kernels& kernels = *variants_.loaded.kernels;
    KvCache cache = *KvCache::Create(config, 512, kPromptRows, kernels);
    Activations activations = *Activations::Create(config, kPromptRows + config.canvas, 1, kernels);
    std::vector<int32_t> prompt(kPromptRows), canvas(static_cast<size_t>(config.canvas));
    std::iota(prompt.begin(), prompt.end(), 3);
    std::iota(canvas.begin(), canvas.end(), 11);
    std::mt19937 engine(2);
    std::vector<float> soft = RandomValues(config.canvas * config.width, 0.3f, engine);
    const Segment first{SegmentKind::kPrompt, &cache, prompt, 0, {}, HiddenRows::kAll};
    const Segment second{
        SegmentKind::kCanvas, &cache, canvas, kPromptRows, {soft.data(), config.canvas, config.width, config.width},
        HiddenRows::kAll};
    if (&of_prompt == &of_canvas) return ToVector(kernels, *Forward(of_prompt, activations, {{first, second}, {}}));
    std::vector<float> hidden = ToVector(kernels, *Forward(of_prompt, activations, {{first}, {}}));
    const std::vector<float> rest = ToVector(kernels, *Forward(of_canvas, activations, {{second}, {}}));
    hidden.insert(hidden.end(), rest.begin(), rest.end());
    return hidden;
  }
  /// Both sides err as a forward pass does (tests/model/forward_test.cc), each product having two more sums with deltas.
  ErrorBound Bound() const {
    const Config& config = variants_.loaded.config();
    return {0x1p-24, static_cast<double>(std::max(config.width, config.hidden) + RandomDelta::kRank),
            2 * 24 * static_cast<double>(config.layers.size() + 1)};
  }

  Variants variants_{GetParam()};
};

TEST_P(DeltaForwardTest, GivesWhatTheSumOfWeightsGives) {
  EXPECT_GT(variants_.layers, 20);
  const std::vector<float> plain = Run(variants_.plain(), variants_.plain());
  const std::vector<float> sum = Run(variants_.sum(), variants_.sum());
  ExpectClose(Run(variants_.both(), variants_.both()), sum, Bound(), "both roles");
  double moved = 0, size = 0;
  for (size_t i = 0; i < sum.size(); ++i) {
    moved += std::abs(static_cast<double>(sum[i] - plain[i]));
    size += std::abs(static_cast<double>(plain[i]));
  }
  EXPECT_GT(moved, 0.1 * size) << "the deltas are too small to be seen";
}

TEST_P(DeltaForwardTest, OfOneRoleGivesWhatTheSumGivesInThatRoleOnly) {
  ExpectClose(Run(variants_.encoder(), variants_.encoder()), Run(variants_.sum(), variants_.plain()), Bound(),
              "encoder");
  ExpectClose(Run(variants_.decoder(), variants_.decoder()), Run(variants_.plain(), variants_.sum()), Bound(),
              "decoder");
}

TEST_P(DeltaForwardTest, OfTheDecoderLeavesThePromptAsItIs) {
  const auto prompt_values = static_cast<size_t>(kPromptRows * variants_.loaded.config().width);
  std::vector<float> plain = Run(variants_.plain(), variants_.plain()),
                     with = Run(variants_.decoder(), variants_.decoder());
  plain.resize(prompt_values);
  with.resize(prompt_values);
  EXPECT_EQ(plain, with);
}

INSTANTIATE_TEST_SUITE_P(Backends, DeltaForwardTest, testing::Values(TestBackend::kRefF32, TestBackend::kCpu),
                         BackendName);

}  // namespace
}  // namespace dgemma::test
