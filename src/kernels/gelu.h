// The activation of the model in double precision: gelu in its tanh form. Backends with vector units have their own version.
#pragma once

#include <cmath>

namespace dgemma {

/// 0.5 v (1 + tanh(sqrt(2/pi) (v + 0.044715 v^3))). "gelu_pytorch_tanh" in the configuration.
inline double GeluTanh(double v) {
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  return 0.5 * v * (1.0 + std::tanh(kSqrtTwoOverPi * (v + 0.044715 * v * v * v)));
}

}  // namespace dgemma
