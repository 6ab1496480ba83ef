// Adapters as different programs write them, applied unmerged, against the logits that Transformers and PEFT computed
// with them (tests/golden/make_adapters.py).
#include <algorithm>

#include "model/adapter_files.h"
#include "model/adapter_merge.h"
#include "support/adapter_fixtures.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

struct AdapterCase {
  std::string fixture;
  TestBackend backend;
};

void PrintTo(const AdapterCase& c, std::ostream* out) { *out << c.fixture << " " << Name(c.backend); }

/// Logits of the recorded passes on a model.
class Passes {
 public:
  Passes(const LoadedModel& loaded, const Golden& golden) : loaded_(loaded), golden_(golden) {}

  void ExpectRecorded() const {
    const Config& config = loaded_.model->config;
    const std::vector<int32_t> ids = golden_.Ids("ids"), canvas = golden_.Ids("canvas");
    Activations activations = *Activations::Create(config, std::ssize(ids) + config.canvas, 1, *loaded_.kernels);
    KvCache cache = *KvCache::Create(config, 512, std::ssize(ids), *loaded_.kernels);
    const auto run = [&](const Segment& segment) { return *Forward(*loaded_.model, activations, {{segment}, {}}); };

    const Matrix hidden = run({SegmentKind::kPrompt, &cache, ids, 0, {}, HiddenRows::kAll});
    const std::vector<float> last = golden_.Floats("ar_logits");
    const int64_t rows = std::ssize(last) / config.vocab;
    Expect("ar_logits", hidden.Rows(hidden.rows - rows, rows));
    Segment denoise{SegmentKind::kCanvas, &cache, canvas, cache.end(), {}, HiddenRows::kAll};
    Expect("first.logits", run(denoise));
    std::vector<float> fed = golden_.Floats("second.self_conditioning_logits");
    const Buffer memory = *loaded_.kernels->Allocate(std::ssize(canvas) * config.width * 4);
    denoise.soft = {memory.Floats(), std::ssize(canvas), config.width, config.width};
    loaded_.kernels->SoftEmbed({fed.data(), std::ssize(canvas), config.vocab, config.vocab},
                               loaded_.model->weights.embedding, loaded_.model->embed_scale, denoise.soft);
    Expect("second.logits", run(denoise));
  }

 private:
  void Expect(const std::string& name, Matrix hidden) const {
    const Config& config = loaded_.model->config;
    std::vector<float> logits(static_cast<size_t>(hidden.rows * config.vocab));
    loaded_.kernels->Logits(hidden, loaded_.model->weights.embedding, static_cast<float>(config.softcap),
                            {logits.data(), hidden.rows, config.vocab, config.vocab});
    // As forward_test.cc: 16 operations a layer, and two more products in each that has a delta.
    const double depth = 18 * static_cast<double>(config.layers.size() + 1);
    ExpectClose(logits, golden_.Floats(name), {0x1p-24, static_cast<double>(config.width), depth}, name);
  }

  const LoadedModel& loaded_;
  const Golden& golden_;
};

class AdapterForwardTest : public testing::TestWithParam<AdapterCase> {};

TEST_P(AdapterForwardTest, UnmergedLogitsAreThoseOfPeft) {
  const TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", GetParam().backend);
  const auto adapter = ReadAdapter(FixturePath(GetParam().fixture), loaded.config());
  ASSERT_TRUE(adapter) << adapter.error().message;
  const AppliedAdapter applied{&*adapter, 1};
  ASSERT_TRUE(AttachAdapters({&applied, 1}, loaded.config(), loaded.model->weights, *loaded.kernels));
  const Golden golden("adapters/" + GetParam().fixture + "/logits.safetensors");
  Passes(loaded, golden).ExpectRecorded();
}

TEST(AdapterForward, MergedLogitsAreThoseOfPeft) {
  for (const char* fixture : {"trl-both", "nemo", "llama-cpp"}) {
    SCOPED_TRACE(fixture);
    const MergedFolder merged("alternating-f32", {fixture});
    ASSERT_EQ(merged.error, "");
    const TestModel loaded = TestModel::Load(merged.folder(), TestBackend::kRefF32);
    const Golden golden(std::string("adapters/") + fixture + "/logits.safetensors");
    Passes(loaded, golden).ExpectRecorded();
  }
}

// Adapter and its negative together change nothing but the last bits; so the scale of an application counts.
TEST(AdapterForward, OppositeScalesCancel) {
  const TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", TestBackend::kCpu);
  const Adapter adapter = *ReadAdapter(FixturePath("peft-roles"), loaded.config());
  const AppliedAdapter applied[] = {{&adapter, 0.75f}, {&adapter, -0.75f}};
  ASSERT_TRUE(AttachAdapters(applied, loaded.config(), loaded.model->weights, *loaded.kernels));
  const Golden golden("alternating-f32/golden/decoder.safetensors");
  const Config& config = loaded.config();
  const std::vector<int32_t> ids = golden.Ids("ids"), canvas = golden.Ids("canvas");
  Activations activations = *Activations::Create(config, std::ssize(ids) + config.canvas, 1, *loaded.kernels);
  KvCache cache = *KvCache::Create(config, 512, std::ssize(ids), *loaded.kernels);
  ASSERT_TRUE(Forward(*loaded.model, activations, {{{SegmentKind::kPrompt, &cache, ids, 0, {}}}, {}}));
  const Segment denoise{SegmentKind::kCanvas, &cache, canvas, cache.end(), {}, HiddenRows::kAll};
  const Matrix hidden = *Forward(*loaded.model, activations, {{denoise}, {}});
  std::vector<float> logits(static_cast<size_t>(hidden.rows * config.vocab));
  loaded.kernels->Logits(hidden, loaded.model->weights.embedding, static_cast<float>(config.softcap),
                         {logits.data(), hidden.rows, config.vocab, config.vocab});
  ExpectClose(logits, golden.Floats("first.logits"), {0x1p-24, static_cast<double>(config.width), 18 * 5}, "logits");
}

std::vector<AdapterCase> AllCases() {
  std::vector<AdapterCase> cases;
  for (const std::string& fixture : Fixtures()) {
    for (const TestBackend backend : {TestBackend::kRefF32, TestBackend::kCpu}) cases.push_back({fixture, backend});
  }
  return cases;
}

std::string WriterName(const testing::TestParamInfo<AdapterCase>& tested) {
  std::string name = tested.param.fixture + "_" + Name(tested.param.backend);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Writers, AdapterForwardTest, testing::ValuesIn(AllCases()), WriterName);

}  // namespace
}  // namespace dgemma::test
