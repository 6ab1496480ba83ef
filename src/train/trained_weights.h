// What a run trains: all weights of a model, or the matrices of an adapter on frozen ones. Both are a list of float32 weights with the
// places where passes look for their gradients; the optimiser knows nothing else.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "model/adapter.h"
#include "model/weights.h"

namespace dgemma {

struct TrainedWeight {
  TensorSpec spec;       ///< its name in checkpoints; the role decides about weight decay
  const Weight* weight;  ///< trained in place
  Weight* gradient;      ///< in the gradients that the list was made for; valid until they move
};

/// Lists what is trained and prepares `gradients`, which is empty before: weights stay absent in it, which means frozen, until the
/// caller fills what the list names.
using ListTrained = std::function<std::vector<TrainedWeight>(Weights& gradients)>;

/// Every packed weight of the model. Layer scalars and vision tensors stay as they are. References must outlive the list.
ListTrained TrainWeights(const Config& config, Weights& weights);

/// The matrices of the adapters attached to `weights`, named "TENSOR.lora_A" and "TENSOR.lora_B": those of all adapters on one weight
/// are one trained weight. The weights under them are frozen.
ListTrained TrainAdapters(const Config& config, Weights& weights);

}  // namespace dgemma
