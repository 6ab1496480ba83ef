// The forward pass against recordings of Transformers: every recorded activation of prompt and canvas passes, caches, padded batches.
#include "model/forward.h"

#include <cmath>

#include "support/golden.h"

namespace dgemma::test {
namespace {

/// Operations in sequence inside one layer, counted in forward.cc (norms, products, sums).
constexpr double kOperationsPerLayer = 16;

/// Compares what Forward shows with the recording, with a bound that grows with depth.
class Comparer final : public ForwardObserver {
 public:
  Comparer(const Golden& golden, std::string prefix, const Config& config, Kernels& kernels, double unit)
      : golden_(golden), prefix_(std::move(prefix)), config_(config), kernels_(kernels), unit_(unit) {}

  void Observe(const char* name, int64_t layer, Matrix value) override {
    std::string key = prefix_;
    if (layer >= 0)
      key += "layer." + std::to_string(layer) + (std::string(name) == "layer" ? "" : "." + std::string(name));
    else
      key += name;
    if (!golden_.Has(key)) return;
    ++compared;
    const double layers_before =
        layer >= 0 ? static_cast<double>(layer + 1) : static_cast<double>(config_.layers.size() + 1);
    const auto terms =
        static_cast<double>(std::max({config_.width, config_.hidden, config_.heads * config_.layers.back().head_size}));
    ExpectClose(ToVector(kernels_, value), golden_.Floats(key), {unit_, terms, kOperationsPerLayer * layers_before},
                key);
  }

  int compared = 0;

 private:
  const Golden& golden_;
  std::string prefix_;
  const Config& config_;
  Kernels& kernels_;
  double unit_;
};

class ForwardTest : public testing::TestWithParam<RecordedCase> {
 protected:
  void SetUp() override {
    if (!HasGolden(GetParam().model + "/" + GetParam().recording)) GTEST_SKIP() << "no recording";
    loaded_ = TestModel::Load(GetParam());
    const Config& config = loaded_.config();
    activations_ = *Activations::Create(config, 4 * config.window + 2 * config.canvas, 2, *loaded_.kernels);
  }

  Golden Open(const std::string& name) const {
    return Golden(GetParam().model + "/" + GetParam().recording + "/" + name + ".safetensors");
  }
  KvCache NewCache() { return *KvCache::Create(loaded_.config(), 512, 4 * loaded_.config().window, *loaded_.kernels); }
  double unit() const { return GetParam().backend == TestBackend::kRefBf16 ? 0x1p-9 : 0x1p-24; }

  Matrix Run(const Segment& segment, ForwardObserver* observer = nullptr) {
    auto hidden = Forward(*loaded_.model, activations_, {{segment}, {}}, observer);
    EXPECT_TRUE(hidden) << hidden.error().message;
    return *hidden;
  }
  Segment Prompt(KvCache& cache, std::span<const int32_t> ids) const {
    return {SegmentKind::kPrompt, &cache, ids, cache.end(), {}, HiddenRows::kNone};
  }
  Segment CanvasOf(KvCache& cache, std::span<const int32_t> ids, Matrix soft = {}) const {
    return {SegmentKind::kCanvas, &cache, ids, cache.end(), soft, HiddenRows::kAll};
  }
  std::vector<float> LogitsOf(Matrix hidden) {
    const Config& config = loaded_.config();
    std::vector<float> logits(static_cast<size_t>(hidden.rows * config.vocab));
    loaded_.kernels->Logits(hidden, loaded_.model->weights.embedding, static_cast<float>(config.softcap),
                            {logits.data(), hidden.rows, config.vocab, config.vocab});
    return logits;
  }
  /// Soft embeddings of recorded self-conditioning logits [C, V].
  Matrix SoftOf(std::vector<float> logits, Buffer& memory) {
    const Config& config = loaded_.config();
    const int64_t rows = std::ssize(logits) / config.vocab;
    memory = *loaded_.kernels->Allocate(rows * config.width * 4);
    const Matrix soft{memory.Floats(), rows, config.width, config.width};
    loaded_.kernels->SoftEmbed({logits.data(), rows, config.vocab, config.vocab}, loaded_.model->weights.embedding,
                               loaded_.model->embed_scale, soft);
    return soft;
  }
  ErrorBound FinalBound() const {
    const Config& config = loaded_.config();
    return {unit(), static_cast<double>(std::max(config.width, config.hidden)),
            kOperationsPerLayer * static_cast<double>(config.layers.size() + 1)};
  }
  /// Keys or values of the last `positions` positions in the order of Transformers: [K, T', Q].
  std::vector<float> CacheOf(const KvCache& cache, size_t layer, char which, int64_t positions) const {
    const KvStore store = cache.Layer(layer);
    std::vector<float> out;
    for (int64_t head = 0; head < store.kv_heads; ++head) {
      for (int64_t pos = cache.end() - positions; pos < cache.end(); ++pos) {
        for (int64_t dim = 0; dim < store.head_size; ++dim) {
          const int64_t slot = pos % store.slots;
          out.push_back(which == 'k' ? store.k[store.KeyIndex(head, slot, dim)]
                                     : store.v[store.ValueIndex(head, slot, dim)]);
        }
      }
    }
    return out;
  }
  void ExpectCacheEquals(const KvCache& cache, const Golden& golden) {
    for (size_t l = 0; l < loaded_.config().layers.size(); ++l) {
      for (char which : {'k', 'v'}) {
        const std::string key = "cache." + std::to_string(l) + "." + which;
        const auto positions = static_cast<int64_t>(golden.Shape(key)[2]);
        ErrorBound bound = FinalBound();
        bound.depth = kOperationsPerLayer * static_cast<double>(l + 1);
        ExpectClose(CacheOf(cache, l, which, positions), golden.Floats(key), bound, key);
      }
    }
  }

