// A model that has learned nothing: random weights for a configuration, as a checkpoint in memory. Training from scratch is
// fine-tuning of this.
#pragma once

#include <cstdint>
#include <string>

#include "files/checkpoint_files.h"

namespace dgemma {

/// Draws keyed by (seed, tensor, value): matrices and experts normal with deviation 1 / sqrt(in), the embedding 1 / sqrt(D) (so that
/// embeddings have size 1 and logits a deviation of 1), vectors and scalars 1. Everything F32.
/// kInvalidFile for a configuration that is none, or a vocabulary smaller than the tokenizer's.
Result<CheckpointFiles> NewModel(const std::string& config_json, const std::string& tokenizer_json, uint64_t seed);

}  // namespace dgemma
