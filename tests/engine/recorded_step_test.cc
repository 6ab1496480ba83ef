// Every denoising step on its own against the recordings: fed the recorded canvas and the recorded self-conditioning logits of the
// step before, so that no error is carried along. Logits and entropies within derived bounds, argmax equal wherever the recorded
// margin exceeds the bound. In bfloat16 the reference rounds where Transformers rounds.
#include <fmt/format.h>

#include <cmath>

#include "model/forward.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

/// Finds rows where a router's choice hangs on rounding: the last chosen and the first left-out score are within two units in the
/// last place of bfloat16. Such a row may take another expert, which is another function, not a rounding error.
class RouterTies final : public ForwardObserver {
 public:
  RouterTies(const Model& model, int64_t rows) : model_(model), near_(static_cast<size_t>(rows), false) {}

  void Observe(const char* name, int64_t layer, Matrix h) override {
    if (std::string_view(name) != "router_in") return;
    const RouterWeights& w = model_.weights.layers[static_cast<size_t>(layer)].router;
    std::vector<float> routed(static_cast<size_t>(h.rows * h.cols)), scores(static_cast<size_t>(h.rows * w.proj.out));
    const Matrix input{routed.data(), h.rows, h.cols, h.cols}, z{scores.data(), h.rows, w.proj.out, w.proj.out};
    model_.kernels.RmsNorm(h, w.scale, input);
    for (float& value : routed) value /= std::sqrt(static_cast<float>(h.cols));
    model_.kernels.Linear(input, {}, w.proj, z);
    for (int64_t row = 0; row < h.rows; ++row) {
      std::sort(z.Row(row), z.Row(row) + z.cols, std::greater<>());
      const float in = z.Row(row)[model_.config.active_experts - 1], out = z.Row(row)[model_.config.active_experts];
      const float largest = std::max(std::abs(z.Row(row)[0]), std::abs(z.Row(row)[z.cols - 1]));
      if (in - out <= 2 * 0x1p-8f * largest) near_[static_cast<size_t>(row)] = true;
    }
  }
  bool near(int64_t row) const { return near_[static_cast<size_t>(row)]; }

 private:
  const Model& model_;
  std::vector<bool> near_;
};

class RecordedStepTest : public testing::TestWithParam<RecordedCase> {};

