// One allocation, cut into the named buffers.
#include "model/activations.h"

#include <algorithm>

#include "base/try.h"
#include "model/kv_cache.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

/// Rows start on cache lines.
int64_t Padded(int64_t cols) { return (cols + 15) / 16 * 16; }

struct Widths {
  int64_t model = 0, query = 0, sliding_pairs = 0, full_pairs = 0;
  int64_t Floats() const {
    return 5 * Padded(model) + 2 * Padded(query) + 2 * Padded(sliding_pairs) + 2 * Padded(full_pairs);
  }
};

Widths WidthsOf(const Config& config) {
  Widths widths{config.width, 0, 1, 1};
  for (const LayerConfig& layer : config.layers) {
    widths.query = std::max(widths.query, config.heads * layer.head_size);
    int64_t& pairs = layer.sliding ? widths.sliding_pairs : widths.full_pairs;
    pairs = std::max(pairs, RotaryPairs(config.Rope(layer), layer.head_size));
  }
  return widths;
}

}  // namespace

int64_t Activations::PlannedBytes(const Config& config, int64_t rows, int64_t canvases) {
  const int64_t floats = rows * WidthsOf(config).Floats() + canvases * LocalStoreFloats(config, config.canvas);
  return floats * static_cast<int64_t>(sizeof(float));
}

Result<Activations> Activations::Create(const Config& config, int64_t rows, int64_t canvases, Kernels& kernels) {
  Activations a;
  a.rows_ = rows;
  a.canvases_ = canvases;
  DG_TRY(a.memory_, kernels.Allocate(PlannedBytes(config, rows, canvases)));
  const Widths widths = WidthsOf(config);
  for (Matrix* matrix : {&a.all_.x, &a.all_.normed, &a.all_.branch, &a.all_.experts, &a.all_.hidden}) {
    *matrix = a.Take(widths.model);
  }
  for (Matrix* matrix : {&a.all_.q, &a.all_.attended}) *matrix = a.Take(widths.query);
  for (Matrix* matrix : {&a.all_.sliding.cos, &a.all_.sliding.sin}) *matrix = a.Take(widths.sliding_pairs);
  for (Matrix* matrix : {&a.all_.full.cos, &a.all_.full.sin}) *matrix = a.Take(widths.full_pairs);
  a.local_ = a.memory_.Floats() + a.used_floats_;
  a.local_floats_ = LocalStoreFloats(config, config.canvas);
  return a;
}

Matrix Activations::Take(int64_t cols) {
  const Matrix matrix{memory_.Floats() + used_floats_, rows_, cols, Padded(cols)};
  used_floats_ += rows_ * matrix.stride;
  return matrix;
}

PassBuffers Activations::Narrow(int64_t rows) const {
  PassBuffers b = all_;
  for (Matrix* matrix : {&b.x, &b.normed, &b.branch, &b.experts, &b.q, &b.attended, &b.hidden, &b.sliding.cos,
                         &b.sliding.sin, &b.full.cos, &b.full.sin}) {
    matrix->rows = rows;
  }
  return b;
}

KvStore Activations::Local(int64_t index, const LayerConfig& layer, int64_t canvas_rows) const {
  return LocalStore(local_ + index * local_floats_, layer, canvas_rows);
}

}  // namespace dgemma
