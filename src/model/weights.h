// The model's weights by name, packed for one backend. Filled by LoadWeights from the tensor list; read by forward.cc.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "files/checkpoint_files.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/tensor_list.h"

namespace dgemma {

struct LayerWeights {
  Weight input_norm;  // [D]
  QkvWeights qkv;
  Weight attention_out;        // [D, H*Q]
  Weight post_attention_norm;  // [D]
  Weight pre_dense_norm;       // [D]
  MlpWeights dense;
  Weight pre_experts_norm;  // [D]
  RouterWeights router;
  ExpertWeights experts;
  BranchNorms branch_norms;
  float encoder_scalar = 1, decoder_scalar = 1;
};

struct Weights {
  Weight embedding;  // [V, D]
  std::vector<LayerWeights> layers;
  Weight final_norm;              // [D]
  Weight self_conditioning_norm;  // [D]
  MlpWeights self_conditioning;
};

/// Called with bytes packed so far and in total.
using LoadProgress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

/// Packs every text tensor of a checkpoint that CheckTensors accepted; vision tensors are left in the file.
Result<Weights> LoadWeights(const CheckpointFiles& files, const Config& config, Kernels& kernels,
                            const LoadProgress& progress);

/// A tensor as LoadWeights will hold it.
struct PlannedWeight {
  TensorSpec spec;
  WeightFormat format;  ///< float32 for vectors
  int64_t bytes = 0;    ///< allocated, or mapped where panels are used as they lie
};

/// Every tensor that LoadWeights will hold; those that a checkpoint lacks are left out (CheckTensors refuses it).
std::vector<PlannedWeight> PlanWeights(const CheckpointFiles& files, const Config& config, const Kernels& kernels);

/// Their bytes together.
int64_t PlannedWeightBytes(std::span<const PlannedWeight> weights);

/// Formats of embedding, matrices and experts, that of the most values first: "int4-32-min + int8-32".
std::string FormatNames(std::span<const PlannedWeight> weights);

}  // namespace dgemma
