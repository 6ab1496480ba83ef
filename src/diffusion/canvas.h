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
  SkipRule skip = {};
};

/// Predictions for the R computed rows of one canvas after a pass, and the head that can sample from them.
struct Predictions {
  Kernels* kernels = nullptr;
  HeadScratch* scratch = nullptr;
  int32_t first_row = 0;          ///< of this canvas in the head's rows
  std::span<const HeadRow> rows;  ///< [R], of the rows that the pass computed
  Matrix soft;                    ///< [R, D] soft embeddings of these predictions
};

class Canvas {
 public:
  /// `number` counts the canvases of an answer from 0; `soft_memory` [C, D] belongs to this canvas until it is done.
  /// `start` replaces the initial noise when given (C ids).
  Canvas(int32_t number, int64_t rows, const DenoiseRules& rules, const Noise& noise, Matrix soft_memory,
         std::span<const int32_t> start = {});

  std::span<const int32_t> tokens() const { return tokens_; }  ///< input of the next step
  /// Rows that the next pass computes, ascending; empty: all of them. What tokens() has there is pass_tokens().
  std::span<const int32_t> pass_rows() const {
    return settled_.full() ? std::span<const int32_t>{} : settled_.computed();
  }
  std::span<const int32_t> pass_tokens() const { return settled_.full() ? tokens_ : pass_tokens_; }
  int64_t last_pass_rows() const { return last_pass_rows_; }   ///< rows that the last step's pass computed
  std::span<const int32_t> argmax() const { return argmax_; }  ///< best guess so far; the result once done
  std::span<const uint8_t> accepted() const { return accepted_; }
  std::span<const float> entropy() const { return entropy_; }
  double mean_entropy() const { return mean_entropy_; }
  Matrix soft() const { return step_ == 0 ? Matrix{} : soft_; }  ///< self-conditioning input; no data in the first step
  int32_t number() const { return number_; }
  int32_t steps_done() const { return step_; }
  float temperature() const { return rules_.schedule.At(step_); }  ///< of the next step
  bool done() const { return done_; }

  /// One denoising step: accept, sample, renoise, stop test; rows that the pass left out keep their token and prediction while they
  /// are accepted. kNonFinite, and nothing changes, when the predictions hold NaN or
  /// infinity.
  Result<void> Step(const Predictions& predictions);

 private:
  Result<void> ReadRows(const Predictions& predictions);
  void SampleAccepted(const Predictions& predictions);
  /// Done? If not, which rows the next pass computes.
  void EndStep();

  int32_t number_;
  DenoiseRules rules_;
  const Noise& noise_;
  StopRule stop_rule_;
  SettledRows settled_;
  Matrix soft_;
  std::vector<int32_t> tokens_, argmax_;
  std::vector<int32_t> pass_tokens_;  // of the rows of a pass that is not full
  std::vector<uint8_t> accepted_;
  std::vector<float> entropy_;
  double mean_entropy_ = 0;
  int32_t step_ = 0;
  int64_t last_pass_rows_ = 0;
  int32_t full_in_a_row_ = 0;  // last passes that computed every row
  bool done_ = false;
};

}  // namespace dgemma
