// Twenty steps of training, of all weights and of an adapter, against Transformers, PEFT and torch.optim.AdamW, on the same examples,
// noise, canvases and self-conditioning; and what a trainer promises whatever the numbers: going on from a checkpoint and other numbers of threads change no bit.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/ref/ref_train_kernels.h"
#include "model/adapter_files.h"
#include "support/golden.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace dgemma::test {
namespace {

constexpr int64_t kPrompt = 9, kBatch = 2, kSteps = 20;

/// The recorded examples, in their order.
class RecordedExamples final : public ExampleSource {
 public:
  explicit RecordedExamples(const Golden& golden)
      : tokens_(golden.Ids("clean")), length_(static_cast<int64_t>(golden.Shape("clean")[2])) {}
  int64_t size() const override { return std::ssize(tokens_) / length_; }
  Result<Example> Get(int64_t index) const override {
    Example example;
    example.tokens.assign(tokens_.begin() + index * length_, tokens_.begin() + (index + 1) * length_);
    example.answers.push_back({kPrompt, length_});
    return example;
  }

 private:
  std::vector<int32_t> tokens_;
  int64_t length_;
};

std::vector<RecordedDraws> Draws(const Golden& golden, int64_t canvas_rows) {
  const std::vector<int32_t> canvas = golden.Ids("canvas"), conditioned = golden.Ids("self_condition"),
                             noisy = golden.Ids("noisy");
  std::vector<RecordedDraws> draws;
  for (size_t i = 0; i < canvas.size(); ++i) {
    const auto begin = noisy.begin() + static_cast<int64_t>(i) * canvas_rows;
    draws.push_back({0, canvas[i], conditioned[i] != 0, {begin, begin + canvas_rows}});
  }
  return draws;
}

TrainOptions CurveOptions(const Config& config) {
  TrainOptions options;
  options.steps = kSteps;
  options.batch = kBatch;
  options.pass_rows = 64;
  options.order = Order::kAsGiven;
  options.schedule = {ScheduleKind::kCosine, 3e-4, 0.1, 3, kSteps};
  options.optimizer = {0.9f, 0.95f, 1e-3f, 0.1f, 1.0f, 0};
  options.examples = {config.canvas, kPrompt + 2 * config.canvas, 1};
  return options;
}

/// What is trained: all weights, or an adapter on frozen ones.
enum class Trains : uint8_t { kWeights, kAdapter };

std::string Alternating() { return GoldenRoot() + "/alternating-f32"; }

/// A model in training; `threads` for the CPU backend. `from`: the folder with the first values of what is trained.
struct Training {
  TestModel loaded;
  std::unique_ptr<TrainKernels> kernels;
  Golden golden{"alternating-f32/golden/curve.safetensors"};
  RecordedExamples examples{golden};
  Adapter adapter;
  std::unique_ptr<Trainer> trainer;

