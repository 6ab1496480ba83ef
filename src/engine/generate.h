// The story of an answer in one function: prefill, canvas after canvas, denoise, cut at the stop token, stop.
#pragma once

#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "dgemma/dgemma.h"
#include "diffusion/canvas.h"
#include "engine/story.h"

namespace dgemma {

/// Sees an answer while it is written. Views are valid during the call.
class GenerationObserver {
 public:
  virtual ~GenerationObserver() = default;
  virtual void OnPrefill(int64_t /*done*/, int64_t /*total*/) {}
  virtual void OnStep(const Canvas&) {}
  /// Tokens that are final: of a whole canvas, or one autoregressive token. `kept` stops before a stop token and at the limit.
  virtual void OnTokens(std::span<const int32_t> /*canvas*/, std::span<const int32_t> /*kept*/) {}
};

/// Everything a story needs, fixed before it starts. Pointers outlive the story.
struct GenerationPlan {
  const Model* model = nullptr;
  KvCache* cache = nullptr;         ///< holds the first cache->end() - cache->begin() prompt tokens already
  std::span<const int32_t> prompt;  ///< the whole prompt
  const Noise* noise = nullptr;
  GenerationObserver* observer = nullptr;
  GenerateOptions options;
  CommitMode commit = CommitMode::kMerged;
  int64_t chunk_rows = 256;
  Matrix soft_memory;            ///< [C, D]
  CanvasStore* store = nullptr;  ///< where settled rows are left out (options.skip)
  std::span<const int32_t> start_canvas;
  std::stop_token stop;
};

struct GenerationResult {
  std::vector<int32_t> tokens;    ///< the answer, without the stop token
  std::vector<int32_t> sequence;  ///< prompt and everything written after it; the cache holds a prefix of this
  FinishReason finish = FinishReason::kStop;
  int64_t canvases = 0;
  int64_t denoise_passes = 0;
  int64_t denoise_rows = 0;  ///< canvas rows that these computed
  int64_t commit_passes = 0;
};

/// Writes an answer by diffusion.
Story GenerateByDiffusion(GenerationPlan plan, GenerationResult& result);
/// Writes an answer token by token on the same weights.
Story GenerateAutoregressively(GenerationPlan plan, GenerationResult& result);

}  // namespace dgemma
