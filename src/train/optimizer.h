// AdamW over every trained weight: gradients, moments and average of each in the layout of the weight itself.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/train_kernels.h"
#include "train/trained_weights.h"

namespace dgemma {

struct OptimizerOptions {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float eps = 1e-8f;
  float decay = 0.01f;  ///< of matrices; vectors are not decayed
  float clip = 1.0f;    ///< largest norm of all gradients together; 0: none
  float average = 0;    ///< share of the old average kept by each step (EMA of the weights); 0: none
};

/// Rate over the run: linear from 0 over the warm-up, then constant, linear or cosine down to `end` of the peak.
enum class ScheduleKind : uint8_t { kConstant, kLinear, kCosine };
struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 1e-3;
  double end = 0.1;    ///< share of the peak at the last step
  int64_t warmup = 0;  ///< steps; step s of these runs at peak (s + 1) / warmup
  int64_t steps = 1;   ///< of the whole run

  /// Rate of step `step`, counted from 0.
  double Rate(int64_t step) const;
};

class Optimizer {
 public:
  /// Gradients and moments for the weights that `list` names. kInvalidArgument when one of them is not float32.
  static Result<Optimizer> Create(TrainKernels& kernels, const OptimizerOptions& options, const ListTrained& list);

  /// One weight that is trained. Moments and average are absent where options do not ask for them.
  struct Slot {
    TensorSpec spec;
    Weight weight;  ///< shares the memory of the model's
    Weight gradient, m, v, average;
  };
  std::span<const Slot> slots() const { return slots_; }
  /// Where passes add gradients; absent for frozen weights.
  const Weights& gradients() const { return gradients_; }
  int64_t values() const;
  /// Bytes that Create allocates for trained weights of `weight_bytes`.
  static int64_t PlannedBytes(int64_t weight_bytes, const OptimizerOptions& options) {
    return (options.average > 0 ? 4 : 3) * weight_bytes;
  }

  int64_t steps_taken() const { return steps_taken_; }
  /// Takes moments from a checkpoint: read(what, slot) gives "m" or "v" of a slot and, where averages are kept, "weight"; the weights as
  /// they are become the averages then. Nothing changes unless all can be read.
  Result<void> Restore(int64_t steps_taken,
                       const std::function<Result<Weight>(const std::string& what, const Slot& slot)>& read);

  /// One step with the gradients gathered since the last, which are cleared. Returns their norm before clipping.
  /// kInternal when it is not finite: nothing has changed then but the gradients, which are cleared.
  Result<double> Step(double rate);
  /// Whether all weights and moments are finite: what a checkpoint may hold.
  bool Finite() const;
  /// Forgets the gradients gathered since the last step.
  void ClearGradients();

 private:
  Optimizer(TrainKernels& kernels, const OptimizerOptions& options) : kernels_(kernels), options_(options) {}

  TrainKernels& kernels_;
  OptimizerOptions options_;
  int64_t steps_taken_ = 0;
  std::vector<Slot> slots_;
  Weights gradients_;
};

}  // namespace dgemma