  explicit Training(TestBackend backend, int threads = 2, Trains trains = Trains::kWeights,
                    const std::string& from = "", float average = 0)
      : loaded(TestModel::Load(trains == Trains::kWeights && !from.empty() ? from : Alternating(), backend, threads)),
        kernels(backend == TestBackend::kCpu ? MakeCpuTrainKernels(*loaded.kernels) : MakeRefTrainKernels({})) {
    auto noise =
        std::make_unique<RecordedTrainNoise>(Draws(golden, loaded.config().canvas), kBatch, CanvasesTrained::kOne);
    Model& model = *loaded.model;
    ListTrained list = TrainWeights(model.config, model.weights);
    if (trains == Trains::kAdapter) {
      adapter = *ReadAdapter(from.empty() ? Alternating() + "/adapter" : from, model.config);
      const AppliedAdapter applied{&adapter, 1};
      if (!AttachAdapters({&applied, 1}, model.config, model.weights, *loaded.kernels)) std::abort();
      list = TrainAdapters(model.config, model.weights);
    }
    TrainOptions options = CurveOptions(loaded.config());
    options.optimizer.average = average;
    trainer = *Trainer::Create(model, *kernels, examples, options, list, std::move(noise));
  }
};

void ExpectCurve(Training& training, const Golden& curve) {
  // The same run in float64 shows what rounding does to this curve; float32 sums in another order may do that a few times over.
  constexpr double kRoundings = 8;
  double diffusion_drift = 0, next_token_drift = 0;
  for (size_t step = 0; step < kSteps; ++step) {
    const auto report = training.trainer->Step();
    ASSERT_TRUE(report) << report.error().message;
    const auto at = [&](const char* name) { return static_cast<double>(curve.Floats(name)[step]); };
    diffusion_drift = std::max(diffusion_drift, std::abs(at("diffusion") - at("diffusion_f64")));
    next_token_drift = std::max(next_token_drift, std::abs(at("next_token") - at("next_token_f64")));
    EXPECT_NEAR(report->diffusion_loss, at("diffusion"), 1e-5 + kRoundings * diffusion_drift) << "step " << step;
    EXPECT_NEAR(report->next_token_loss, at("next_token"), 1e-5 + kRoundings * next_token_drift) << "step " << step;
    if (step == 0) {
      EXPECT_NEAR(report->gradient_norm, at("norm"), 1e-4 * at("norm"));
    }
  }
}

class TrainingCurveTest : public testing::TestWithParam<TestBackend> {};

TEST_P(TrainingCurveTest, FollowsTransformersForTwentySteps) {
  Training training(GetParam());
  ExpectCurve(training, training.golden);
}

TEST_P(TrainingCurveTest, AnAdapterFollowsPeftForTwentySteps) {
  Training training(GetParam(), 2, Trains::kAdapter);
  ExpectCurve(training, Golden("alternating-f32/golden/lora_curve.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(Backends, TrainingCurveTest, testing::Values(TestBackend::kRefF32, TestBackend::kCpu),
                         BackendName);

std::vector<StepReport> TakeSteps(Trainer& trainer, int64_t steps) {
  std::vector<StepReport> reports;
  for (int64_t step = 0; step < steps; ++step) reports.push_back(*trainer.Step());
  return reports;
}

void ExpectSameBits(std::span<const StepReport> a, std::span<const StepReport> b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].diffusion_loss, b[i].diffusion_loss) << i;
    EXPECT_EQ(a[i].next_token_loss, b[i].next_token_loss) << i;
    EXPECT_EQ(a[i].gradient_norm, b[i].gradient_norm) << i;
  }
}

TEST(TrainerTest, ThreadsChangeNoBit) {
  Training one(TestBackend::kCpu, 1), three(TestBackend::kCpu, 3);
  ExpectSameBits(TakeSteps(*one.trainer, 6), TakeSteps(*three.trainer, 6));
}

TEST(TrainerTest, GoingOnFromACheckpointChangesNoBit) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("dgemma-curve-{}", getpid());
  Training whole(TestBackend::kCpu);
  const std::vector<StepReport> expected = TakeSteps(*whole.trainer, 10);
  const RunIdentity identity{7, 0, kBatch};
  std::filesystem::path checkpoint;
  {
    Training first(TestBackend::kCpu);
    TakeSteps(*first.trainer, 4);
    const CheckpointFiles files = *OpenCheckpoint(Alternating());
    const ModelBase base{files, *ReadTexts(files)};
    const auto saved = SaveCheckpoint(WriteModel(base, first.loaded.config(), *first.kernels),
                                      first.trainer->optimizer(), *first.kernels, identity, folder, 2);
    ASSERT_TRUE(saved) << saved.error().message;
    checkpoint = *NewestCheckpoint(folder);
    EXPECT_EQ(checkpoint.filename(), "step-000004");
  }
  Training second(TestBackend::kCpu, 2, Trains::kWeights, checkpoint.string());
  const auto loaded = LoadOptimizer(checkpoint, identity, *second.loaded.kernels, second.trainer->optimizer());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(second.trainer->steps_taken(), 4);
  ExpectSameBits(TakeSteps(*second.trainer, 6), std::span(expected).subspan(4));
  // Other data, another seed, another batch: refused, and nothing is taken over.
  for (const RunIdentity& other : {RunIdentity{8, 0, kBatch}, RunIdentity{7, 1, kBatch}, RunIdentity{7, 0, 3},
                                   RunIdentity{7, 0, kBatch, "other"}}) {
    EXPECT_FALSE(LoadOptimizer(checkpoint, other, *second.loaded.kernels, second.trainer->optimizer()));
    EXPECT_EQ(second.trainer->steps_taken(), 10);
  }
  // A folder whose name says another number of steps.
  std::filesystem::rename(checkpoint, folder / "step-000005");
  const auto renamed =
      LoadOptimizer(folder / "step-000005", identity, *second.loaded.kernels, second.trainer->optimizer());
  ASSERT_FALSE(renamed);
  EXPECT_NE(renamed.error().message.find("4, but the folder's name says 5"), std::string::npos)
      << renamed.error().message;
  std::filesystem::remove_all(folder);
}