TEST_P(RecordedStepTest, LogitsOfEveryStepMatchAndArgmaxIsEqualBeyondTheBound) {
  const std::string folder = GetParam().model + "/" + GetParam().recording + "/";
  if (!HasGolden(folder + "generate.safetensors")) GTEST_SKIP() << "no recording";
  const Golden golden(folder + "generate.safetensors");
  if (!golden.Has("canvas.0.step.0.logits")) GTEST_SKIP() << "no logits recorded";
  TestModel loaded = TestModel::Load(GetParam());
  const Config& config = loaded.config();
  Kernels& kernels = *loaded.kernels;
  const bool bf16 = GetParam().recording != "golden-f32" && GetParam().model.ends_with("bf16");
  const std::vector<int32_t> prompt = golden.Ids("prompt");
  Activations activations = *Activations::Create(config, 128, 1, kernels);
  KvCache cache = *KvCache::Create(config, 512, 128, kernels);
  const auto run = [&](const Segment& segment, ForwardObserver* observer = nullptr) {
    return *Forward(*loaded.model, activations, {{segment}, {}}, observer);
  };
  run({SegmentKind::kPrompt, &cache, prompt, 0, {}, HiddenRows::kNone});

  const double unit = bf16 ? 0x1p-9 : 0x1p-24;
  double worst = 0, worst_entropy = 0;
  int64_t positions = 0, equal = 0, beyond = 0, beyond_equal = 0;
  const auto rows = config.canvas, vocab = config.vocab;
  Buffer soft_memory = *kernels.Allocate(rows * config.width * 4);
  const Matrix soft{soft_memory.Floats(), rows, config.width, config.width};
  for (int32_t c = 0; golden.Has(fmt::format("canvas.{}.init", c)); ++c) {
    std::vector<int32_t> tokens = golden.Ids(fmt::format("canvas.{}.init", c)), last_argmax;
    std::vector<float> fed;
    for (int32_t s = 0; golden.Has(fmt::format("canvas.{}.step.{}.argmax", c, s)); ++s) {
      const std::string at = fmt::format("canvas.{}.step.{}.", c, s);
      last_argmax = golden.Ids(at + "argmax");
      if (!golden.Has(at + "logits")) continue;  // left out to keep the recording small
      if (!fed.empty())
        kernels.SoftEmbed({fed.data(), rows, vocab, vocab}, loaded.model->weights.embedding, loaded.model->embed_scale,
                          soft);
      RouterTies ties(*loaded.model, rows);
      const Matrix hidden = run(
          {SegmentKind::kCanvas, &cache, tokens, cache.end(), fed.empty() ? Matrix{} : soft, HiddenRows::kAll}, &ties);
      const std::vector<float> expected = golden.Floats(at + "logits"), entropy = golden.Floats(at + "entropy");
      const std::vector<int32_t> argmax = golden.Ids(at + "argmax");
      std::vector<float> logits(expected.size());
      kernels.Logits(hidden, loaded.model->weights.embedding, static_cast<float>(config.softcap),
                     {logits.data(), rows, vocab, vocab});
      const float temperature = 0.4f + 0.4f * (static_cast<float>(5 - s) / 5.0f);
      for (float& value : logits) value /= temperature;

      double scale = 0;
      for (float value : expected) scale = std::max(scale, std::abs(static_cast<double>(value)));
      // Worst case: every one of 16 operations a layer adds half an ulp of sums of D terms. Margins are compared with the random walk
      // of those roundings instead (they are independent), or no margin would ever count.
      const double operations = 16.0 * static_cast<double>(config.layers.size() + 1);
      const double bound = unit * std::sqrt(static_cast<double>(config.width)) * operations * scale;
      const double margin_bound = bf16 ? unit * std::sqrt(operations) * scale : bound;
      for (int64_t row = 0; row < rows; ++row) {
        const float* mine = logits.data() + row * vocab;
        const float* theirs = expected.data() + row * vocab;
        double row_worst = 0, max = -INFINITY, sum = 0, weighted = 0;
        for (int64_t id = 0; id < vocab; ++id) {
          row_worst = std::max(row_worst, std::abs(static_cast<double>(mine[id]) - static_cast<double>(theirs[id])));
          max = std::max(max, static_cast<double>(mine[id]));
        }
        for (int64_t id = 0; id < vocab; ++id) {
          const double e = std::exp(static_cast<double>(mine[id]) - max);
          sum += e;
          weighted += e * (static_cast<double>(mine[id]) - max);
        }
        const double entropy_error =
            std::abs(std::log(sum) - weighted / sum - static_cast<double>(entropy[static_cast<size_t>(row)]));
        worst = std::max(worst, row_worst / bound);
        worst_entropy = std::max(worst_entropy, entropy_error);
        const auto best = static_cast<int32_t>(std::max_element(mine, mine + vocab) - mine);
        std::vector<float> sorted(theirs, theirs + vocab);
        std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
        const double margin = static_cast<double>(sorted[0]) - static_cast<double>(sorted[1]);
        ++positions;
        equal += best == argmax[static_cast<size_t>(row)];
        if (margin > 2 * margin_bound && !(bf16 && ties.near(row))) {
          ++beyond;
          beyond_equal += best == argmax[static_cast<size_t>(row)];
        }
      }
      tokens = golden.Ids(at + "current");
      fed = expected;
      if (bf16)
        for (float& value : fed) value = Round(Rounding::kBfloat16, value);
    }
    run({SegmentKind::kCommit, &cache, last_argmax, cache.end(), {}, HiddenRows::kNone});
  }
  std::printf(
      "%s/%s %s: %ld positions, argmax equal %ld, beyond the bound %ld equal %ld, worst logit error %.3g of the bound, "
      "worst entropy error %.2g\n",
      GetParam().model.c_str(), GetParam().recording.c_str(), Name(GetParam().backend), static_cast<long>(positions),
      static_cast<long>(equal), static_cast<long>(beyond), static_cast<long>(beyond_equal), worst, worst_entropy);
  EXPECT_LE(worst, 1.0);
  EXPECT_GT(beyond, 0);
  if (GetParam().backend != TestBackend::kCpu || !bf16) {
    EXPECT_EQ(beyond, beyond_equal);
  }
  if (!bf16) {
    EXPECT_EQ(positions, equal);
  }
}

INSTANTIATE_TEST_SUITE_P(Transformers, RecordedStepTest,
                         testing::Values(RecordedCase{"alternating-f32", "golden", TestBackend::kRefF32},
                                         RecordedCase{"alternating-f32", "golden", TestBackend::kCpu},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kRefF32},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kCpu},
                                         RecordedCase{"alternating-bf16", "golden", TestBackend::kRefBf16},
                                         RecordedCase{"alternating-bf16", "golden", TestBackend::kCpu},
                                         RecordedCase{"fivetoone-bf16", "golden", TestBackend::kRefBf16},
                                         RecordedCase{"fivetoone-bf16", "golden", TestBackend::kCpu}),
                         CaseName);

}  // namespace
}  // namespace dgemma::test
