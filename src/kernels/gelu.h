// The activation of the model and its derivative in double precision: gelu in its tanh form. Backends with vector units have their
// own version.
#pragma once

#include <cmath>

namespace dgemma {

/// 0.5 v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))). "gelu_pytorch_tanh" in the configuration.
inline double GeluTanh(double v) {
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  return 0.5 * v * (1.0 + std::tanh(kSqrtTwoOverPi * (v + 0.044715 * v * v * v)));
}

/// Derivative of GeluTanh: with t the tanh of u(v), 0.5 (1 + t) + 0.5 v (1 - t^2) u'(v).
inline double GeluTanhDerivative(double v) {
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  const double t = std::tanh(kSqrtTwoOverPi * (v + 0.044715 * v * v * v));
  return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * kSqrtTwoOverPi * (1.0 + 3 * 0.044715 * v * v);
}

}  // namespace dgemma