TEST(TrainerTest, AnotherRecipeIsRefusedWithThePartThatDiffers) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("dgemma-recipe-{}", getpid());
  Training training(TestBackend::kCpu);
  const CheckpointFiles files = *OpenCheckpoint(Alternating());
  const ModelBase base{files, *ReadTexts(files)};
  const std::string same(200, 'x');
  const auto saved =
      SaveCheckpoint(WriteModel(base, training.loaded.config(), *training.kernels), training.trainer->optimizer(),
                     *training.kernels, {.recipe = same + ", rate 1, " + same}, folder, 2);
  ASSERT_TRUE(saved) << saved.error().message;
  const auto message = [&](const std::string& recipe) {
    const auto loaded =
        LoadOptimizer(*saved, {.recipe = recipe}, *training.loaded.kernels, training.trainer->optimizer());
    return loaded ? "" : loaded.error().message;
  };
  EXPECT_EQ(message(same + ", rate 1, " + same), "");
  EXPECT_NE(message(same + ", rate 2, " + same).find("\"rate 1\" then, \"rate 2\" now"), std::string::npos);
  EXPECT_NE(message(same + ", rate 1, " + same + ", adapter 4").find("nothing then, \"adapter 4\" now"),
            std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(TrainerTest, ARunThatAveragesSavesTheAverageAndGoesOnFromTheWeights) {
  constexpr float kKept = 0.75f;
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("dgemma-average-{}", getpid());
  const CheckpointFiles files = *OpenCheckpoint(Alternating());
  const ModelBase base{files, *ReadTexts(files)};
  const std::string name = "model.decoder.layers.0.self_attn.q_proj.weight";
  const auto values = [&](const CheckpointFiles& of) {
    const TensorBytes stored = *of.Tensor(name);
    std::vector<float> read(stored.bytes.size() / sizeof(float));
    std::memcpy(read.data(), stored.bytes.data(), stored.bytes.size());
    return read;
  };
  Training whole(TestBackend::kCpu, 2, Trains::kWeights, "", kKept);
  const Weight& q = whole.loaded.model->weights.layers[0].qkv.q;
  std::vector<float> first_average = values(files);
  std::vector<double> average(first_average.begin(), first_average.end());
  for (int step = 0; step < 4; ++step) {
    TakeSteps(*whole.trainer, 1);
    std::vector<float> row(static_cast<size_t>(q.in));
    for (int64_t out = 0; out < q.out; ++out) {
      whole.kernels->Unpack(q, 0, out, row);
      for (size_t in = 0; in < row.size(); ++in) {
        double& value = average[static_cast<size_t>(out) * row.size() + in];
        value += (1 - static_cast<double>(kKept)) * (static_cast<double>(row[in]) - value);
      }
    }
  }
  const WriteTrained write = WriteModel(base, whole.loaded.config(), *whole.kernels);
  ASSERT_TRUE(SaveCheckpoint(write, whole.trainer->optimizer(), *whole.kernels, {}, folder, 2));
  const std::filesystem::path checkpoint = *NewestCheckpoint(folder);
  const std::vector<float> saved = values(*OpenCheckpoint(checkpoint.string()));
  ASSERT_EQ(saved.size(), average.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    // Four updates, each rounded three times.
    EXPECT_NEAR(static_cast<double>(saved[i]), average[i], 12 * 6e-8 * (std::abs(average[i]) + 1e-3));
  }
  Training second(TestBackend::kCpu, 2, Trains::kWeights, checkpoint.string(), kKept);
  const auto loaded = LoadOptimizer(checkpoint, {}, *second.loaded.kernels, second.trainer->optimizer());
  ASSERT_TRUE(loaded) << loaded.error().message;
  const std::vector<StepReport> expected = TakeSteps(*whole.trainer, 6);
  ExpectSameBits(TakeSteps(*second.trainer, 6), expected);
  ASSERT_TRUE(SaveTrained(write, whole.trainer->optimizer(), folder / "whole"));
  ASSERT_TRUE(SaveTrained(WriteModel(base, second.loaded.config(), *second.kernels), second.trainer->optimizer(),
                          folder / "second"));
  EXPECT_EQ(values(*OpenCheckpoint((folder / "whole").string())),
            values(*OpenCheckpoint((folder / "second").string())));
  std::filesystem::remove_all(folder);
}

TEST(TrainerTest, AnAdapterGoesOnFromACheckpointAndChangesNoWeight) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("dgemma-lora-{}", getpid());
  Training whole(TestBackend::kCpu, 2, Trains::kAdapter);
  const Weights& weights = whole.loaded.model->weights;
  const auto base = [&] {
    const Weight& q = weights.layers[0].qkv.q;
    std::vector<float> values(static_cast<size_t>(q.in));
    whole.kernels->Unpack(q, 0, 1, values);
    return values;
  };
  const std::vector<float> before = base();
  const std::vector<StepReport> expected = TakeSteps(*whole.trainer, 10);
  EXPECT_EQ(base(), before);
  {
    Training first(TestBackend::kCpu, 1, Trains::kAdapter);
    TakeSteps(*first.trainer, 4);
    Model& model = *first.loaded.model;
    const auto saved =
        SaveCheckpoint(WriteTrainedAdapter(first.adapter, model.config, model.weights, *first.kernels, "the/model"),
                       first.trainer->optimizer(), *first.kernels, {.frozen = 5}, folder, 2);
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_EQ(OpenAdapter(*saved)->settings.base_model, "the/model");
  }
  const std::filesystem::path checkpoint = *NewestCheckpoint(folder);
  Training second(TestBackend::kCpu, 2, Trains::kAdapter, checkpoint.string());
  EXPECT_FALSE(LoadOptimizer(checkpoint, {.frozen = 6}, *second.loaded.kernels, second.trainer->optimizer()))
      << "other weights under the adapter";
  const auto loaded = LoadOptimizer(checkpoint, {.frozen = 5}, *second.loaded.kernels, second.trainer->optimizer());
  ASSERT_TRUE(loaded) << loaded.error().message;
  ExpectSameBits(TakeSteps(*second.trainer, 6), std::span(expected).subspan(4));
  std::filesystem::remove_all(folder);
}

