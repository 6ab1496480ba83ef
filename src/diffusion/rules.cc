// The rules of rules.h.
#include "diffusion/rules.h"

#include <algorithm>
#include <numeric>

namespace dgemma {

float TemperatureSchedule::At(int32_t step) const {
  const float remaining = static_cast<float>(steps - step) / static_cast<float>(steps);
  return static_cast<float>(t_min) + static_cast<float>(t_max - t_min) * remaining;
}

int64_t AcceptByEntropy(std::span<const float> entropy, double bound, std::span<uint8_t> accepted) {
  std::vector<int32_t> order(entropy.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const float ha = entropy[static_cast<size_t>(a)], hb = entropy[static_cast<size_t>(b)];
    return ha != hb ? ha < hb : a < b;
  });
  double running = 0;  // torch.cumsum adds float32 in double and stores float32
  int64_t count = 0;
  for (int32_t row : order) {
    const float h = entropy[static_cast<size_t>(row)];
    running += static_cast<double>(h);
    const float before = static_cast<float>(running) - h;
    accepted[static_cast<size_t>(row)] = before <= static_cast<float>(bound) ? 1 : 0;
    count += accepted[static_cast<size_t>(row)];
  }
  return count;
}

bool StopRule::Update(std::span<const int32_t> argmax, double mean_entropy) {
  const bool repeated = std::equal(argmax.begin(), argmax.end(), last_argmax_.begin(), last_argmax_.end());
  repeats_ = repeated ? repeats_ + 1 : 0;
  last_argmax_.assign(argmax.begin(), argmax.end());
  return repeats_ >= stability_ && mean_entropy < confidence_;
}

SettledRows::SettledRows(SkipRule rule, int64_t rows) : rule_(rule), agreeing_(static_cast<size_t>(rows), 0) {
  ComputeAll();
}

void SettledRows::ComputeAll() {
  computed_.resize(agreeing_.size());
  std::iota(computed_.begin(), computed_.end(), 0);
}

void SettledRows::Update(const StepFindings& found, NextPass next) {
  if (!rule_.on()) return;
  since_full_ = full() ? 0 : since_full_ + 1;
  for (const int32_t row : computed_) {
    const auto r = static_cast<size_t>(row);
    const bool same = agreeing_[r] > 0 && last_argmax_[r] == found.argmax[r];
    agreeing_[r] = found.entropy[r] >= rule_.entropy ? 0 : same ? agreeing_[r] + 1 : 1;
  }
  last_argmax_.assign(found.argmax.begin(), found.argmax.end());
  computed_.clear();
  for (size_t r = 0; r < agreeing_.size(); ++r) {
    if (found.accepted[r] == 0) agreeing_[r] = 0;
    if (agreeing_[r] < rule_.settled_steps) computed_.push_back(static_cast<int32_t>(r));
  }
  if (next == NextPass::kFull || since_full_ + 1 >= rule_.refresh_every || computed_.empty()) ComputeAll();
}

}  // namespace dgemma
