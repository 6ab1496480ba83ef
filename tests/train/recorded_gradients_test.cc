// Losses and the gradient of every tensor against the recorded training example of Transformers: self-conditioned, both losses.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/ref/ref_train_kernels.h"
#include "support/golden.h"
#include "train/gradient_pass.h"
#include "train/optimizer.h"

namespace dgemma::test {
namespace {

/// Float32 sums in another order may err as much as those of Transformers (how far its float32 gradients are from float64 ones is
/// recorded for each tensor), and a few times that where single values were lucky there.
constexpr double kRoundings = 8;

class RecordedGradientsTest : public testing::TestWithParam<TestBackend> {};

TEST_P(RecordedGradientsTest, EveryTensorMatches) {
  const Golden golden("alternating-f32/golden/training.safetensors");
  TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", GetParam());
  const Config& config = loaded.config();
  const std::unique_ptr<TrainKernels> kernels =
      GetParam() == TestBackend::kCpu ? MakeCpuTrainKernels(*loaded.kernels) : MakeRefTrainKernels({});
  TrainExample example;
  example.clean = golden.Ids("clean");
  example.next_token.assign(example.clean.begin() + 1, example.clean.end());
  example.next_token.push_back(-1);
  TrainCanvas canvas;
  canvas.pos = golden.Ids("prompt_length")[0] + golden.Ids("canvas_index")[0] * config.canvas;
  canvas.noisy = golden.Ids("noisy");
  canvas.target.assign(example.clean.begin() + canvas.pos, example.clean.begin() + canvas.pos + config.canvas);
  example.canvases.push_back(canvas);
  example.self_condition = true;

  Optimizer optimizer = *Optimizer::Create(*kernels, {}, TrainWeights(config, loaded.model->weights));
  const TrainLimits limits{example.rows(), 1, 1, static_cast<int64_t>(example.clean.size())};
  auto pass = *GradientPass::Create(*loaded.model, *kernels, limits);
  const auto losses = pass->Run(std::span(&example, 1), {}, 1.0f, &optimizer.gradients());
  ASSERT_TRUE(losses) << losses.error().message;
  EXPECT_NEAR(losses->front().next_token, golden.Floats("ar_loss")[0], 1e-5);
  EXPECT_NEAR(losses->front().diffusion, golden.Floats("diffusion_loss")[0], 1e-5);

  size_t compared = 0;
  for (const Optimizer::Slot& slot : optimizer.slots()) {
    const std::string name = "grad." + slot.spec.name;
    ASSERT_TRUE(golden.Has(name)) << name;
    const Weight& gradient = slot.gradient;
    std::vector<float> actual(static_cast<size_t>(gradient.count * gradient.out * gradient.in));
    if (slot.spec.role == TensorRole::kNorm) {
      std::copy_n(gradient.Vector(), actual.size(), actual.begin());
    } else {
      for (int64_t row = 0; row < gradient.count * gradient.out; ++row) {
        kernels->Unpack(
            gradient, row / gradient.out, row % gradient.out,
            std::span(actual).subspan(static_cast<size_t>(row * gradient.in), static_cast<size_t>(gradient.in)));
      }
    }
    const std::vector<float> expected = golden.Floats(name);
    double largest = 0, worst = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
      worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i])));
    }
    const double rounding = static_cast<double>(golden.Floats("rounding." + slot.spec.name)[0]);
    EXPECT_LE(worst, kRoundings * std::max(rounding, 0x1p-24 * largest)) << name << ", largest value " << largest;
    ++compared;
  }
  EXPECT_EQ(compared, 88u);
}

INSTANTIATE_TEST_SUITE_P(Backends, RecordedGradientsTest, testing::Values(TestBackend::kRefF32, TestBackend::kCpu),
                         BackendName);

}  // namespace
}  // namespace dgemma::test
