// Generation against recordings of Transformers with the same draws: every step's argmax canvas, accepted mask, next canvas and stop
// decision, the sequences and tokens_per_forward; alone and as a batch, merged commit and separate.
#include <boost/json/parse.hpp>
#include <fstream>
#include <sstream>

#include "engine/generate.h"
#include "engine/replay.h"
#include "support/golden.h"
#include "support/step_comparer.h"

namespace dgemma::test {
namespace {

struct Options {
  GenerateOptions generate;
  int64_t canvases = 0;
  int32_t pad = 0;
};

Options ReadOptions(const std::string& path, int64_t canvas_rows) {
  std::ifstream file(GoldenRoot() + "/" + path);
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::object json = boost::json::parse(text.str()).as_object();
  Options options;
  options.canvases = json.at("canvases").to_number<int64_t>();
  options.generate.max_new_tokens = options.canvases * canvas_rows;
  options.generate.steps = json.at("max_denoising_steps").to_number<int32_t>();
  options.generate.t_min = json.at("t_min").to_number<double>();
  options.generate.t_max = json.at("t_max").to_number<double>();
  options.generate.stability = json.at("stability_threshold").to_number<int32_t>();
  options.generate.confidence = json.at("confidence_threshold").to_number<double>();
  options.generate.entropy_bound = json.at("entropy_bound").to_number<double>();
  for (const auto& id : json.at("eos_token_id").as_array())
    options.generate.stop_tokens.push_back(id.to_number<int32_t>());
  if (json.contains("pad_token_id")) options.pad = json.at("pad_token_id").to_number<int32_t>();
  return options;
}

class RecordedGenerationTest : public testing::TestWithParam<RecordedCase> {
 protected:
  void SetUp() override {
    folder_ = GetParam().model + "/" + GetParam().recording + "/";
    if (!HasGolden(folder_)) GTEST_SKIP() << "no recording";
    loaded_ = TestModel::Load(GetParam());
  }

  /// Runs all rows of the recorded batch together and compares.
  void Replay(const std::string& name, CommitMode commit) {
    const Golden golden(folder_ + name + ".safetensors");
    auto files = *OpenSafetensors(GoldenRoot() + "/" + folder_ + name + ".safetensors");
    const Config& config = loaded_.config();
    const Options options = ReadOptions(folder_ + name + ".json", config.canvas);
    const std::vector<int32_t> prompt = golden.Ids("prompt");
    const auto batch = static_cast<size_t>(golden.Shape("prompt")[0]),
               length = static_cast<size_t>(golden.Shape("prompt")[1]);
    const std::vector<int32_t> mask =
        golden.Has("attention_mask") ? golden.Ids("attention_mask") : std::vector<int32_t>(prompt.size(), 1);

    const int64_t chunk = std::max<int64_t>(7, config.canvas);  // prompts in several passes, a canvas in one
    auto runner = *PassRunner::Create(*loaded_.model, static_cast<int64_t>(batch) * (chunk + 2 * config.canvas),
                                      static_cast<int64_t>(batch));
    std::vector<std::unique_ptr<KvCache>> caches;
    std::vector<std::unique_ptr<RecordedNoise>> noises;
    std::vector<Buffer> soft;
    std::vector<std::unique_ptr<StepComparer>> comparers;
    std::vector<GenerationResult> results(batch);
    std::vector<Story> stories;
    for (size_t row = 0; row < batch; ++row) {
      const auto padding = static_cast<size_t>(std::count(mask.begin() + static_cast<int64_t>(row * length),
                                                          mask.begin() + static_cast<int64_t>((row + 1) * length), 0));
      caches.push_back(
          std::make_unique<KvCache>(*KvCache::Create(config, 512, chunk + config.canvas, *loaded_.kernels)));
      caches[row]->Reset(static_cast<int64_t>(padding));
      noises.push_back(std::make_unique<RecordedNoise>(
          *RecordedNoise::Read(files, static_cast<int64_t>(row), config.canvas, config.vocab)));
      soft.push_back(*loaded_.kernels->Allocate(SoftBytes(config)));
      comparers.push_back(
          std::make_unique<StepComparer>(golden, row, options.generate.steps, FirstEntropyBound(config)));
      GenerationPlan plan;
      plan.model = loaded_.model.get();
      plan.cache = caches[row].get();
      plan.prompt = std::span(prompt).subspan(row * length + padding, length - padding);
      plan.noise = noises[row].get();
      plan.observer = comparers[row].get();
      plan.options = options.generate;
      plan.commit = commit;
      plan.chunk_rows = chunk;
      plan.soft_memory = {soft[row].Floats(), config.canvas, config.width, config.width};
      const std::vector<int32_t> start =
          golden.Has("start_canvas") ? golden.Ids("start_canvas") : std::vector<int32_t>{};
      start_canvas_ = start;
      plan.start_canvas = start_canvas_;
      stories.push_back(GenerateByDiffusion(plan, results[row]));
    }
    Drive(*runner, stories, {});

    const std::vector<int32_t> sequences = golden.Ids("sequences");
    const std::vector<float> tokens_per_forward = golden.Floats("tokens_per_forward");
    const size_t total = static_cast<size_t>(golden.Shape("sequences")[1]);
    const auto canvas_count = static_cast<int64_t>(total - length) / config.canvas;
    for (size_t row = 0; row < batch; ++row) {
      ASSERT_TRUE(stories[row].outcome()) << stories[row].outcome().error().message;
      const TransformersRow shaped =
          AsTransformers(comparers[row]->canvases, canvas_count, config.canvas, options.generate.stop_tokens,
                         options.pad, results[row].denoise_passes);
      EXPECT_EQ(shaped.new_tokens, std::vector<int32_t>(sequences.begin() + static_cast<int64_t>(row * total + length),
                                                        sequences.begin() + static_cast<int64_t>((row + 1) * total)));
      EXPECT_FLOAT_EQ(static_cast<float>(shaped.tokens_per_forward), tokens_per_forward[row]);
      EXPECT_EQ(results[row].commit_passes > 0, commit == CommitMode::kSeparate && comparers[row]->canvases.size() > 1);
      EXPECT_GT(comparers[row]->steps, 0);
    }
  }

  std::string folder_;
  TestModel loaded_;
  std::vector<int32_t> start_canvas_;
};

TEST_P(RecordedGenerationTest, OneRowMergedCommit) { Replay("generate", CommitMode::kMerged); }
TEST_P(RecordedGenerationTest, OneRowSeparateCommit) { Replay("generate", CommitMode::kSeparate); }
TEST_P(RecordedGenerationTest, PaddedBatchWithEarlyStopAndEndOfText) { Replay("generate_batch", CommitMode::kMerged); }
TEST_P(RecordedGenerationTest, PaddedBatchSeparateCommit) { Replay("generate_batch", CommitMode::kSeparate); }
TEST_P(RecordedGenerationTest, GivenStartCanvas) {
  if (!HasGolden(folder_ + "generate_start.safetensors")) GTEST_SKIP() << "no recording";
  Replay("generate_start", CommitMode::kMerged);
}

INSTANTIATE_TEST_SUITE_P(Float32, RecordedGenerationTest,
                         testing::Values(RecordedCase{"alternating-f32", "golden", TestBackend::kRefF32},
                                         RecordedCase{"alternating-f32", "golden", TestBackend::kCpu},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kRefF32},
                                         RecordedCase{"fivetoone-bf16", "golden-f32", TestBackend::kCpu}),
                         CaseName);

}  // namespace
}  // namespace dgemma::test
