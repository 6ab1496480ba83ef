// Where the noise of training is drawn: TrainNoise gives every random choice that is made about an example in a step,
// and MakeTrainExample puts them together. In use the draws are keyed; tests replay recorded ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "train/examples.h"

namespace dgemma {

/// Where a draw belongs: the optimiser step from 0 and the number of the example among those of the step. Gradient
/// accumulation, packing, threads and resuming do not change either.
struct DrawPlace {
  int64_t step = 0;
  int64_t example = 0;
};

/// A row of a canvas. `canvas` counts the canvases of the example from 0 over all its answers.
struct CanvasRow {
  int64_t canvas = 0;
  int64_t row = 0;          ///< in [0, canvas_rows)
  int64_t canvas_rows = 0;  ///< C
};

/// Which canvases of an example a step trains on: one, chosen uniformly, or all in one pass.
enum class CanvasesTrained : uint8_t { kOne, kAll };

/// Which losses have the end-of-text ids behind an answer's end as targets.
enum class FillTargets : uint8_t { kBoth, kCanvas, kNone };

/// What the next-token part learns: the whole text, or the answers; with the last fill if FillTargets says so.
enum class NextTokenTargets : uint8_t { kText, kAnswers };

/// What of an example is trained on.
struct TargetOptions {
  CanvasesTrained canvases = CanvasesTrained::kOne;
  FillTargets fill = FillTargets::kBoth;
  NextTokenTargets next_token = NextTokenTargets::kText;
};

/// Every random choice about one example.
class TrainNoise {
 public:
  virtual ~TrainNoise() = default;
  /// t in [0, 1]: the probability that a position is replaced.
  virtual double Level(DrawPlace place) const = 0;
  /// The one canvas to train on, in [0, canvases).
  virtual int64_t Canvas(DrawPlace place, int64_t canvases) const = 0;
  /// Whether a first pass feeds the trained one.
  virtual bool SelfCondition(DrawPlace place) const = 0;
  /// Id to put at `row`, where the clean id is `clean`.
  virtual int32_t Corrupt(DrawPlace place, CanvasRow row, int32_t clean, double level) const = 0;
};

/// Ranges of the random choices.
struct NoiseOptions {
  double t_min = 1e-4, t_max = 1 - 1e-4;  ///< t is uniform between them; 0 <= t_min <= t_max <= 1
  double self_condition = 0.5;            ///< probability of a first pass; 0..1
  int64_t vocab = 0;                      ///< V: replacements are uniform in [0, V), control tokens included
};

/// kInvalidArgument names the field.
Result<void> CheckNoiseOptions(const NoiseOptions& options);

/// Draws keyed by (seed, step, example, row, purpose): t ~ U(t_min, t_max), the canvas uniform, each row replaced with
/// probability t by a uniform id, which may be the clean one.
class SeededTrainNoise final : public TrainNoise {
 public:
  SeededTrainNoise(uint64_t seed, const NoiseOptions& options) : seed_(seed), options_(options) {}

  double Level(DrawPlace place) const override;
  int64_t Canvas(DrawPlace place, int64_t canvases) const override;
  bool SelfCondition(DrawPlace place) const override;
  int32_t Corrupt(DrawPlace place, CanvasRow row, int32_t clean, double level) const override;

 private:
  uint64_t seed_;
  NoiseOptions options_;
};

/// The choices about one example as another trainer made them.
struct RecordedDraws {
  double level = 0;
  int64_t canvas = 0;
  bool self_condition = false;
  std::vector<int32_t> noisy;  ///< ids of the trained canvases one after the other, C each
};

/// Replays draws[step * examples_per_step + example], for comparing with another trainer. Every place that is asked for
/// must have been recorded, with one canvas (CanvasesTrained::kOne) or with all.
class RecordedTrainNoise final : public TrainNoise {
 public:
  RecordedTrainNoise(std::vector<RecordedDraws> draws, int64_t examples_per_step, CanvasesTrained canvases)
      : draws_(std::move(draws)), examples_per_step_(examples_per_step), canvases_(canvases) {}

  double Level(DrawPlace place) const override { return At(place).level; }
  int64_t Canvas(DrawPlace place, int64_t) const override { return At(place).canvas; }
  bool SelfCondition(DrawPlace place) const override { return At(place).self_condition; }
  int32_t Corrupt(DrawPlace place, CanvasRow row, int32_t clean, double level) const override;

 private:
  const RecordedDraws& At(DrawPlace place) const {
    return draws_[static_cast<size_t>(place.step * examples_per_step_ + place.example)];
  }

  std::vector<RecordedDraws> draws_;
  int64_t examples_per_step_;
  CanvasesTrained canvases_;
};

/// The example as one step sees it. Canvas k of an answer [b, e) stands at b + k * C and holds the answer's tokens from
/// there, then end-of-text ids up to C. The clean text gets the fill of the last answer only: behind an earlier one
/// comes the next turn. Clean rows that no canvas sees and that have no target, nor any row behind them, are left out:
/// the encoder is causal, so nothing depends on them.
TrainExample MakeTrainExample(const Example& example, const ExampleOptions& shape, const TargetOptions& targets,
                              const TrainNoise& noise, DrawPlace place);

}  // namespace dgemma
