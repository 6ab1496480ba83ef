// Slots in the order of the list of tensors; sums over them run in that order.
#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/try.h"

namespace dgemma {

double Schedule::Rate(int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (kind == ScheduleKind::kConstant || steps - 1 <= warmup) return peak;
  const double done = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(steps - 1 - warmup));
  const double left = kind == ScheduleKind::kLinear ? 1 - done : 0.5 * (1 + std::cos(std::numbers::pi * done));
  return peak * (end + (1 - end) * left);
}

Result<Optimizer> Optimizer::Create(TrainKernels& kernels, const OptimizerOptions& options, const ListTrained& list) {
  Optimizer made(kernels, options);
  for (TrainedWeight& trained : list(made.gradients_)) {
    const Weight& weight = *trained.weight;
    if (weight.format != kFloat32Weights)
      return Fail(StatusCode::kInvalidArgument, trained.spec.name + ": only float32 weights can be trained");
    Slot slot{std::move(trained.spec), weight, {}, {}, {}, {}};
    DG_TRY(slot.gradient, kernels.MakeGradient(weight));
    DG_TRY(slot.m, kernels.MakeGradient(weight));
    DG_TRY(slot.v, kernels.MakeGradient(weight));
    if (options.average > 0) {
      DG_TRY(slot.average, kernels.MakeGradient(weight));
      kernels.Average(weight, 1.0f, slot.average);
    }
    *trained.gradient = slot.gradient;
    made.slots_.push_back(std::move(slot));
  }
  return made;
}

int64_t Optimizer::values() const {
  int64_t values = 0;
  for (const Slot& slot : slots_) values += static_cast<int64_t>(slot.spec.Values());
  return values;
}

Result<void> Optimizer::Restore(int64_t steps_taken,
                                const std::function<Result<Weight>(const std::string& what, const Slot& slot)>& read) {
  std::vector<Slot> restored = slots_;
  std::vector<Weight> weights(slots_.size());
  for (size_t i = 0; i < restored.size(); ++i) {
    DG_TRY(restored[i].m, read("m", restored[i]));
    DG_TRY(restored[i].v, read("v", restored[i]));
    if (restored[i].average.present()) {
      DG_TRY(weights[i], read("weight", restored[i]));
    }
  }
  slots_ = std::move(restored);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!weights[i].present()) continue;
    const Weight& weight = slots_[i].weight;
    kernels_.Clear(slots_[i].average);
    kernels_.Average(weight, 1.0f, slots_[i].average);  // on zeros: a copy
    kernels_.Clear(weight);
    kernels_.Average(weights[i], 1.0f, weight);
  }
  steps_taken_ = steps_taken;
  return {};
}

bool Optimizer::Finite() const {
  return std::ranges::all_of(slots_, [&](const Slot& slot) {
    return std::isfinite(kernels_.SumSquares(slot.weight)) && std::isfinite(kernels_.SumSquares(slot.m)) &&
           std::isfinite(kernels_.SumSquares(slot.v));
  });
}

void Optimizer::ClearGradients() {
  for (const Slot& slot : slots_) kernels_.Clear(slot.gradient);
}

Result<double> Optimizer::Step(double rate) {
  double squares = 0;
  for (const Slot& slot : slots_) squares += kernels_.SumSquares(slot.gradient);
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) {
    ClearGradients();
    return Fail(StatusCode::kInternal, "the norm of the gradients is not finite");
  }
  ++steps_taken_;
  AdamStep step;
  step.rate = static_cast<float>(rate);
  step.beta1 = options_.beta1;
  step.beta2 = options_.beta2;
  step.eps = options_.eps;
  const auto correction = [&](float beta) {
    return static_cast<float>(1 - std::pow(static_cast<double>(beta), static_cast<double>(steps_taken_)));
  };
  step.correction1 = correction(options_.beta1);
  step.correction2 = correction(options_.beta2);
  // As torch.nn.utils.clip_grad_norm_.
  if (options_.clip > 0)
    step.grad_scale = static_cast<float>(std::min(1.0, static_cast<double>(options_.clip) / (norm + 1e-6)));
  for (const Slot& slot : slots_) {
    step.decay = slot.spec.role == TensorRole::kNorm ? 0 : options_.decay;
    kernels_.Adam(step, slot.gradient, slot.m, slot.v, slot.weight);
    kernels_.Clear(slot.gradient);
    if (options_.average > 0) kernels_.Average(slot.weight, 1 - options_.average, slot.average);
  }
  return norm;
}

}  // namespace dgemma
