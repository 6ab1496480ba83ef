// The denoising step. Order and meaning follow DiffusionGemmaGenerationMixin._denoising_step.
#include "diffusion/canvas.h"

#include <algorithm>

#include "base/try.h"

namespace dgemma {

Canvas::Canvas(int32_t number, int64_t rows, const DenoiseRules& rules, const Noise& noise, Matrix soft_memory,
               std::span<const int32_t> start)
    : number_(number),
      rules_(rules),
      noise_(noise),
      stop_rule_(rules.stability, rules.confidence),
      soft_(soft_memory),
      accepted_(static_cast<size_t>(rows), 0),
      entropy_(static_cast<size_t>(rows), 0.0f) {
  for (int32_t row = 0; row < rows; ++row) {
    tokens_.push_back(start.empty() ? noise.StartToken(number, row) : start[static_cast<size_t>(row)]);
  }
  argmax_ = tokens_;
}

Result<void> Canvas::ReadRows(const Predictions& predictions) {
  for (size_t row = 0; row < predictions.rows.size(); ++row) {
    if (predictions.rows[row].finite) continue;
    return Fail(StatusCode::kNonFinite, "logits: NaN or infinity at canvas position " + std::to_string(row));
  }
  double sum = 0;
  for (size_t row = 0; row < predictions.rows.size(); ++row) {
    const HeadRow& head = predictions.rows[row];
    argmax_[row] = head.argmax;
    entropy_[row] = head.entropy;
    sum += static_cast<double>(head.entropy);
  }
  mean_entropy_ = sum / static_cast<double>(predictions.rows.size());
  return {};
}

void Canvas::SampleAccepted(const Predictions& predictions) {
  std::vector<int32_t> head_rows;
  std::vector<double> uniform;
  for (int32_t row = 0; row < std::ssize(tokens_); ++row) {
    if (!accepted_[static_cast<size_t>(row)]) continue;
    head_rows.push_back(predictions.first_row + row);
    uniform.push_back(noise_.SampleUniform(number_, step_, row));
  }
  std::vector<int32_t> ids(head_rows.size());
  predictions.kernels->Sample(*predictions.scratch, head_rows, uniform, ids);
  for (size_t i = 0; i < ids.size(); ++i) tokens_[static_cast<size_t>(head_rows[i] - predictions.first_row)] = ids[i];
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
  for (int64_t row = 0; row < soft_.rows; ++row) std::copy_n(predictions.soft.Row(row), soft_.cols, soft_.Row(row));
  ++step_;
  done_ = stop_rule_.Update(argmax_, mean_entropy_) || step_ == rules_.schedule.steps;
  return {};
}

}  // namespace dgemma
