// What the cases of train_cases.h are made of: random tensors, and the tensors of a case in a backend's memory. Used by
// the files that define cases only.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/double_ops.h"
#include "train_cases.h"

namespace dgemma::test {

inline Tensor RandomRows(int64_t rows, int64_t width, uint32_t seed, float deviation = 1.0f) {
  return {Tensor::Kind::kRows, 1, rows, width, Normals(rows * width, seed, deviation)};
}

/// Matrices that keep the size of values.
inline Tensor RandomMatrices(int64_t count, int64_t out, int64_t in, uint32_t seed) {
  return {Tensor::Kind::kMatrices, count, out, in, Normals(count * out * in, seed, UnitDeviation(in))};
}

/// Around 1, as norm weights are.
inline Tensor RandomVector(int64_t size, uint32_t seed) {
  Tensor tensor{Tensor::Kind::kVector, 1, 1, size, Normals(size, seed, 0.3f)};
  for (float& value : tensor.values) value += 1;
  return tensor;
}

inline std::vector<double> Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

inline size_t Size(int64_t value) { return static_cast<size_t>(value); }

/// The tensors of a case in a backend's memory, with their gradients.
class Operands {
 public:
  Operands(const TrainRun& run, const Tensors& tensors) : run_(run), tensors_(tensors) {}

  /// A weight; absent where the case has none of this name.
  Weight WeightOf(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return {};
    Weight& weight = weights_[name];
    if (weight.present()) return weight;
    const Tensor& tensor = found->second;
    const bool vector = tensor.kind == Tensor::Kind::kVector;
    const Stored stored(vector ? WeightType(DType::kF32) : run_.type, tensor.count, tensor.out, tensor.in,
                        tensor.values);
    Kernels& kernels = *run_.backend.forward;
    return weight = vector ? PackedVector(kernels, stored) : Packed(kernels, stored);
  }
  /// Its gradient; absent where weights are frozen.
  Weight GradientOf(const std::string& name) {
    if (!run_.trained || !tensors_.contains(name)) return {};
    Weight& gradient = gradients_[name];
    if (gradient.present()) return gradient;
    Result<Weight> made = run_.backend.train->MakeGradient(WeightOf(name));
    EXPECT_TRUE(made.has_value());
    return gradient = *made;
  }
  Rows Input(const std::string& name) const {
    const Tensor& tensor = tensors_.at(name);
    return {tensor.out, tensor.in, tensor.values};
  }
  /// The gradients of all weights, and those of rows that were kept.
  Gradients Collect() {
    for (const auto& [name, gradient] : gradients_) {
      std::vector<float> values(Size(gradient.count * gradient.out * gradient.in));
      if (tensors_.at(name).kind == Tensor::Kind::kVector) {
        std::copy_n(gradient.Vector(), gradient.in, values.begin());
      } else {
        for (int64_t row = 0; row < gradient.count * gradient.out; ++row) {
          run_.backend.train->Unpack(gradient, row / gradient.out, row % gradient.out,
                                     std::span(values).subspan(Size(row * gradient.in), Size(gradient.in)));
        }
      }
      results_[name] = {std::move(values), true};
    }
    return std::move(results_);
  }
  /// Memory for a gradient of rows that the operation overwrites (it starts as NaN), or adds to (it starts as 0).
  Matrix Overwritten(const std::string& name) { return Output(name, {}); }
  Matrix Added(const std::string& name) {
    const Tensor& tensor = tensors_.at(name);
    return Output(name, std::vector<float>(Size(tensor.out * tensor.in), 0.0f));
  }
  /// Keeps rows as the result `name`.
  void Keep(const std::string& name, Matrix rows, bool added) {
    if (rows.data == nullptr) return;
    std::vector<float> values;
    for (int64_t row = 0; row < rows.rows; ++row) values.insert(values.end(), rows.Row(row), rows.Row(row) + rows.cols);
    results_[name] = {std::move(values), added};
  }

 private:
  Matrix Output(const std::string& name, const std::vector<float>& start) {
    if (!run_.rows_wanted) return {};
    const Tensor& tensor = tensors_.at(name);
    outputs_.push_back(
        std::make_unique<Rows>(start.empty() ? Rows(tensor.out, tensor.in) : Rows(tensor.out, tensor.in, start)));
    return outputs_.back()->view;
  }

  const TrainRun& run_;
  const Tensors& tensors_;
  std::map<std::string, Weight> weights_, gradients_;
  std::vector<std::unique_ptr<Rows>> outputs_;
  Gradients results_;
};

inline std::string Label(const std::string& op, std::initializer_list<std::pair<const char*, int64_t>> sizes) {
  std::string label = op;
  for (const auto& [name, size] : sizes) label += std::string(" ") + name + " " + std::to_string(size);
  return label;
}

}  // namespace dgemma::test
