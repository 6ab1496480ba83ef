// One layer of the network, up to the point where its branches are joined, and what it needs to know about a pass: where K and V go,
// what rows see, which scalar they get. Forward() runs it for every layer; training runs it once more before each layer's gradients.
#pragma once

#include <vector>

#include "model/activations.h"
#include "model/pass.h"
#include "model/weights.h"

namespace dgemma {

struct Model;
class ForwardObserver;

/// Where each row's K and V go, and what each segment sees, in one layer.
struct LayerPlan {
  QkvShape shape;
  std::vector<KvTarget> targets;     ///< of every row
  std::vector<AttentionSpan> spans;  ///< of every segment
  std::vector<float> scalars;        ///< of every row: the encoder's or the decoder's
  std::vector<RowRole> roles;        ///< of every row
};

LayerPlan PlanLayer(const Model& model, const Activations& activations, const Pass& pass, size_t layer);

/// Values of one layer, all [R, .]. Forward gives one memory to those that are not needed at the same time; training keeps them
/// apart, to read them backwards.
struct LayerBuffers {
  Matrix x;             ///< in: the layer's input; out: x + attention, which the branches read
  Matrix attention_in;  ///< normed x
  Matrix q, attended;   ///< [R, H*Q]
  Matrix attention_out;
  Matrix dense_in, dense_out;
  Matrix experts_in, experts_out;
  Rotary rotary;  ///< of this kind of layer
};

/// Fills b.dense_out and b.experts_out, which JoinBranches then adds to b.x. K and V are written here, in ProjectQkv. `keys_only`: ends there.
void RunBranches(const Model& model, size_t layer, const LayerPlan& plan, const LayerBuffers& b, Routes& routes,
                 ForwardObserver* observer, bool keys_only = false);

/// The inputs of the first layer: embeddings, with the self-conditioning signal and its norm on canvas rows. b: buffers of all rows.
void EmbedInputs(const Model& model, const Pass& pass, const PassBuffers& b);

/// Rotary tables of every row for sliding and full layers.
void UploadRotary(const Model& model, const Pass& pass, const PassBuffers& b);

}  // namespace dgemma
