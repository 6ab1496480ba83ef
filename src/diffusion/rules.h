// The three rules of denoising, each on its own: how the temperature falls, which tokens are accepted, when a canvas is done.
// Numbers follow Transformers' generation_diffusion_gemma.py, including where it computes in float32.
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

}  // namespace dgemma
