// A step in four lines (Step), and the passes that an amount of examples needs.
#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

/// Rows that one example adds to a pass at most.
int64_t ExampleRows(const TrainOptions& options) {
  const int64_t canvases = options.targets.canvases == CanvasesTrained::kOne
                               ? 1
                               : CanvasesOf(options.examples.max_tokens, options.examples.canvas);
  return options.examples.max_tokens + canvases * options.examples.canvas;
}

Result<void> Require(bool holds, const char* field, const char* rule) {
  if (!holds) return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", field, rule));
  return {};
}

}  // namespace

TrainLimits LimitsOf(const TrainOptions& options) {
  TrainLimits limits;
  limits.rows = std::max(options.pass_rows, ExampleRows(options));
  limits.canvases = std::max<int64_t>(1, limits.rows / options.examples.canvas);
  // An example has one clean token and one canvas at least.
  limits.examples = std::clamp<int64_t>(limits.rows / (options.examples.canvas + 1), 1, options.batch);
  limits.tokens = options.examples.max_tokens;
  return limits;
}

Result<void> CheckTrainOptions(const TrainOptions& o) {
  const auto share = [](double value) { return value >= 0 && value < 1; };
  DG_CHECK_OK(Require(o.steps >= 1 && o.steps <= 100'000'000, "steps", "must be 1 to 100000000"));
  DG_CHECK_OK(Require(o.batch >= 1 && o.batch <= 1'048'576, "batch", "must be 1 to 1048576"));
  DG_CHECK_OK(Require(o.pass_rows >= 1 && o.pass_rows <= 1'048'576, "pass-rows", "must be 1 to 1048576"));
  DG_CHECK_OK(Require(o.schedule.peak > 0 && std::isfinite(o.schedule.peak), "rate", "must be above 0"));
  DG_CHECK_OK(Require(o.schedule.end >= 0 && o.schedule.end <= 1, "end-rate", "must be a share of the peak, 0 to 1"));
  DG_CHECK_OK(
      Require(o.schedule.warmup >= 0 && o.schedule.warmup <= o.steps, "warmup", "must be 0 to the number of steps"));
  DG_CHECK_OK(Require(share(o.optimizer.beta1) && share(o.optimizer.beta2), "betas", "must be 0 to below 1"));
  DG_CHECK_OK(Require(o.optimizer.eps > 0 && std::isfinite(o.optimizer.eps), "eps", "must be above 0"));
  DG_CHECK_OK(Require(o.optimizer.decay >= 0 && std::isfinite(o.optimizer.decay), "decay", "must be 0 or more"));
  DG_CHECK_OK(Require(o.optimizer.clip >= 0 && std::isfinite(o.optimizer.clip), "clip", "must be 0 or more"));
  DG_CHECK_OK(Require(share(o.optimizer.average), "ema", "must be 0 to below 1"));
  DG_CHECK_OK(Require(o.objective.diffusion_weight >= 0 && o.objective.next_token_weight >= 0 &&
                          o.objective.diffusion_weight + o.objective.next_token_weight > 0,
                      "loss weights", "must be 0 or more, one of them above 0"));
  DG_CHECK_OK(Require(o.objective.feedback_passes >= 1 && o.objective.feedback_passes <= 64, "feedback-passes",
                      "must be 1 to 64"));
  return CheckNoiseOptions(o.noise);
}

int64_t Trainer::PlannedBytes(const Config& config, int64_t trained_bytes, const TrainOptions& options) {
  return Optimizer::PlannedBytes(trained_bytes, options.optimizer) +
         GradientPass::PlannedBytes(config, LimitsOf(options));
}

Result<std::unique_ptr<Trainer>> Trainer::Create(const Model& model, TrainKernels& kernels,
                                                 const ExampleSource& examples, const TrainOptions& options,
                                                 const ListTrained& trained, std::unique_ptr<TrainNoise> noise) {
  TrainOptions checked = options;
  checked.schedule.steps = options.steps;
  checked.noise.vocab = model.config.vocab;
  DG_CHECK_OK(CheckTrainOptions(checked));
  DG_TRY(Optimizer optimizer, Optimizer::Create(kernels, options.optimizer, trained));
  std::unique_ptr<Trainer> made(new Trainer(examples, checked, std::move(optimizer)));
  DG_TRY(made->pass_, GradientPass::Create(model, kernels, LimitsOf(checked)));
  made->noise_ = noise != nullptr ? std::move(noise) : std::make_unique<SeededTrainNoise>(checked.seed, checked.noise);
  return made;
}

Result<void> Trainer::RunPasses(std::span<const TrainExample> examples, const Weights* gradients, std::stop_token stop,
                                StepReport& report) {
  const auto count = static_cast<double>(examples.size());
  std::vector<int64_t> rows;
  for (const TrainExample& example : examples) rows.push_back(example.rows());
  for (const std::vector<int64_t>& group : PackPasses(rows, options_.pass_rows)) {
    if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
    std::vector<TrainExample> members;
    for (const int64_t index : group) members.push_back(examples[static_cast<size_t>(index)]);
    DG_TRY(const std::vector<ExampleLoss> losses,
           pass_->Run(members, options_.objective, static_cast<float>(1 / count), gradients));
    for (size_t i = 0; i < members.size(); ++i) {
      report.diffusion_loss += losses[i].diffusion / count;
      report.next_token_loss += losses[i].next_token / count;
      report.rows += members[i].rows();
      TaskRows& task = report.tasks[members[i].task];
      task.rows += losses[i].canvas_rows;
      task.correct += losses[i].canvas_correct;
    }
  }
  return {};
}

Result<StepReport> Trainer::Step(std::stop_token stop) {
  StepReport report;
  report.step = optimizer_.steps_taken();
  report.rate = options_.schedule.Rate(report.step);
  std::vector<TrainExample> examples;
  for (int64_t i = 0; i < options_.batch; ++i) {
    const int64_t index = ExampleAt(report.step * options_.batch + i, examples_.size(), options_.seed, options_.order);
    DG_TRY(const Example example, examples_.Get(index));
    examples.push_back(MakeTrainExample(example, options_.examples, options_.targets, *noise_, {report.step, i}));
  }
  const auto at_step = [&](auto&& result) { return At(fmt::format("step {}", report.step), std::move(result)); };
  const Result<void> ran = RunPasses(examples, &optimizer_.gradients(), stop, report);
  if (!ran) {
    optimizer_.ClearGradients();
    return at_step(Result<StepReport>(std::unexpected(ran.error())));
  }
  DG_TRY(report.gradient_norm, at_step(optimizer_.Step(report.rate)));
  return report;
}

Result<StepReport> Trainer::Evaluate(const ExampleSource& source, int64_t first, int64_t count, int64_t step) {
  StepReport report;
  report.step = step;
  std::vector<TrainExample> examples;
  for (int64_t i = first; i < std::min(first + count, source.size()); ++i) {
    DG_TRY(const Example example, source.Get(i));
    examples.push_back(MakeTrainExample(example, options_.examples, options_.targets, *noise_, {step, i - first}));
  }
  DG_CHECK_OK(RunPasses(examples, nullptr, {}, report));
  return report;
}

}  // namespace dgemma
