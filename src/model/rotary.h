// Rotary tables for the positions of a pass. DiffusionGemmaTextRotaryEmbedding and Transformers' "proportional" form.
#pragma once

#include <span>
#include <vector>

#include "model/config.h"
#include "tensor/rounding.h"

namespace dgemma {

/// Pairs that rotate in a head of `head_size`: all of them, or the rotated share.
int64_t RotaryPairs(const RopeConfig& rope, int64_t head_size);

/// cos and sin of position * theta^(-2i/head_size) / factor for i < pairs, row by row: [positions, pairs] f32.
/// Frequencies and angles are float32 as in Transformers; the results are rounded to the activation precision.
struct RotaryTable {
  std::vector<float> cos, sin;
  int64_t pairs = 0;
};
RotaryTable MakeRotaryTable(const RopeConfig& rope, int64_t head_size, std::span<const int64_t> positions,
                            Rounding rounding);

}  // namespace dgemma