TEST(TrainerTest, AResumedRunMayPruneTheCheckpointItCameFrom) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / fmt::format("dgemma-prune-{}", getpid());
  std::filesystem::path from = Alternating();
  for (int round = 0; round < 3; ++round) {  // each goes on from the one before, which the save removes
    Training training(TestBackend::kCpu, 2, Trains::kWeights, from.string());
    const CheckpointFiles files = *OpenCheckpoint(from);
    const ModelBase base{files, *ReadTexts(files)};
    if (round > 0) {
      ASSERT_TRUE(LoadOptimizer(from, {}, *training.loaded.kernels, training.trainer->optimizer()));
    }
    TakeSteps(*training.trainer, 1);
    const auto saved = SaveCheckpoint(WriteModel(base, training.loaded.config(), *training.kernels),
                                      training.trainer->optimizer(), *training.kernels, {}, folder, 1);
    ASSERT_TRUE(saved) << saved.error().message;
    from = *NewestCheckpoint(folder);
    EXPECT_EQ(from.filename(), fmt::format("step-{:06}", round + 1));
    EXPECT_TRUE(std::filesystem::exists(from / "config.json"));
  }
  std::filesystem::create_directory(folder / "step-000009.partial-1");
  RemovePartialCheckpoints(folder);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::filesystem::create_directory(folder / "checkpoint-500");
  RemoveCheckpoints(folder);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1) << "what is not the run's stays";
  std::filesystem::remove_all(folder);
}

TEST(TrainerTest, WeightsThatLeftTheNumbersAreNoticed) {
  Training training(TestBackend::kCpu);
  EXPECT_TRUE(training.trainer->optimizer().Finite());
  TakeSteps(*training.trainer, 1);
  EXPECT_TRUE(training.trainer->optimizer().Finite());
  training.trainer->optimizer().slots().front().weight.buffer.Floats()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(training.trainer->optimizer().Finite());
}

TEST(TrainerTest, ACancelledStepChangesNothing) {
  Training a(TestBackend::kCpu), b(TestBackend::kCpu);
  std::stop_source stop;
  stop.request_stop();
  const auto cancelled = a.trainer->Step(stop.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, StatusCode::kCancelled);
  EXPECT_EQ(a.trainer->steps_taken(), 0);
  ExpectSameBits(TakeSteps(*a.trainer, 3), TakeSteps(*b.trainer, 3));
}

TEST(ScheduleTest, WarmsUpAndFalls) {
  const Schedule cosine{ScheduleKind::kCosine, 2.0, 0.1, 4, 104};
  EXPECT_DOUBLE_EQ(cosine.Rate(0), 0.5);
  EXPECT_DOUBLE_EQ(cosine.Rate(3), 2.0);
  EXPECT_DOUBLE_EQ(cosine.Rate(4), 2.0);
  EXPECT_NEAR(cosine.Rate(103), 0.2, 1e-12);
  EXPECT_NEAR((Schedule{ScheduleKind::kLinear, 1.0, 0.0, 0, 101}.Rate(50)), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ((Schedule{ScheduleKind::kConstant, 1.0, 0.0, 0, 101}.Rate(100)), 1.0);
}

}  // namespace
}  // namespace dgemma::test
