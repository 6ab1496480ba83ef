// The rules of denoising, each on its own: how the temperature falls, which tokens are accepted, when a canvas is done, and
// which rows a step may leave out. Numbers of the first three follow Transformers' generation_diffusion_gemma.py, including where it computes in float32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dgemma {

/// Temperature of each step. LinearTemperatureScheduleLogitsProcessor: with n steps remaining of N, t_min + (t_max - t_min) n / N;
/// the first step has t_max, the last one stays above t_min.
struct TemperatureSchedule {
  double t_min = 0.4, t_max = 0.8;
  int32_t steps = 48;

  /// `step` counts from 0.
  float At(int32_t step) const;
};

/// Which tokens are accepted. EntropyBoundSampler.accept_canvas (arXiv 2505.24857): from the most certain position on, accept while
/// the entropies of the positions before sum to at most `bound` nats. At least one position is accepted.
/// Equal entropies: lower row first. accepted[row] becomes 1 or 0; returns how many are accepted. Entropies must be finite.
int64_t AcceptByEntropy(std::span<const float> entropy, double bound, std::span<uint8_t> accepted);

/// When a canvas is done. StableAndConfidentStoppingCriteria: the argmax canvas equals each of the last `stability` ones (0: not
/// asked) and the mean entropy is below `confidence` nats.
class StopRule {
 public:
  StopRule(int32_t stability, double confidence) : stability_(stability), confidence_(confidence) {}

  /// Takes the result of one step; true when the canvas may stop here.
  bool Update(std::span<const int32_t> argmax, double mean_entropy);

 private:
  int32_t stability_;
  double confidence_;
  std::vector<int32_t> last_argmax_;  // of the previous step
  int32_t repeats_ = 0;               // how many previous steps in a row had last_argmax_
};

/// Leaving out settled rows, an approximation. A row is settled once `settled_steps` passes in a row that computed it accepted it with
/// the same argmax and an entropy below `entropy`; the last of them read an accepted token, so its keys and values are no noise's.
/// It stays settled until it is no longer accepted, or a pass that computes every row finds otherwise.
struct SkipRule {
  int32_t settled_steps = 0;  ///< 0: every pass computes every row
  int32_t refresh_every = 1;  ///< of this many passes at least one computes every row
  int32_t full_passes = 1;    ///< such passes in a row before a canvas may end early
  float entropy = 0.01f;      ///< nats

  bool on() const { return settled_steps > 0; }
};

/// What a step found, for all C rows of a canvas.
struct StepFindings {
  std::span<const int32_t> argmax;
  std::span<const uint8_t> accepted;
  std::span<const float> entropy;
};

enum class NextPass : uint8_t { kMaySkip, kFull };

/// Chooses the rows that each pass of a canvas computes.
class SettledRows {
 public:
  SettledRows(SkipRule rule, int64_t rows);

  /// Rows of the pass at hand, ascending; all of them in the first pass.
  std::span<const int32_t> computed() const { return computed_; }
  bool full() const { return computed_.size() == agreeing_.size(); }

  /// Takes the result of the pass at hand and chooses the rows of the next: the unsettled ones, or all.
  void Update(const StepFindings& found, NextPass next);

 private:
  void ComputeAll();

  SkipRule rule_;
  std::vector<int32_t> computed_;
  std::vector<int32_t> last_argmax_;
  std::vector<int32_t> agreeing_;  // passes in a row that computed this row, were sure of it and agreed on its argmax
  int32_t since_full_ = 0;         // passes since one that computed every row
};

}  // namespace dgemma
