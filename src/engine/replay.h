// Replaying recorded generations: draws by name instead of a generator, and results in the shape Transformers gives them.
// `dgemma dump` and the tests against recordings use it; answers for people do not.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "dgemma/status.h"
#include "diffusion/noise.h"
#include "files/checkpoint_files.h"

namespace dgemma {

/// The draws of one row of a batch, from tensors canvas.c.init [B, C], canvas.c.step.s.{uniform [B*C], renoise [B, C]}.
/// Draws that were not recorded (a step beyond the recorded ones) come from SeededNoise with seed 0.
class RecordedNoise final : public Noise {
 public:
  /// Errors name the tensor: wrong size, ids outside the vocabulary, uniforms outside [0, 1).
  static Result<RecordedNoise> Read(const CheckpointFiles& files, int64_t batch_row, int64_t canvas_rows,
                                    int64_t vocab);

  int32_t StartToken(int32_t canvas, int32_t row) const override;
  double SampleUniform(int32_t canvas, int32_t step, int32_t row) const override;
  int32_t RenoiseToken(int32_t canvas, int32_t step, int32_t row) const override;

 private:
  explicit RecordedNoise(int64_t vocab) : beyond_(0, vocab) {}

  std::vector<std::vector<int32_t>> start_;                              // [canvas][row]
  std::map<std::pair<int32_t, int32_t>, std::vector<double>> uniform_;   // (canvas, step) -> [row]
  std::map<std::pair<int32_t, int32_t>, std::vector<int32_t>> renoise_;  // (canvas, step) -> [row]
  SeededNoise beyond_;
};

/// Integers (I64, I32, U8) or numbers (F32, BF16, F16) of a stored tensor. kUnsupported for other types.
Result<std::vector<int64_t>> ReadIntegers(const TensorBytes& tensor);
Result<std::vector<float>> ReadNumbers(const TensorBytes& tensor);

/// What `generate` of Transformers returns for one row: whole canvases, everything after the first stop token and every canvas after
/// it padded; and non-pad tokens for each denoising pass.
struct TransformersRow {
  std::vector<int32_t> new_tokens;  // canvases * C
  double tokens_per_forward = 0;
};
TransformersRow AsTransformers(std::span<const std::vector<int32_t>> canvases, int64_t canvas_count,
                               int64_t canvas_rows, std::span<const int32_t> stop_tokens, int32_t pad_token,
                               int64_t denoise_passes);

}  // namespace dgemma
