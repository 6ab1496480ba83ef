// Every buffer of a pass, named once and allocated once. Narrow() cuts them to the rows of the pass at hand.
#pragma once

#include "dgemma/status.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace dgemma {

/// Views cut to R rows of a pass.
struct PassBuffers {
  Matrix x;              // [R, D] residual stream
  Matrix normed;         // [R, D] input of the next branch
  Matrix branch;         // [R, D] output of attention, later of the dense feed-forward
  Matrix experts;        // [R, D] output of the experts
  Matrix q;              // [R, H*Q of the widest layer]
  Matrix attended;       // [R, H*Q of the widest layer]
  Matrix hidden;         // [R, D] final hidden states of the wanted rows, gathered
  Rotary sliding, full;  // [R, pairs]
};

class Activations {
 public:
  /// For passes of at most `rows` rows, `canvases` of them canvases at once.
  static Result<Activations> Create(const Config& config, int64_t rows, int64_t canvases, Kernels& kernels);
  static int64_t PlannedBytes(const Config& config, int64_t rows, int64_t canvases);

  int64_t max_rows() const { return rows_; }
  int64_t max_canvases() const { return canvases_; }
  PassBuffers Narrow(int64_t rows) const;
  /// Keys and values of canvas number `index` of the pass, for a layer of this geometry.
  KvStore Local(int64_t index, const LayerConfig& layer, int64_t canvas_rows) const;

 private:
  Matrix Take(int64_t cols);

  Buffer memory_;
  int64_t used_floats_ = 0;
  int64_t rows_ = 0, canvases_ = 0;
  int64_t local_floats_ = 0;
  float* local_ = nullptr;
  PassBuffers all_;
};

}  // namespace dgemma
