// The vocabulary side of the reference backend. It stores rows x vocabulary, which no other backend may.
#include <algorithm>
#include <cmath>

#include "base/finite.h"
#include "kernels/ref/ref_kernels.h"

namespace dgemma {
namespace {

struct RefHeadScratch final : HeadScratch {
  std::vector<float> probability;  // [R, V] f32, softmax of the tempered logits
  int64_t vocab = 0;
};

}  // namespace

std::unique_ptr<HeadScratch> RefKernels::MakeHeadScratch() { return std::make_unique<RefHeadScratch>(); }

void RefKernels::LogitsRow(const float* hidden, const Weight& table, float softcap, float* out) const {
  LinearRow(hidden, kAnyRole, table, 0, out);
  for (int64_t id = 0; id < table.out; ++id) {
    out[id] = static_cast<float>(std::tanh(static_cast<double>(out[id] / softcap))) * softcap;
  }
}

void RefKernels::SoftEmbedRow(const float* logits, const Weight& table, float scale, float* soft) const {
  const float max = *std::max_element(logits, logits + table.out);
  double sum = 0;
  for (int64_t id = 0; id < table.out; ++id) sum += std::exp(static_cast<double>(logits[id]) - max);
  std::vector<double> total(static_cast<size_t>(table.in), 0.0);
  for (int64_t id = 0; id < table.out; ++id) {
    const double p = static_cast<double>(Rounded(std::exp(static_cast<double>(logits[id]) - max) / sum));
    const float* embedding = table.Vector() + id * table.in;
    for (size_t i = 0; i < total.size(); ++i) total[i] += p * embedding[i];
  }
  for (size_t i = 0; i < total.size(); ++i) soft[i] = Rounded(static_cast<double>(Rounded(total[i]) * scale));
}

void RefKernels::Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
                         std::span<HeadRow> rows, Matrix soft) {
  auto& state = static_cast<RefHeadScratch&>(scratch);
  const auto vocab = static_cast<size_t>(table.out);
  state.vocab = table.out;
  state.probability.resize(static_cast<size_t>(hidden.rows) * vocab);
  std::vector<float> logits(vocab);
  for (int64_t row = 0; row < hidden.rows; ++row) {
    LogitsRow(hidden.Row(row), table, params.softcap, logits.data());
    for (float& value : logits) value /= params.temperature[static_cast<size_t>(row)];
    HeadRow& result = rows[static_cast<size_t>(row)];
    result.finite = AllFinite(logits);
    if (!result.finite) continue;
    const auto best = std::max_element(logits.begin(), logits.end());
    result.argmax = static_cast<int32_t>(best - logits.begin());
    result.max = *best;
    double sum = 0, weighted = 0;
    for (float value : logits) {
      const double e = std::exp(static_cast<double>(value) - result.max);
      sum += e;
      weighted += e * (static_cast<double>(value) - result.max);
    }
    result.entropy = static_cast<float>(std::log(sum) - weighted / sum);
    float* probability = state.probability.data() + static_cast<size_t>(row) * vocab;
    for (size_t id = 0; id < vocab; ++id) {
      probability[id] = static_cast<float>(std::exp(static_cast<double>(logits[id]) - result.max) / sum);
    }
    for (float& value : logits)
      value = Rounded(static_cast<double>(value));  // the model's dtype holds them between steps
    SoftEmbedRow(logits.data(), table, params.embed_scale, soft.Row(row));
  }
}

void RefKernels::Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
                        std::span<int32_t> ids) {
  const auto& state = static_cast<const RefHeadScratch&>(scratch);
  for (size_t i = 0; i < rows.size(); ++i) {
    const float* probability = state.probability.data() + static_cast<int64_t>(rows[i]) * state.vocab;
    double total = 0;
    for (int64_t id = 0; id < state.vocab; ++id) total += static_cast<double>(probability[id]);
    double cumulative = 0;
    int64_t id = 0;
    for (; id < state.vocab - 1; ++id) {
      cumulative += static_cast<double>(probability[id]);
      if (cumulative > uniform[i] * total) break;
    }
    ids[i] = static_cast<int32_t>(id);
  }
}

void RefKernels::Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) {
  for (int64_t row = 0; row < hidden.rows; ++row) LogitsRow(hidden.Row(row), table, softcap, out.Row(row));
}

void RefKernels::SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) {
  for (int64_t row = 0; row < logits.rows; ++row) SoftEmbedRow(logits.Row(row), table, scale, soft.Row(row));
}

}  // namespace dgemma
