// The optimiser's step in the reference backend: norms, AdamW and moving averages over all values of a weight.
#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/ref/ref_train_kernels.h"

namespace dgemma {
namespace {

std::span<float> Values(const Weight& weight) {
  return {weight.buffer.Floats(), static_cast<size_t>(weight.count * weight.out * weight.in)};
}

}  // namespace

double RefTrainKernels::SumSquares(const Weight& gradient) {
  double sum = 0;
  for (float value : Values(gradient)) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

void RefTrainKernels::Adam(const AdamStep& step, const Weight& gradient, const Weight& m, const Weight& v,
                           const Weight& weight) {
  const auto b1 = static_cast<double>(step.beta1), b2 = static_cast<double>(step.beta2);
  const auto rate = static_cast<double>(step.rate), decay = static_cast<double>(step.decay);
  for (size_t i = 0; i < Values(weight).size(); ++i) {
    const double g = static_cast<double>(Values(gradient)[i]) * static_cast<double>(step.grad_scale);
    const double first = b1 * static_cast<double>(Values(m)[i]) + (1 - b1) * g;
    const double second = b2 * static_cast<double>(Values(v)[i]) + (1 - b2) * g * g;
    const double root = std::sqrt(second / static_cast<double>(step.correction2)) + static_cast<double>(step.eps);
    const double change = rate * (first / static_cast<double>(step.correction1)) / root;
    Values(m)[i] = static_cast<float>(first);
    Values(v)[i] = static_cast<float>(second);
    Values(weight)[i] = static_cast<float>(static_cast<double>(Values(weight)[i]) * (1 - rate * decay) - change);
  }
}

void RefTrainKernels::Average(const Weight& value, float share, const Weight& average) {
  for (size_t i = 0; i < Values(value).size(); ++i) {
    const auto old = static_cast<double>(Values(average)[i]);
    Values(average)[i] =
        static_cast<float>(old + (static_cast<double>(Values(value)[i]) - old) * static_cast<double>(share));
  }
}

void RefTrainKernels::Clear(const Weight& gradient) { std::ranges::fill(Values(gradient), 0.0f); }

}  // namespace dgemma
