// Losses over the vocabulary in the reference backend. It stores rows x vocabulary, which no other backend may.
#include <algorithm>
#include <cmath>

#include "base/finite.h"
#include "kernels/ref/train_row.h"

namespace dgemma {
namespace {

/// Softmax of softcapped logits: z as forward's Logits stores it, and what the gradient needs of it.
struct SoftmaxRow {
  SoftmaxRow(const std::vector<double>& raw, float softcap);

  std::vector<float> z;             ///< softcap tanh(raw / softcap)
  std::vector<double> slope;        ///< of z by raw: 1 - tanh^2
  std::vector<double> probability;  ///< softmax(z)
  double log_sum = 0;               ///< log sum exp(z)
};

SoftmaxRow::SoftmaxRow(const std::vector<double>& raw, float softcap) {
  for (double value : raw) {
    const double t = std::tanh(static_cast<double>(static_cast<float>(value) / softcap));
    z.push_back(static_cast<float>(t) * softcap);
    slope.push_back(1 - t * t);
  }
  const auto max = static_cast<double>(*std::ranges::max_element(z));
  double sum = 0;
  for (float value : z) {
    probability.push_back(std::exp(static_cast<double>(value) - max));
    sum += probability.back();
  }
  for (double& value : probability) value /= sum;
  log_sum = max + std::log(sum);
}

}  // namespace

void RefTrainKernels::CrossEntropy(Matrix hidden, const Weight& table, float softcap, std::span<const int32_t> target,
                                   std::span<const float> weight, std::span<LossRow> rows, Matrix dhidden,
                                   const Weight& dtable) {
  WeightSum sum(dtable);
  for (int64_t row = 0; row < hidden.rows; ++row) {
    const auto index = static_cast<size_t>(row);
    rows[index] = {};
    if (target[index] < 0) {
      if (dhidden.data != nullptr) std::fill_n(dhidden.Row(row), dhidden.cols, 0.0f);
      continue;
    }
    const auto wanted = static_cast<size_t>(target[index]);
    const std::vector<double> input = WidenedRow(hidden, row);
    const SoftmaxRow softmax(Product(input, kAnyRole, table, 0), softcap);
    rows[index].finite = AllFinite(softmax.z);
    rows[index].loss = static_cast<float>(softmax.log_sum - static_cast<double>(softmax.z[wanted]));
    rows[index].correct = std::ranges::max_element(softmax.z) - softmax.z.begin() == static_cast<int64_t>(wanted);
    std::vector<double> draw = softmax.probability;
    draw[wanted] -= 1;
    for (size_t id = 0; id < draw.size(); ++id) draw[id] *= static_cast<double>(weight[index]) * softmax.slope[id];
    if (dhidden.data == nullptr && !sum.base.wanted()) continue;
    const std::vector<double> dinput = ProductBackward(input, kAnyRole, table, 0, draw, sum);
    if (dhidden.data != nullptr) StoreRow(dinput, dhidden.Row(row));
  }
  sum.Store();
}

void RefTrainKernels::SoftEmbedBackward(Matrix hidden, const Weight& table, float softcap, float scale, Matrix dsoft,
                                        const Weight& dtable) {
  GradientSum sum(dtable);
  if (!sum.wanted()) return;
  for (int64_t row = 0; row < hidden.rows; ++row) {
    const SoftmaxRow softmax(Product(WidenedRow(hidden, row), kAnyRole, table, 0), softcap);
    const std::vector<double> gradient = WidenedRow(dsoft, row);
    for (int64_t id = 0; id < table.out; ++id) {
      const double p = static_cast<double>(scale) * softmax.probability[static_cast<size_t>(id)];
      for (size_t i = 0; i < gradient.size(); ++i) sum.Row(0, id)[i] += p * gradient[i];
    }
  }
  sum.Store();
}

}  // namespace dgemma
