// The trained model: its recorded generations step by step (real early stops) in float32, as they were recorded, and its accuracy
// by task, as it is (bfloat16), against what Transformers reaches on the same prompts in float32.
#include <boost/json/parse.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "dgemma/dgemma.h"
#include "engine/replay.h"
#include "support/golden.h"
#include "support/step_comparer.h"

namespace dgemma::test {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

boost::json::value ReadJson(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return boost::json::parse(text.str());
}

class StarterRecordingTest : public testing::TestWithParam<std::tuple<int, TestBackend>> {};

TEST_P(StarterRecordingTest, EveryStepIsThatOfTransformers) {
  const auto [number, backend] = GetParam();
  const std::string path = fmt::format("starter/case{}.safetensors", number);
  const Golden golden(path);
  const TestModel loaded = TestModel::LoadWidened(kStarter, backend);
  const Config& config = loaded.config();
  const auto files = *OpenSafetensors(GoldenRoot() + "/" + path);
  const auto noise = *RecordedNoise::Read(files, 0, config.canvas, config.vocab);
  const std::vector<int32_t> prompt = golden.Ids("prompt");
  StepComparer comparer(golden, 0, 48, FirstEntropyBound(config));
  KvCache cache = *KvCache::Create(config, 256, 64, *loaded.kernels);
  Buffer soft = *loaded.kernels->Allocate(SoftBytes(config));
  const auto runner = *PassRunner::Create(*loaded.model, 64 + config.canvas, 1);
  GenerationPlan plan;
  plan.model = loaded.model.get();
  plan.cache = &cache;
  plan.prompt = prompt;
  plan.noise = &noise;
  plan.observer = &comparer;
  plan.options.max_new_tokens = config.canvas;
  plan.options.stop_tokens = {1, 106, 50};
  plan.chunk_rows = 64;
  plan.soft_memory = {soft.Floats(), config.canvas, config.width, config.width};
  GenerationResult result;
  Story story = GenerateByDiffusion(plan, result);
  Drive(*runner, std::span(&story, 1), {});
  ASSERT_TRUE(story.outcome()) << story.outcome().error().message;

  const boost::json::value answers = ReadJson(GoldenRoot() + "/starter/answers.json");
  EXPECT_EQ(comparer.steps, answers.at(fmt::format("case{}", number)).at("steps").to_number<int64_t>());
  const std::vector<int32_t> sequences = golden.Ids("sequences");
  const TransformersRow shaped =
      AsTransformers(comparer.canvases, 1, config.canvas, plan.options.stop_tokens, 0, result.denoise_passes);
  EXPECT_EQ(shaped.new_tokens, std::vector<int32_t>(sequences.begin() + std::ssize(prompt), sequences.end()));
  EXPECT_FLOAT_EQ(static_cast<float>(shaped.tokens_per_forward), golden.Floats("tokens_per_forward")[0]);
}

INSTANTIATE_TEST_SUITE_P(Cases, StarterRecordingTest,
                         testing::Combine(testing::Range(0, 5),
                                          testing::Values(TestBackend::kRefF32, TestBackend::kCpu)),
                         [](const auto& instance) {
                           return fmt::format("case{}_{}", std::get<0>(instance.param),
                                              Name(std::get<1>(instance.param)));
                         });

TEST(StarterAccuracyTest, IsThatOfTransformersOnTheSamePrompts) {
  struct Task {
    double prompts = 0, right = 0, right_in_transformers = 0, steps = 0, steps_in_transformers = 0;
  };
  const boost::json::value recorded = ReadJson(DGEMMA_SOURCE_DIR "/tests/data/starter/accuracy.json");
  EngineOptions options;
  options.threads = 2;
  const auto engine = Engine::Load(kStarter, options);
  ASSERT_TRUE(engine) << engine.error().message;
  const auto session = (*engine)->NewSession();
  ASSERT_TRUE(session);
  std::map<std::string, Task> tasks;
  uint64_t seed = 0;
  for (const boost::json::value& item : recorded.at("answers").as_array()) {
    Request request;
    request.chat = {{"user", std::string(item.at("prompt").as_string()), ""}};
    request.options = (*engine)->Defaults();
    request.options.seed = seed++;
    const auto answer = (*session)->Generate(request);
    ASSERT_TRUE(answer) << answer.error().message;
    Task& task = tasks[std::string(item.at("task").as_string())];
    ++task.prompts;
    task.right += answer->text == std::string(item.at("expected").as_string());
    task.right_in_transformers += item.at("correct").as_bool();
    task.steps += static_cast<double>(answer->figures.denoise_passes);
    task.steps_in_transformers += item.at("steps").to_number<double>();
  }
  Task total;
  for (const auto& [name, task] : tasks) {
    std::printf("%-8s right %2.0f of %2.0f, Transformers %2.0f; steps %.2f, Transformers %.2f\n", name.c_str(),
                task.right, task.prompts, task.right_in_transformers, task.steps / task.prompts,
                task.steps_in_transformers / task.prompts);
    // Two runs with different draws: the difference of two binomial counts, three standard deviations, and one answer for p near 0 or 1.
    const double p = (task.right + task.right_in_transformers) / (2 * task.prompts);
    EXPECT_LE(std::abs(task.right - task.right_in_transformers), 3 * std::sqrt(2 * task.prompts * p * (1 - p)) + 1)
        << name;
    total.prompts += task.prompts;
    total.right += task.right;
    total.right_in_transformers += task.right_in_transformers;
  }
  EXPECT_EQ(tasks.size(), 8u);
  const double p = total.right_in_transformers / total.prompts;
  EXPECT_LE(std::abs(total.right - total.right_in_transformers), 3 * std::sqrt(2 * total.prompts * p * (1 - p)));
}

TEST(StarterAccuracyTest, LeavingOutSettledRowsLosesAtMostOnePoint) {
  struct Total {
    int64_t right = 0, rows = 0;
  };
  const boost::json::value recorded = ReadJson(DGEMMA_SOURCE_DIR "/tests/data/starter/accuracy.json");
  EngineOptions options;
  options.threads = 2;
  const auto engine = Engine::Load(kStarter, options);
  ASSERT_TRUE(engine) << engine.error().message;
  const auto session = (*engine)->NewSession();
  ASSERT_TRUE(session);
  Total exact, skipping;
  int64_t prompts = 0, equal = 0;
  for (const boost::json::value& item : recorded.at("answers").as_array()) {
    Request request;
    request.chat = {{"user", std::string(item.at("prompt").as_string()), ""}};
    request.options = (*engine)->Defaults();
    request.options.seed = static_cast<uint64_t>(prompts++);
    std::string exact_text;
    for (Total* total : {&exact, &skipping}) {
      request.options.skip.settled_steps = total == &skipping ? 2 : 0;
      const auto answer = (*session)->Generate(request);
      ASSERT_TRUE(answer) << answer.error().message;
      total->right += answer->text == std::string(item.at("expected").as_string());
      total->rows += answer->figures.denoise_rows;
      if (total == &exact)
        exact_text = answer->text;
      else
        equal += answer->text == exact_text;
    }
  }
  const double share = static_cast<double>(skipping.rows) / static_cast<double>(exact.rows);
  std::printf("right %lld exact, %lld skipping; %lld answers equal; %.0f %% of the rows\n",
              static_cast<long long>(exact.right), static_cast<long long>(skipping.right),
              static_cast<long long>(equal), 100 * share);
  EXPECT_GE(100 * skipping.right, 100 * exact.right - prompts) << "more than one point lost";
  EXPECT_LT(share, 0.75);
}

}  // namespace
}  // namespace dgemma::test