  TestModel loaded_;
  Activations activations_;
};

TEST_P(ForwardTest, PromptActivationsAndCachesMatchTransformers) {
  const Golden golden = Open("encoder");
  const std::vector<int32_t> ids = golden.Ids("ids");
  KvCache cache = NewCache();
  Segment segment = Prompt(cache, ids);
  segment.hidden = HiddenRows::kAll;
  Comparer comparer(golden, "", loaded_.config(), *loaded_.kernels, unit());
  const Matrix hidden = Run(segment, &comparer);
  EXPECT_GE(comparer.compared, std::ssize(loaded_.config().layers));
  ExpectClose(LogitsOf(hidden), golden.Floats("ar_logits"), FinalBound(), "ar_logits");
  ExpectCacheEquals(cache, golden);
}

TEST_P(ForwardTest, PromptInTwoChunksFillsTheCacheAsTransformers) {
  const Golden golden = Open("encoder_chunked");
  const std::vector<int32_t> ids = golden.Ids("ids");
  const auto cut = static_cast<size_t>(golden.Ids("cut")[0]);
  KvCache cache = NewCache();
  Run(Prompt(cache, std::span(ids).first(cut)));
  Run(Prompt(cache, std::span(ids).subspan(cut)));
  ExpectCacheEquals(cache, golden);
}

TEST_P(ForwardTest, CanvasWithAndWithoutSelfConditioningMatchesTransformers) {
  const Golden golden = Open("decoder");
  const std::vector<int32_t> ids = golden.Ids("ids"), canvas = golden.Ids("canvas");
  KvCache cache = NewCache();
  Run(Prompt(cache, ids));
  Comparer first(golden, "first.", loaded_.config(), *loaded_.kernels, unit());
  ExpectClose(LogitsOf(Run(CanvasOf(cache, canvas), &first)), golden.Floats("first.logits"), FinalBound(),
              "first.logits");
  EXPECT_GE(first.compared, std::ssize(loaded_.config().layers));

  Buffer memory;
  const Matrix soft = SoftOf(golden.Floats("second.self_conditioning_logits"), memory);
  Comparer second(golden, "second.", loaded_.config(), *loaded_.kernels, unit());
  ExpectClose(LogitsOf(Run(CanvasOf(cache, canvas, soft), &second)), golden.Floats("second.logits"), FinalBound(),
              "second.logits");
}

TEST_P(ForwardTest, SequencesOfUnequalLengthInOnePassMatchThePaddedBatch) {
  const Golden golden = Open("padded_batch");
  const std::vector<int32_t> ids = golden.Ids("ids"), mask = golden.Ids("mask"), canvas = golden.Ids("canvas");
  const size_t length = golden.Shape("ids")[1], canvas_rows = golden.Shape("canvas")[1];
  std::vector<KvCache> caches;
  Pass prompts, canvases;
  for (size_t row = 0; row < 2; ++row) caches.push_back(NewCache());
  for (size_t row = 0; row < 2; ++row) {
    const auto row_mask = std::span(mask).subspan(row * length, length);
    const auto padding = static_cast<size_t>(std::count(row_mask.begin(), row_mask.end(), 0));
    caches[row].Reset(static_cast<int64_t>(padding));
    prompts.segments.push_back(Prompt(caches[row], std::span(ids).subspan(row * length + padding, length - padding)));
  }
  ASSERT_TRUE(Forward(*loaded_.model, activations_, prompts));
  for (size_t row = 0; row < 2; ++row) {
    canvases.segments.push_back(CanvasOf(caches[row], std::span(canvas).subspan(row * canvas_rows, canvas_rows)));
  }
  const auto hidden = Forward(*loaded_.model, activations_, canvases);
  ASSERT_TRUE(hidden);
  const std::vector<float> logits = LogitsOf(*hidden);
  ExpectClose(logits, golden.Floats("logits"), FinalBound(), "logits");

  // Self-conditioning for row 0 only.
  std::vector<float> fed = golden.Floats("logits");
  const bool bf16 = unit() > 1e-6;
  for (float& value : fed) value = Round(bf16 ? Rounding::kBfloat16 : Rounding::kFloat32, value / 0.8f);
  Buffer memory;
  const Matrix soft = SoftOf(fed, memory);
  canvases.segments[0].soft = soft.Rows(0, static_cast<int64_t>(canvas_rows));
  const auto conditioned = Forward(*loaded_.model, activations_, canvases);
  ASSERT_TRUE(conditioned);
  ExpectClose(LogitsOf(*conditioned), golden.Floats("conditioned_row0_logits"), FinalBound(),
              "conditioned_row0_logits");
}

INSTANTIATE_TEST_SUITE_P(Transformers, ForwardTest,
                         testing::Values(RecordedCase{"alternating-f32", "golden", TestBackend::kRefF32},
                                         RecordedCase{"alternating-f32", "golden", TestBackend::kCpu},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kRefF32},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kCpu},
                                         RecordedCase{"alternating-bf16", "golden", TestBackend::kRefBf16},
                                         RecordedCase{"fivetoone-bf16", "golden", TestBackend::kRefBf16}),
                         CaseName);

}  // namespace
}  // namespace dgemma::test
