// A pass that can be run backwards: forward with a tape of every layer's input, then each layer once more and its gradients, from
// the last to the first. One layer's intermediate values exist at a time.
#pragma once

#include <span>
#include <vector>

#include "kernels/train_kernels.h"
#include "model/forward.h"
#include "model/layer.h"

namespace dgemma {

class TrainPass {
 public:
  /// For passes of at most `rows` rows, `canvases` of them canvases, over caches of together at most `cache_slots` slots.
  static Result<TrainPass> Create(const Model& model, TrainKernels& kernels, int64_t rows, int64_t canvases,
                                  int64_t cache_slots);
  static int64_t PlannedBytes(const Config& config, int64_t rows, int64_t canvases, int64_t cache_slots);

  /// Forward(), and remembers the input of every layer.
  Result<Matrix> Run(Activations& activations, const Pass& pass);

  /// Adds the gradients of all weights to `gradients`. dhidden: of what Run returned. first_hidden[i]: final hidden states of the
  /// pass whose probabilities gave canvas segment i its `soft` (in order of canvas segments; no data where it has none).
  /// `pass` and `activations` as in the last Run, whose caches nobody has touched since.
  void Backward(const Activations& activations, const Pass& pass, Matrix dhidden, std::span<const Matrix> first_hidden,
                const Weights& gradients);

 private:
  TrainPass(const Model& model, TrainKernels& kernels) : model_(model), kernels_(kernels) {}

  /// Gradients of the keys and values that a layer's spans see.
  struct StoreGradients {
    std::vector<AttentionSpan> spans;
    std::vector<KvTarget> targets;
  };
  StoreGradients MakeStores(const LayerPlan& plan);
  /// dx comes in as the gradient of the layer's output and goes out as that of its input.
  void LayerBackward(const Activations& activations, const Pass& pass, size_t layer, Matrix dx,
                     const Weights& gradients);
  void EmbedBackward(const Pass& pass, Matrix dx, std::span<const Matrix> first_hidden, const Weights& gradients);

  const Model& model_;
  TrainKernels& kernels_;
  Buffer memory_;
  Buffer store_memory_;
  std::vector<Matrix> tape_;  // [R, D] input of every layer, then the last one's output
  PassBuffers rotary_;        // of the last Run: only the tables
  LayerBuffers layer_;
  Matrix dx_, dinput_, dbranch_, dexperts_;  // [R, D]
  Matrix dq_, dattended_;                    // [R, widest H*Q]
  std::vector<float> droute_;                // [R, A]
};

}  // namespace dgemma
