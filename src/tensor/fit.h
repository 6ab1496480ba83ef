// Scales and minima of one group of weights: the best of some candidates, and the codes nearest to the values. Candidates
// are tried side by side in the lanes of vectors, and every lane adds up in the order of the values, so results are the
// same bits on every instruction set. Used by the encoders of block types and of packed formats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace dgemma {

/// Codes from `lowest` <= 0 to `highest` >= 0.
struct CodeRange {
  int32_t lowest;
  int32_t highest;
};

/// w = scale * code - min.
struct ScaleAndMin {
  float scale = 0;
  float min = 0;
};

/// The most candidates that LeastError compares.
inline constexpr size_t kMostCandidates = 32;

struct Extremes {
  float low = 0;
  float high = 0;
};

/// Of finite values, at least one.
Extremes FindExtremes(std::span<const float> values);

/// The scale that minimises sum (w - scale code)^2 over 25 codings of at most 64 finite values, whose trial scales take the
/// value of largest magnitude to codes from lowest - 1.2 to lowest + 1.2. 0 for zeros.
float FitScale(std::span<const float> group, CodeRange codes);

/// scale and min >= 0 that minimise sum (w - (scale code - min))^2 over 21 codings of 32 finite values with codes from 0 to
/// `highest`. An infinite scale where the range of the values is beyond float32.
ScaleAndMin FitScaleAndMin(std::span<const float, 32> group, int32_t highest);

/// The scale that minimises sum (w - scale kIq4Values[code])^2 over 321 codings of 32 finite values, whose trial scales take
/// the value of largest magnitude to numbers from -143 to -111. 0 for zeros.
float FitIq4Scale(std::span<const float, 32> group);

/// The first candidate with the least sum importance (w - (scale code - min))^2, each with its nearest codes. No importance:
/// all values count alike. An infinite scale when no candidate is finite. At most kMostCandidates.
ScaleAndMin LeastError(std::span<const float> group, std::span<const float> importance, CodeRange codes,
                       std::span<const ScaleAndMin> candidates);

/// code[i]: the nearest to (value + min) / scale, ties to even, 0 where the scale is 0. Codes that int8 can hold.
void NearestCodes(std::span<const float> values, ScaleAndMin fit, CodeRange codes, int8_t* code);

/// code[i]: the index in kIq4Values of the entry nearest to value / scale, the lower of two, that of 0 where the scale is 0.
void NearestIq4Codes(std::span<const float> values, float scale, int8_t* code);

}  // namespace dgemma
