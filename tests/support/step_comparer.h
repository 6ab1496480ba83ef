// Compares a generation with a recording of Transformers while it runs, step by step, for one row of the recorded batch.
#pragma once

#include <fmt/format.h>

#include <vector>

#include "engine/generate.h"
#include "support/golden.h"

namespace dgemma::test {

class StepComparer final : public GenerationObserver {
 public:
  /// Entropies are compared in the first step only: later ones carry the error of earlier steps (recorded_step_test checks those).
  StepComparer(const Golden& golden, size_t batch_row, int32_t max_steps, double entropy_bound)
      : golden_(golden), batch_row_(batch_row), max_steps_(max_steps), entropy_bound_(entropy_bound) {}

  void OnStep(const Canvas& canvas) override {
    const std::string at = fmt::format("canvas.{}.step.{}.", canvas.number(), canvas.steps_done() - 1);
    SCOPED_TRACE(fmt::format("row {} {}", batch_row_, at));
    ASSERT_TRUE(golden_.Has(at + "argmax")) << "Transformers had stopped before";
    const auto rows = std::ssize(canvas.tokens());
    const auto row_of = [&](const char* name) {
      const std::vector<int32_t> all = golden_.Ids(at + name);
      const auto begin = all.begin() + static_cast<int64_t>(batch_row_) * rows;
      return std::vector<int32_t>(begin, begin + rows);
    };
    EXPECT_EQ(std::vector<int32_t>(canvas.argmax().begin(), canvas.argmax().end()), row_of("argmax"));
    EXPECT_EQ(std::vector<int32_t>(canvas.accepted().begin(), canvas.accepted().end()), row_of("accepted"));
    EXPECT_EQ(std::vector<int32_t>(canvas.tokens().begin(), canvas.tokens().end()), row_of("current"));
    if (canvas.steps_done() == 1 && canvas.number() == 0) {
      const std::vector<float> entropy = golden_.Floats(at + "entropy");
      for (size_t i = 0; i < canvas.entropy().size(); ++i) {
        EXPECT_NEAR(canvas.entropy()[i], entropy[batch_row_ * canvas.entropy().size() + i], entropy_bound_);
      }
    }
    const bool frozen = golden_.Ids(at + "frozen")[batch_row_] != 0;
    EXPECT_EQ(canvas.done(), frozen || canvas.steps_done() == max_steps_);
    ++steps;
  }
  void OnTokens(std::span<const int32_t> canvas, std::span<const int32_t>) override {
    canvases.emplace_back(canvas.begin(), canvas.end());
  }

  int64_t steps = 0;
  std::vector<std::vector<int32_t>> canvases;

 private:
  const Golden& golden_;
  size_t batch_row_;
  int32_t max_steps_;
  double entropy_bound_;
};

/// Bound on the error of an entropy in the first step: V terms p log p of logits (at most `cap`) that carry the error of the network.
inline double FirstEntropyBound(const Config& config) {
  return 0x1p-24 * std::sqrt(static_cast<double>(config.width)) * 16.0 * static_cast<double>(config.layers.size()) *
         config.softcap;
}

}  // namespace dgemma::test
