// The denoising step. Order and meaning follow DiffusionGemmaGenerationMixin._denoising_step.
#include "diffusion/canvas.h"

#include <algorithm>
#include <cmath>

#include "base/finite.h"
#include "base/try.h"

namespace dgemma {

Canvas::Canvas(int32_t number, int64_t rows, const DenoiseRules& rules, const Noise& noise, Matrix soft_memory,
               std::span<const int32_t> start)
    : number_(number),
      rules_(rules),
      noise_(noise),
      stop_rule_(rules.stability, rules.confidence),
      settled_(rules.skip, rows),
      soft_(soft_memory),
      accepted_(static_cast<size_t>(rows), 0),
      entropy_(static_cast<size_t>(rows), 0.0f) {
  for (int32_t row = 0; row < rows; ++row) {
    tokens_.push_back(start.empty() ? noise.StartToken(number, row) : start[static_cast<size_t>(row)]);
  }
  argmax_ = tokens_;
}

Result<void> Canvas::ReadRows(const Predictions& predictions) {
  const std::span<const int32_t> rows = settled_.computed();
  for (size_t i = 0; i < rows.size(); ++i) {
    const HeadRow& row = predictions.rows[i];
    const Matrix soft = predictions.soft.Rows(static_cast<int64_t>(i), 1);
    const bool soft_finite = AllFinite({soft.data, static_cast<size_t>(soft.cols)});
    if (row.finite && std::isfinite(row.entropy) && soft_finite) continue;
    const char* what = !row.finite ? "logits" : soft_finite ? "entropy" : "soft embeddings";
    return Fail(StatusCode::kNonFinite,
                std::string(what) + ": NaN or infinity at canvas position " + std::to_string(rows[i]));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    argmax_[static_cast<size_t>(rows[i])] = predictions.rows[i].argmax;
    entropy_[static_cast<size_t>(rows[i])] = predictions.rows[i].entropy;
  }
  double sum = 0;
  for (float entropy : entropy_) sum += static_cast<double>(entropy);
  mean_entropy_ = sum / static_cast<double>(entropy_.size());
  return {};
}

void Canvas::SampleAccepted(const Predictions& predictions) {
  const std::span<const int32_t> computed = settled_.computed();
  std::vector<int32_t> rows, head_rows;
  std::vector<double> uniform;
  for (int32_t i = 0; i < std::ssize(computed); ++i) {
    const int32_t row = computed[static_cast<size_t>(i)];
    if (!accepted_[static_cast<size_t>(row)]) continue;
    rows.push_back(row);
    head_rows.push_back(predictions.first_row + i);
    uniform.push_back(noise_.SampleUniform(number_, step_, row));
  }
  std::vector<int32_t> ids(head_rows.size());
  predictions.kernels->Sample(*predictions.scratch, head_rows, uniform, ids);
  for (size_t i = 0; i < ids.size(); ++i) tokens_[static_cast<size_t>(rows[i])] = ids[i];
}

void Canvas::EndStep() {
  last_pass_rows_ = std::ssize(settled_.computed());
  full_in_a_row_ = settled_.full() ? full_in_a_row_ + 1 : 0;
  const int32_t steps = rules_.schedule.steps;
  const bool may_stop = stop_rule_.Update(argmax_, mean_entropy_);
  done_ = step_ == steps || (may_stop && full_in_a_row_ >= (rules_.skip.on() ? rules_.skip.full_passes : 1));
  // What may end the canvas computes every row: a pass after a draft that is sure of itself, and the last one allowed.
  const bool may_end_next = mean_entropy_ < rules_.confidence || step_ + 1 == steps;
  settled_.Update({argmax_, accepted_, entropy_}, may_end_next ? NextPass::kFull : NextPass::kMaySkip);
  pass_tokens_.clear();
  for (const int32_t row : pass_rows()) pass_tokens_.push_back(tokens_[static_cast<size_t>(row)]);
}

Result<void> Canvas::Step(const Predictions& predictions) {
  DG_CHECK_OK(ReadRows(predictions));
  AcceptByEntropy(entropy_, rules_.entropy_bound, accepted_);
  SampleAccepted(predictions);
  for (int32_t row = 0; row < std::ssize(tokens_);
       ++row) {  // everything else becomes noise again, also what was accepted before
    if (!accepted_[static_cast<size_t>(row)])
      tokens_[static_cast<size_t>(row)] = noise_.RenoiseToken(number_, step_, row);
  }
  const std::span<const int32_t> rows = settled_.computed();
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(predictions.soft.Row(static_cast<int64_t>(i)), soft_.cols, soft_.Row(rows[i]));
  ++step_;
  EndStep();
  return {};
}

}  // namespace dgemma
