// One canvas being denoised: its tokens, the soft embeddings it feeds back, and the step that turns predictions into the next
// canvas. It computes nothing of the network; the engine runs the passes and hands the head's rows back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dgemma/status.h"
#include "diffusion/noise.h"
#include "diffusion/rules.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace dgemma {

/// Bytes of the soft embeddings of one canvas: [C, D] float32.
constexpr int64_t SoftBytes(const Config& config) {
  return config.canvas * config.width * static_cast<int64_t>(sizeof(float));
}

/// The rules of one answer; chosen before, so that denoising has no options.
struct DenoiseRules {
  TemperatureSchedule schedule;
  double entropy_bound = 0.1;
  int32_t stability = 1;
  double confidence = 0.005;
};

/// Predictions for the rows of one canvas after a pass, and the head that can sample from them.
struct Predictions {
  Kernels* kernels = nullptr;
  HeadScratch* scratch = nullptr;
  int32_t first_row = 0;          ///< of this canvas in the head's rows
  std::span<const HeadRow> rows;  ///< [C]
  Matrix soft;                    ///< [C, D] soft embeddings of these predictions
};

class Canvas {
 public:
  /// `number` counts the canvases of an answer from 0; `soft_memory` [C, D] belongs to this canvas until it is done.
  /// `start` replaces the initial noise when given (C ids).
  Canvas(int32_t number, int64_t rows, const DenoiseRules& rules, const Noise& noise, Matrix soft_memory,
         std::span<const int32_t> start = {});

  std::span<const int32_t> tokens() const { return tokens_; }  ///< input of the next step
  std::span<const int32_t> argmax() const { return argmax_; }  ///< best guess so far; the result once done
  std::span<const uint8_t> accepted() const { return accepted_; }
  std::span<const float> entropy() const { return entropy_; }
  double mean_entropy() const { return mean_entropy_; }
  Matrix soft() const { return step_ == 0 ? Matrix{} : soft_; }  ///< self-conditioning input; no data in the first step
  int32_t number() const { return number_; }
  int32_t steps_done() const { return step_; }
  float temperature() const { return rules_.schedule.At(step_); }  ///< of the next step
  bool done() const { return done_; }

  /// One denoising step: accept, sample, renoise, stop test. kNonFinite, and nothing changes, when the predictions hold NaN or
  /// infinity.
  Result<void> Step(const Predictions& predictions);

 private:
  Result<void> ReadRows(const Predictions& predictions);
  void SampleAccepted(const Predictions& predictions);

  int32_t number_;
  DenoiseRules rules_;
  const Noise& noise_;
  StopRule stop_rule_;
  Matrix soft_;
  std::vector<int32_t> tokens_, argmax_;
  std::vector<uint8_t> accepted_;
  std::vector<float> entropy_;
  double mean_entropy_ = 0;
  int32_t step_ = 0;
  bool done_ = false;
};

}  // namespace dgemma
