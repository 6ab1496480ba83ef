// Attention of the reference backend: projections with norm and rotary, and one softmax per row and head over all visible keys.
#include <algorithm>
#include <cmath>

#include "kernels/ref/ref_kernels.h"
#include "kernels/ref/visible_keys.h"

namespace dgemma {

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

void RefKernels::ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                            const Rotary& rotary, std::span<const KvTarget> target, Matrix q) {
  const int64_t size = shape.head_size;
  std::vector<float> k(static_cast<size_t>(shape.kv_heads * size)), v(k.size());
  for (int64_t row = 0; row < a.rows; ++row) {
    const RowRole role = RoleOf(roles, row);
    LinearRow(a.Row(row), role, w.q, 0, q.Row(row));
    for (int64_t head = 0; head < shape.heads; ++head) {
      float* x = q.Row(row) + head * size;
      NormRow(x, size, w.q_norm.Vector(), x);
      RotateHead(rotary, row, size, x);
    }
    LinearRow(a.Row(row), role, w.k, 0, k.data());
    if (w.v.present())
      LinearRow(a.Row(row), role, w.v, 0, v.data());
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
    const bool rounds = span.rounds && !span.causal;
    const auto side = [&](float value) { return rounds ? FromBf16(ToBf16(value)) : value; };  // of a product
    for (int64_t r = 0; r < span.rows; ++r) {
      const std::vector<VisibleKey> keys = VisibleKeys(span, span.pos + r);
      std::vector<float> p(keys.size());
      for (int64_t head = 0; head < shape.heads; ++head) {
        const float* query = q.Row(span.row + r) + head * size;
        const int64_t kv_head = head / group;
        float max = -INFINITY;
        for (size_t j = 0; j < keys.size(); ++j) {
          const KvStore& store = keys[j].StoreOf(span);
          double score = 0;
          for (int64_t dim = 0; dim < size; ++dim) {
            score += static_cast<double>(side(query[dim])) * side(store.k[store.KeyIndex(kv_head, keys[j].slot, dim)]);
          }
          p[j] = Rounded(score);
          max = std::max(max, p[j]);
        }
        double sum = 0;
        for (float score : p) sum += std::exp(static_cast<double>(score) - max);
        for (float& score : p) score = side(Rounded(std::exp(static_cast<double>(score) - max) / sum));
        for (int64_t dim = 0; dim < size; ++dim) {
          double total = 0;
          for (size_t j = 0; j < keys.size(); ++j) {
            const KvStore& store = keys[j].StoreOf(span);
            total += static_cast<double>(p[j]) * side(store.v[store.ValueIndex(kv_head, keys[j].slot, dim)]);
          }
          out.Row(span.row + r)[head * size + dim] = Rounded(total);
        }
      }
    }
  }
}

}  // namespace dgemma
