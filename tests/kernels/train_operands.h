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

/// Adds deltas to every matrix of a case.
inline void AddDeltas(const CaseDeltas& deltas, int64_t rows, uint32_t seed, TrainCase& c) {
  if (deltas.rank == 0) return;
  c.roles = CaseDeltas::Roles(rows);
  c.depth += deltas.rank;
  Tensors matrices;
  for (const auto& [name, tensor] : c.inputs) {
    if (tensor.kind != Tensor::Kind::kMatrices) continue;
    Tensor& down = matrices[name + ".down"] = RandomMatrices(tensor.count, deltas.rank, tensor.in, seed++);
    Tensor& up = matrices[name + ".up"] = RandomMatrices(tensor.count, tensor.out, deltas.rank, seed++);
    down.kind = up.kind = Tensor::Kind::kDeltas;
    if (!c.flat.contains(name)) continue;
    c.flat.insert(name + ".down");
    c.flat.insert(name + ".up");
  }
  c.inputs.merge(matrices);
  c.name += " rank " + std::to_string(deltas.encoder) + "+" + std::to_string(deltas.decoder) + "+" +
            std::to_string(deltas.rank - deltas.encoder - deltas.decoder);
}

/// out = x w^T in float64 for rows of `in` values with matrix `index` [out, in] of tensor `name`, deltas included. Rows are those of the
/// case from first_row on.
struct ExactProduct {
  const DoubleTensors& tensors;
  const CaseDeltas& deltas;
  int64_t first_row = 0;
  int64_t index = 0;

  exact::Values operator()(const exact::Values& x, const std::string& name, int64_t in, int64_t out) const {
    exact::Values y = exact::Linear(x, tensors.at(name), Size(in), Size(out), Size(index * out * in));
    if (deltas.rank == 0) return y;
    exact::Values u =
        exact::Linear(x, tensors.at(name + ".down"), Size(in), Size(deltas.rank), Size(index * deltas.rank * in));
    for (size_t i = 0; i < u.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / deltas.rank, column = static_cast<int64_t>(i) % deltas.rank;
      const bool counts = deltas.Counts(column, CaseDeltas::RoleOf(first_row + row));
      u[i] *= counts ? static_cast<double>(CaseDeltas::Scale(column)) : 0.0;
    }
    const exact::Values added =
        exact::Linear(u, tensors.at(name + ".up"), Size(deltas.rank), Size(out), Size(index * out * deltas.rank));
    for (size_t i = 0; i < y.size(); ++i) y[i] += added[i];
    return y;
  }
};

/// The tensors of a case in a backend's memory, with their gradients.
class Operands {
 public:
  Operands(const TrainRun& run, const Tensors& tensors, const CaseDeltas& deltas = {})
      : run_(run), tensors_(tensors), deltas_(deltas) {}

  /// A weight; absent where the case has none of this name.
  Weight WeightOf(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return {};
    Weight& weight = weights_[name];
    if (weight.present()) return weight;
    const Tensor& tensor = found->second;
    const bool vector = tensor.kind == Tensor::Kind::kVector;
    const Stored stored(tensor.kind == Tensor::Kind::kMatrices ? run_.type : WeightType(DType::kF32), tensor.count,
                        tensor.out, tensor.in, tensor.values);
    Kernels& kernels = *run_.backend.forward;
    weight = vector ? PackedVector(kernels, stored) : Packed(kernels, stored);
    if (deltas_.rank == 0 || tensor.kind != Tensor::Kind::kMatrices) return weight;
    auto delta = std::make_shared<LowRank>();
    delta->down = WeightOf(name + ".down");
    delta->up = WeightOf(name + ".up");
    for (int64_t column = 0; column < deltas_.rank; ++column) delta->scale.push_back(CaseDeltas::Scale(column));
    delta->encoder = deltas_.encoder;
    delta->decoder = deltas_.decoder;
    weights_[name].low_rank = delta;
    return weights_[name];
  }
  /// Its gradient; absent where weights are frozen, and with those of its deltas where they are trained.
  Weight GradientOf(const std::string& name) {
    if (!tensors_.contains(name)) return {};
    Weight gradient = run_.trained ? MadeGradient(name) : Weight{};
    if (deltas_.rank == 0 || tensors_.at(name).kind != Tensor::Kind::kMatrices || !run_.deltas_trained) return gradient;
    auto delta = std::make_shared<LowRank>();
    delta->down = MadeGradient(name + ".down");
    delta->up = MadeGradient(name + ".up");
    gradient.low_rank = delta;
    return gradient;
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
  Weight MadeGradient(const std::string& name) {
    Weight& gradient = gradients_[name];
    if (gradient.present()) return gradient;
    Result<Weight> made = run_.backend.train->MakeGradient(WeightOf(name));
    EXPECT_TRUE(made.has_value());
    return gradient = *made;
  }
  Matrix Output(const std::string& name, const std::vector<float>& start) {
    if (!run_.rows_wanted) return {};
    const Tensor& tensor = tensors_.at(name);
    outputs_.push_back(
        std::make_unique<Rows>(start.empty() ? Rows(tensor.out, tensor.in) : Rows(tensor.out, tensor.in, start)));
    return outputs_.back()->view;
  }

  const TrainRun& run_;
  const Tensors& tensors_;
  const CaseDeltas deltas_;
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
