// The story of a training step: which examples come next, their noise, passes that add their gradients, the optimiser's step.
// Everything that a step depends on is the weights, the moments and one integer, so a run that was stopped goes on bit by bit as if
// it had not been.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "train/dataset.h"
#include "train/gradient_pass.h"
#include "train/noise.h"
#include "train/optimizer.h"
#include "train/packing.h"

namespace dgemma {

struct TrainOptions {
  int64_t steps = 1000;
  int64_t batch = 8;  ///< examples of one step
  int64_t pass_rows =
      2048;  ///< rows of one pass at most, unless a single example has more; a step runs as many passes as it takes
  uint64_t seed = 0;
  Order order = Order::kShuffled;
  Schedule schedule;  ///< its `steps` is set to `steps`
  OptimizerOptions optimizer;
  ObjectiveOptions objective;
  TargetOptions targets;
  NoiseOptions noise;
  ExampleOptions examples;
};

/// kInvalidArgument, naming the field.
Result<void> CheckTrainOptions(const TrainOptions& options);

/// The largest pass that such a run has.
TrainLimits LimitsOf(const TrainOptions& options);

/// Correct and all canvas rows that had a target, by task.
struct TaskRows {
  int64_t rows = 0;
  int64_t correct = 0;
};

struct StepReport {
  int64_t step = 0;           ///< from 0
  double diffusion_loss = 0;  ///< means over the examples, nats
  double next_token_loss = 0;
  double gradient_norm = 0;  ///< before clipping
  double rate = 0;
  int64_t rows = 0;  ///< clean rows and canvas rows, first passes not counted
  std::map<std::string, TaskRows> tasks;
};

class Trainer {
 public:
  /// `model`'s weights are trained in place; those that `trained` does not name stay as they are. All references must outlive this.
  /// `noise`: nullptr draws from options.seed.
  static Result<std::unique_ptr<Trainer>> Create(const Model& model, TrainKernels& kernels,
                                                 const ExampleSource& examples, const TrainOptions& options,
                                                 const ListTrained& trained,
                                                 std::unique_ptr<TrainNoise> noise = nullptr);
  /// Bytes that Create allocates when weights of `trained_bytes` are trained.
  static int64_t PlannedBytes(const Config& config, int64_t trained_bytes, const TrainOptions& options);

  /// The next step. kCancelled between passes when `stop` was requested: nothing has changed then. kInternal when a loss or a
  /// gradient is not finite, naming the step.
  Result<StepReport> Step(std::stop_token stop = {});
  /// Losses of `count` examples from `first` on, as given, with the noise of step `step`; weights stay as they are.
  Result<StepReport> Evaluate(const ExampleSource& examples, int64_t first, int64_t count, int64_t step);

  int64_t steps_taken() const { return optimizer_.steps_taken(); }
  Optimizer& optimizer() { return optimizer_; }
  const TrainOptions& options() const { return options_; }

 private:
  Trainer(const ExampleSource& examples, const TrainOptions& options, Optimizer optimizer)
      : examples_(examples), options_(options), optimizer_(std::move(optimizer)) {}

  Result<void> RunPasses(std::span<const TrainExample> examples, const Weights* gradients, std::stop_token stop,
                         StepReport& report);

  const ExampleSource& examples_;
  TrainOptions options_;
  Optimizer optimizer_;
  std::unique_ptr<TrainNoise> noise_;
  std::unique_ptr<GradientPass> pass_;
};

}  // namespace dgemma
