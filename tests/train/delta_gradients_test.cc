// Gradients of deltas in a whole training pass, against those of the weights they change: with W' = W + scale up down, dup = scale dW' down^T
// and ddown = scale up^T dW'. The right sides come from the same model with the deltas added to its weights, whose gradients
// recorded_gradients_test.cc compares with Transformers.
#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/ref/ref_train_kernels.h"
#include "support/golden.h"
#include "support/random_delta.h"
#include "train/gradient_pass.h"

namespace dgemma::test {
namespace {

constexpr int64_t kRank = RandomDelta::kRank;

std::vector<float> Unpacked(const TrainKernels& kernels, const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.count * weight.out * weight.in));
  for (int64_t row = 0; row < weight.count * weight.out; ++row) {
    kernels.Unpack(weight, row / weight.out, row % weight.out,
                   std::span(values).subspan(static_cast<size_t>(row * weight.in), static_cast<size_t>(weight.in)));
  }
  return values;
}

class DeltaGradientsTest : public testing::TestWithParam<TestBackend> {};

TEST_P(DeltaGradientsTest, AreThoseOfTheSumOfWeights) {
  const Golden golden("alternating-f32/golden/training.safetensors");
  TestModel loaded = TestModel::Load(GoldenRoot() + "/alternating-f32", GetParam());
  const Config& config = loaded.config();
  Kernels& forward = *loaded.kernels;
  const std::unique_ptr<TrainKernels> kernels =
      GetParam() == TestBackend::kCpu ? MakeCpuTrainKernels(forward) : MakeRefTrainKernels({});
  Weights with = loaded.model->weights, sum = with, with_gradients, sum_gradients;
  const auto of_with = NameWeights(config, with), of_sum = NameWeights(config, sum),
             of_with_gradients = NameWeights(config, with_gradients),
             of_sum_gradients = NameWeights(config, sum_gradients);
  std::mt19937 engine(1);
  std::vector<size_t> changed;
  for (size_t i = 0; i < of_with.size(); ++i) {
    if (!MayHaveDelta(of_with[i].spec.role)) continue;
    Weight& w = *of_with[i].weight;
    const RandomDelta random(w, engine);
    *of_sum[i].weight = random.PackedSum(forward, Unpacked(*kernels, w));
    const auto delta = std::make_shared<LowRank>(random.Packed(forward));
    auto gradient = std::make_shared<LowRank>();
    gradient->down = *kernels->MakeGradient(delta->down);
    gradient->up = *kernels->MakeGradient(delta->up);
    *of_sum_gradients[i].weight = *kernels->MakeGradient(w);
    of_with_gradients[i].weight->low_rank = gradient;
    w.low_rank = delta;
    changed.push_back(i);
  }

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
  const TrainLimits limits{example.rows(), 1, 1, static_cast<int64_t>(example.clean.size())};
  const auto run = [&](const Weights& weights, const Weights& gradients) {
    const Model model = MakeModel(config, weights, forward);
    auto pass = *GradientPass::Create(model, *kernels, limits);
    const auto losses = pass->Run(std::span(&example, 1), {}, 1.0f, &gradients);
    EXPECT_TRUE(losses) << losses.error().message;
    return losses->front().next_token + losses->front().diffusion;
  };
  EXPECT_NEAR(run(with, with_gradients), run(sum, sum_gradients), 1e-4);

  for (const size_t i : changed) {
    const Weight& w = *of_with[i].weight;
    const LowRank& gradient = *of_with_gradients[i].weight->low_rank;
    const std::vector<float> dw = Unpacked(*kernels, *of_sum_gradients[i].weight),
                             down = Unpacked(*kernels, w.low_rank->down), up = Unpacked(*kernels, w.low_rank->up),
                             ddown = Unpacked(*kernels, gradient.down), dup = Unpacked(*kernels, gradient.up);
    std::vector<double> expected_down(ddown.size(), 0.0), expected_up(dup.size(), 0.0);
    for (int64_t at = 0; at < std::ssize(dw); ++at) {
      const int64_t row = at / w.in, index = row / w.out;
      const double slope = static_cast<double>(RandomDelta::kScale) * static_cast<double>(dw[static_cast<size_t>(at)]);
      for (int64_t c = 0; c < kRank; ++c) {
        const auto in_up = static_cast<size_t>(row * kRank + c),
                   in_down = static_cast<size_t>((index * kRank + c) * w.in + at % w.in);
        expected_up[in_up] += slope * static_cast<double>(down[in_down]);
        expected_down[in_down] += slope * static_cast<double>(up[in_up]);
      }
    }
    const auto compare = [&](const std::vector<double>& expected, const std::vector<float>& actual, const char* what) {
      double largest = 0, worst = 0;
      for (size_t at = 0; at < expected.size(); ++at) {
        largest = std::max(largest, std::abs(expected[at]));
        worst = std::max(worst, std::abs(expected[at] - static_cast<double>(actual[at])));
      }
      EXPECT_GT(largest, 0) << of_with[i].spec.name << " " << what;
      // Both passes err by the roundings of a forward and a backward pass, 24 operations a layer each way with their sums.
      const double depth = 2 * 2 * 24 * static_cast<double>(config.layers.size() + 1);
      const double terms = static_cast<double>(std::max(config.width, config.hidden) + kRank);
      EXPECT_LE(worst, 0x1p-24 * std::sqrt(terms) * depth * largest) << of_with[i].spec.name << " " << what;
      std::printf("%-60s %-5s error %8.1e  largest %8.1e\n", of_with[i].spec.name.c_str(), what, worst, largest);
    };
    compare(expected_up, dup, "up");
    compare(expected_down, ddown, "down");
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, DeltaGradientsTest, testing::Values(TestBackend::kRefF32, TestBackend::kCpu),
                         BackendName);

}  // namespace
}  // namespace dgemma::test
