// Runs passes: gathers the segments of several answers into one Pass, calls Forward and the vocabulary head, hands results back.
// One PassRunner holds all scratch of an engine; answers only see their own rows.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "diffusion/canvas.h"
#include "model/forward.h"

namespace dgemma {

/// What one answer wants of the next pass, and what it gets.
struct PassJob {
  std::vector<Segment> segments;  ///< of one sequence, in order; at most one of them a canvas, which comes last
  float temperature = 1.0f;       ///< of the canvas
  Predictions predictions;        ///< result: for the canvas; valid until the next Run
  std::span<const float> logits;  ///< result: [V] for a causal segment with HiddenRows::kLast; valid until the next Run
  /// Result: false where what the pass leaves behind for this sequence, keys and values in its cache or final hidden
  /// states, has NaN or infinity. The cache has the positions nevertheless and must not be read.
  bool finite = true;

  int64_t rows() const;
  bool has_canvas() const { return !segments.empty() && !segments.back().causal(); }
};

/// Whatever can run passes: a PassRunner, or a test in its place.
class PassExecutor {
 public:
  virtual ~PassExecutor() = default;
  /// Limits of one pass.
  virtual int64_t max_rows() const = 0;
  virtual int64_t max_canvases() const = 0;
  /// One pass for all jobs. A failure means that no cache changed and no job has results.
  virtual Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) = 0;
};

class PassRunner final : public PassExecutor {
 public:
  /// For passes of at most `rows` rows with at most `canvases` canvases, and as many rows whose logits are wanted.
  static Result<std::unique_ptr<PassRunner>> Create(const Model& model, int64_t rows, int64_t canvases);
  static int64_t PlannedBytes(const Config& config, int64_t rows, int64_t canvases);

  int64_t max_rows() const override { return activations_.max_rows(); }
  int64_t max_canvases() const override { return activations_.max_canvases(); }
  const Model& model() const { return model_; }

  Result<void> Run(std::span<PassJob* const> jobs, std::stop_token stop) override;

 private:
  explicit PassRunner(const Model& model) : model_(model) {}
  void CheckNumbers(std::span<PassJob* const> jobs, Matrix hidden) const;
  void RunHead(std::span<PassJob* const> jobs, Matrix hidden);

  const Model& model_;
  Activations activations_;
  std::unique_ptr<HeadScratch> head_scratch_;
  Buffer soft_memory_;
  std::vector<HeadRow> head_rows_;
  std::vector<float> temperatures_;
  std::vector<float> logits_;  // [autoregressive rows, V]
};

}  // namespace dgemma
