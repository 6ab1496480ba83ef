// The forward pass: the model in one screen. One function for prompts, commits, autoregressive steps and denoising, because the
// "encoder" and the "decoder" of DiffusionGemma are the same layers.
#pragma once

#include "dgemma/status.h"
#include "model/activations.h"
#include "model/config.h"
#include "model/pass.h"
#include "model/weights.h"

namespace dgemma {

struct Model {
  Config config;
  Weights weights;
  Kernels& kernels;
  float embed_scale = 1.0f;  ///< sqrt(D), rounded to the activation precision
};

/// Builds a Model; rounds its constants as the kernels round activations.
Model MakeModel(Config config, Weights weights, Kernels& kernels);

/// Receives intermediate results, for `dgemma dump` and tests. Names as in tests/golden/README.md: "embed", "x0", "attn_in",
/// "attn_out", "router_in", "dense_out", "experts_out", "layer", "final_norm"; layer is -1 outside the layers.
class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;
  virtual void Observe(const char* name, int64_t layer, Matrix value) = 0;
};

/// Runs the network over a pass. Returns the final-normed hidden states of the wanted rows, in order of segments: [rows, D], valid
/// until the next Forward with these activations. Causal segments are appended to their caches on success only.
/// kResourceExhausted: more rows or canvases than the activations hold, or past the cache; kCancelled: pass.stop was requested.
Result<Matrix> Forward(const Model& model, Activations& activations, const Pass& pass,
                       ForwardObserver* observer = nullptr);

}  // namespace dgemma
