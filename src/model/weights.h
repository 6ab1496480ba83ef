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

/// A tensor of the list and the weight that holds it.
struct NamedWeight {
  TensorSpec spec;
  Weight* weight;
};

/// Every packed weight in the order of the list (tensor_list.h); layer scalars and vision tensors are not among them.
std::vector<NamedWeight> NameWeights(const Config& config, Weights& weights);

/// Chooses the format that a matrix is packed in.
using FormatChoice = std::function<WeightFormat(const TensorSpec& spec, const StoredTensor& stored)>;

/// Called with bytes packed so far and in total.
using LoadProgress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

/// The format that a matrix computes in: NaturalFormat, but float32 for a router in bfloat16. Its few values are no work, and
/// activations rounded to bfloat16 (kernels.h) would choose another expert where two are nearly level.
WeightFormat ComputeFormat(const TensorSpec& spec, const StoredTensor& stored);

/// Packs every text tensor of a checkpoint that CheckTensors accepted; vision tensors are left in the file.
Result<Weights> LoadWeights(const CheckpointFiles& files, const Config& config, Kernels& kernels,
                            const LoadProgress& progress, const FormatChoice& format = ComputeFormat);

/// A tensor as LoadWeights will hold it.
struct PlannedWeight {
  TensorSpec spec;
  WeightFormat format;  ///< float32 for vectors
  int64_t bytes = 0;    ///< allocated, or mapped where panels are used as they lie
  int64_t rank = 0;     ///< of the deltas that adapters will hang on it, of all together
};

/// Every tensor that LoadWeights will hold; those that a checkpoint lacks are left out (CheckTensors refuses it).
std::vector<PlannedWeight> PlanWeights(const CheckpointFiles& files, const Config& config, const Kernels& kernels,
                                       const FormatChoice& format = ComputeFormat);

/// Their bytes together.
int64_t PlannedWeightBytes(std::span<const PlannedWeight> weights);

/// Formats of embedding, matrices and experts, that of the most values first: "int4-32-min + int8-32".
std::string FormatNames(std::span<const PlannedWeight> weights);

}  // namespace dgemma
