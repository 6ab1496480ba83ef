// Attention of the reference backend: projections with norm and rotary, and one softmax per row and head over all visible keys.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref_kernels.h"

namespace dgemma {
namespace {

/// One key/value that a row sees.
struct VisibleKey {
  const KvStore* store = nullptr;
  int64_t slot = 0;
};

/// Keys in the order that Transformers concatenates them: cache by position, then the canvas itself.
std::vector<VisibleKey> VisibleKeys(const AttentionSpan& span, int64_t pos) {
  const int64_t end = span.causal ? pos + 1 : span.cache_end;
  int64_t begin = span.cache_begin;
  if (span.window > 0) begin = std::max(begin, end - (span.causal ? span.window : span.window - 1));
  std::vector<VisibleKey> keys;
  for (int64_t p = begin; p < end; ++p) keys.push_back({&span.cache, p % span.cache.slots});
  if (!span.causal) {
    for (int64_t slot = 0; slot < span.local_rows; ++slot) keys.push_back({&span.local, slot});
  }
  return keys;
}

}  // namespace

void RefKernels::RotateHead(const Rotary& rotary, int64_t row, int64_t head_size, float* x) const {
  const int64_t half = head_size / 2;
  for (int64_t i = 0; i < rotary.cos.cols; ++i) {
    const float c = rotary.cos.Row(row)[i], s = rotary.sin.Row(row)[i];
    const float a = x[i], b = x[i + half];
    x[i] = Rounded(static_cast<double>(Rounded(static_cast<double>(a * c)) + Rounded(static_cast<double>(-b * s))));
    x[i + half] =
        Rounded(static_cast<double>(Rounded(static_cast<double>(b * c)) + Rounded(static_cast<double>(a * s))));
  }
}

void RefKernels::ProjectQkv(Matrix a, const QkvWeights& w, const QkvShape& shape, const Rotary& rotary,
                            std::span<const KvTarget> target, Matrix q) {
  const int64_t size = shape.head_size;
  std::vector<float> k(static_cast<size_t>(shape.kv_heads * size)), v(k.size());
  for (int64_t row = 0; row < a.rows; ++row) {
    LinearRow(a.Row(row), w.q, 0, q.Row(row));
    for (int64_t head = 0; head < shape.heads; ++head) {
      float* x = q.Row(row) + head * size;
      NormRow(x, size, w.q_norm.Vector(), x);
      RotateHead(rotary, row, size, x);
    }
    LinearRow(a.Row(row), w.k, 0, k.data());
    if (w.v.present())
      LinearRow(a.Row(row), w.v, 0, v.data());
    else
      v = k;
    const KvTarget& to = target[static_cast<size_t>(row)];
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      float* key = k.data() + head * size;
      float* value = v.data() + head * size;
      NormRow(key, size, w.k_norm.Vector(), key);
      RotateHead(rotary, row, size, key);
      NormRow(value, size, nullptr, value);
      for (int64_t dim = 0; dim < size; ++dim) {
        to.store.k[to.store.KeyIndex(head, to.slot, dim)] = key[dim];
        to.store.v[to.store.ValueIndex(head, to.slot, dim)] = value[dim];
      }
    }
  }
}

void RefKernels::Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) {
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  for (const AttentionSpan& span : spans) {
    for (int64_t r = 0; r < span.rows; ++r) {
      const std::vector<VisibleKey> keys = VisibleKeys(span, span.pos + r);
      std::vector<float> p(keys.size());
      for (int64_t head = 0; head < shape.heads; ++head) {
        const float* query = q.Row(span.row + r) + head * size;
        const int64_t kv_head = head / group;
        float max = -INFINITY;
        for (size_t j = 0; j < keys.size(); ++j) {
          double score = 0;
          for (int64_t dim = 0; dim < size; ++dim) {
            score +=
                static_cast<double>(query[dim]) * keys[j].store->k[keys[j].store->KeyIndex(kv_head, keys[j].slot, dim)];
          }
          p[j] = Rounded(score);
          max = std::max(max, p[j]);
        }
        double sum = 0;
        for (float score : p) sum += std::exp(static_cast<double>(score) - max);
        for (float& score : p) score = Rounded(std::exp(static_cast<double>(score) - max) / sum);
        for (int64_t dim = 0; dim < size; ++dim) {
          double total = 0;
          for (size_t j = 0; j < keys.size(); ++j) {
            total +=
                static_cast<double>(p[j]) * keys[j].store->v[keys[j].store->ValueIndex(kv_head, keys[j].slot, dim)];
          }
          out.Row(span.row + r)[head * size + dim] = Rounded(total);
        }
      }
    }
  }
}

}  // namespace dgemma
