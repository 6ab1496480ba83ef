// Where noise is drawn. All randomness of an answer comes through this interface; production keys a counter-based generator,
// tests and `dgemma dump` replay recorded draws.
#pragma once

#include <cstdint>

#include "base/philox.h"

namespace dgemma {

/// `canvas` and `step` count from 0, `row` is the position inside the canvas.
class Noise {
 public:
  virtual ~Noise() = default;
  /// Token of a fresh canvas, uniform over the vocabulary.
  virtual int32_t StartToken(int32_t canvas, int32_t row) const = 0;
  /// Uniform in [0, 1) that picks a token from the predicted distribution.
  virtual double SampleUniform(int32_t canvas, int32_t step, int32_t row) const = 0;
  /// Replacement for a token that was not accepted, uniform over the vocabulary.
  virtual int32_t RenoiseToken(int32_t canvas, int32_t step, int32_t row) const = 0;
};

/// Draws keyed by (seed, canvas, step, row, purpose): independent of batch, neighbours, order and threads.
class SeededNoise final : public Noise {
 public:
  SeededNoise(uint64_t seed, int64_t vocab) : seed_(seed), vocab_(static_cast<uint32_t>(vocab)) {}

  int32_t StartToken(int32_t canvas, int32_t row) const override { return Token(canvas, 0, row, Draw::kCanvasStart); }
  double SampleUniform(int32_t canvas, int32_t step, int32_t row) const override {
    return UniformDouble(Key(canvas, step, row, Draw::kSample));
  }
  int32_t RenoiseToken(int32_t canvas, int32_t step, int32_t row) const override {
    return Token(canvas, step, row, Draw::kRenoise);
  }

 private:
  DrawKey Key(int32_t canvas, int32_t step, int32_t row, Draw purpose) const {
    return {seed_, static_cast<uint32_t>(canvas), static_cast<uint32_t>(step), static_cast<uint32_t>(row), purpose};
  }
  int32_t Token(int32_t canvas, int32_t step, int32_t row, Draw purpose) const {
    return static_cast<int32_t>(UniformInt(Key(canvas, step, row, purpose), vocab_));
  }

  uint64_t seed_;
  uint32_t vocab_;
};

}  // namespace dgemma
