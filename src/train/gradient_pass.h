// From noisy examples to losses and gradients: the passes without gradient that supply self-conditioning, the trained pass over
// clean texts (encoder) and noisy canvases (decoder), the two cross-entropies, and the way back. The objective is docs/TRAINING.md's.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "train/examples.h"
#include "train/train_pass.h"

namespace dgemma {

struct ObjectiveOptions {
  float diffusion_weight = 1;
  float next_token_weight = 1;
  int feedback_passes = 1;  ///< passes without gradient before the trained one, each reading the last one's prediction
};

/// Largest pass that a GradientPass runs.
struct TrainLimits {
  int64_t rows = 0;      ///< clean rows and canvas rows of all examples together
  int64_t canvases = 0;  ///< of all examples together
  int64_t examples = 0;
  int64_t tokens = 0;  ///< clean tokens of one example
};

/// Losses of one example: means over the rows that have a target, nats; 0 where there is none.
struct ExampleLoss {
  double diffusion = 0;
  double next_token = 0;
  int64_t canvas_rows = 0;     ///< with a target
  int64_t canvas_correct = 0;  ///< of those, where the target is the most likely id
};

class GradientPass {
 public:
  /// `model` and `kernels` must outlive this; `kernels` trains for model.kernels.
  static Result<std::unique_ptr<GradientPass>> Create(const Model& model, TrainKernels& kernels,
                                                      const TrainLimits& limits);
  static int64_t PlannedBytes(const Config& config, const TrainLimits& limits);

  const TrainLimits& limits() const { return limits_; }

  /// Adds share * d(sum over examples of weighted losses) to `gradients`; absent gradients stay frozen. `gradients` null: losses
  /// only. kResourceExhausted beyond the limits; kInternal, naming the example by its index here, when a loss is not finite.
  Result<std::vector<ExampleLoss>> Run(std::span<const TrainExample> examples, const ObjectiveOptions& objective,
                                       float share, const Weights* gradients);

 private:
  GradientPass(const Model& model, TrainKernels& kernels, TrainPass pass)
      : model_(model), kernels_(kernels), train_pass_(std::move(pass)) {}

  Result<void> CheckLimits(std::span<const TrainExample> examples) const;
  /// Fills soft_ and first_hidden_ for the canvases of examples that ask for it.
  Result<void> RunFirstPasses(std::span<const TrainExample> examples, int passes);
  /// Segments of one example: its clean text up to `clean_tokens`, then its canvases, the first of them canvas number `canvas` of all.
  void AddSegments(const TrainExample& example, int64_t sequence, int64_t clean_tokens, int64_t canvas,
                   HiddenRows clean_hidden, std::vector<Segment>& segments);
  Matrix CanvasRows(const Buffer& buffer, int64_t canvas) const;
  Result<std::vector<ExampleLoss>> SumLosses(std::span<const TrainExample> examples, bool next_token) const;

  const Model& model_;
  TrainKernels& kernels_;
  TrainPass train_pass_;
  TrainLimits limits_;
  std::vector<KvCache> caches_;  // of every example
  Activations activations_;
  Buffer soft_memory_, first_hidden_memory_, dhidden_memory_;
  std::vector<bool> has_soft_;  // of every canvas
  std::unique_ptr<HeadScratch> head_scratch_;
  std::vector<HeadRow> head_rows_;
  std::vector<LossRow> loss_rows_;
  std::vector<int32_t> target_;
  std::vector<float> weight_;
};

}  // namespace dgemma
