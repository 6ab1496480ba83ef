// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a draw is a pure function of its key, so a request
// gives the same bytes whatever the batch, the neighbours, the order of evaluation or the number of threads.
#pragma once

#include <array>
#include <cstdint>

namespace dgemma {

/// What a random number is drawn for. Part of the key: two purposes never share a stream.
enum class Draw : uint32_t {
  kCanvasStart = 1,  ///< first tokens of a canvas
  kSample = 2,       ///< uniform that picks a token from the predicted distribution
  kRenoise = 3,      ///< replacement of a token that was not accepted
  // training: src/train/noise.h and packing.h
  kNoiseLevel = 4,     ///< noise level of an example
  kCanvasChoice = 5,   ///< which canvas of an example is trained on
  kSelfCondition = 6,  ///< whether an example's pass is fed by a first one
  kCorrupt = 7,        ///< whether a position is replaced
  kCorruption = 8,     ///< what it is replaced by
  kShuffle = 9,        ///< order of the examples of an epoch
  kNewAdapter = 10,    ///< first values of an adapter (new_adapter.h)
};

/// Identity of one draw. `row` is the position inside the canvas, `step` counts denoising steps of that canvas from 0.
struct DrawKey {
  uint64_t seed = 0;
  uint32_t canvas = 0;
  uint32_t step = 0;
  uint32_t row = 0;
  Draw purpose = Draw::kCanvasStart;
};

/// Philox4x32 with ten rounds: counter -> four independent 32-bit words. Matches the published test vectors (base_test).
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// Uniform double in [0, 1) with 53 random bits.
double UniformDouble(const DrawKey& key);

/// Uniform integer in [0, bound); bound >= 1. Multiply-shift of 64 random bits: bias below bound / 2^64.
uint32_t UniformInt(const DrawKey& key, uint32_t bound);

}  // namespace dgemma
