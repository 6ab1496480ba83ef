// Floats that the CPU backend's gradients ask of their growing buffers.
#pragma once

#include "kernels/cpu/head_scratch.h"
#include "kernels/cpu/scratch.h"

namespace dgemma {

inline int64_t PanelsFloats(int64_t rows, int64_t cols) { return (cols + kPanel - 1) / kPanel * kPanel * rows; }

/// Rows of a matrix that RunBackward transposes at once.
inline constexpr int64_t kBackwardDepth = 256;
/// Floats of one thread's transposed block of weights.
inline constexpr int64_t kBackwardFloats = kBackwardDepth * kColumnBlock;

/// Floats of ExpertsBackward: rows and gradients in the order of experts, gate and up, hidden gradients; outputs where the second
/// product rounds its input.
inline int64_t ExpertsBackwardFloats(int64_t slots, int64_t width, int64_t hidden, bool rounds) {
  return (rounds ? 3 : 2) * MatrixFloats(slots, width) + MatrixFloats(slots, 2 * hidden) + MatrixFloats(slots, hidden);
}

/// Floats of a CrossEntropy: hidden states, their gradients, and the logits of a step.
inline int64_t CrossEntropyFloats(int64_t rows, int64_t width) {
  return 2 * MatrixFloats(rows, width) + MatrixFloats(rows, kSweepIds);
}

/// Query rows times heads of a group that AttendBackward takes at once: enough to pay for two transpositions of the keys they see.
inline int64_t BackwardPairs(int64_t group) { return std::max<int64_t>(96, group); }

/// Floats of one thread's share of AttendBackward: see AttentionScratch.
inline int64_t AttendBackwardFloats(int64_t head_size, int64_t group) {
  const int64_t pairs = BackwardPairs(group);
  return 3 * MatrixFloats(pairs, head_size) + MatrixFloats(head_size, pairs) + 2 * MatrixFloats(pairs, kScoreKeys) +
         MatrixFloats(kScoreKeys, pairs) + PanelsFloats(head_size, kScoreKeys) + PanelsFloats(kScoreKeys, head_size) +
         (3 * pairs + kPanel - 1) / kPanel * kPanel;
}

}  // namespace dgemma
