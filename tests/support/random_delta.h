// Random deltas (LowRank) for tests of whole passes, and the weights that they make.
#pragma once

#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/tensor_list.h"

namespace dgemma::test {

/// Only linear layers have deltas.
inline bool MayHaveDelta(TensorRole role) {
  return role == TensorRole::kMatrix || role == TensorRole::kRouter || role == TensorRole::kExperts;
}

inline std::vector<float> RandomValues(int64_t count, float deviation, std::mt19937& engine) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

inline Weight PackFloats(Kernels& kernels, int64_t count, int64_t out, int64_t in, const std::vector<float>& values) {
  return *kernels.Pack(OneRun(DType::kF32, count, out, in, std::as_bytes(std::span(values))), kFloat32Weights);
}

/// A delta of a weight [count, out, in] that counts for both roles; it changes outputs by about a tenth.
struct RandomDelta {
  static constexpr int64_t kRank = 3;
  static constexpr float kScale = 0.5f;

  RandomDelta(const Weight& weight, std::mt19937& engine)
      : count(weight.count),
        out(weight.out),
        in(weight.in),
        down(RandomValues(count * kRank * in, 0.3f / std::sqrt(static_cast<float>(in)), engine)),
        up(RandomValues(count * out * kRank, 0.3f, engine)) {}

  LowRank Packed(Kernels& kernels) const {
    return {PackFloats(kernels, count, kRank, in, down), PackFloats(kernels, count, out, kRank, up),
            std::vector<float>(kRank, kScale)};
  }
  /// The plain values of the weight, W, with the delta: W + scale up down, rounded once.
  Weight PackedSum(Kernels& kernels, std::vector<float> values) const {
    for (int64_t at = 0; at < std::ssize(values); ++at) {
      const int64_t row = at / in, index = row / out;
      double added = 0;
      for (int64_t c = 0; c < kRank; ++c) {
        added += static_cast<double>(up[static_cast<size_t>(row * kRank + c)]) *
                 static_cast<double>(down[static_cast<size_t>((index * kRank + c) * in + at % in)]);
      }
      float& value = values[static_cast<size_t>(at)];
      value = static_cast<float>(static_cast<double>(value) + static_cast<double>(kScale) * added);
    }
    return PackFloats(kernels, count, out, in, values);
  }

  int64_t count, out, in;
  std::vector<float> down;  // [count, rank, in]
  std::vector<float> up;    // [count, out, rank]
};

}  // namespace dgemma::test
