// Gradients of attention in the reference backend: of the softmax over visible keys, and of projections with norm and
// rotary.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/train_row.h"
#include "kernels/ref/visible_keys.h"

namespace dgemma {
namespace {

/// The transposed rotation of one head's gradient, in place: what RotateHead did with an angle, this does with its
/// negative.
void RotateHeadBackward(const Rotary& rotary, int64_t row, std::vector<double>& head) {
  const size_t half = head.size() / 2;
  for (size_t i = 0; i < static_cast<size_t>(rotary.cos.cols); ++i) {
    const auto c = static_cast<double>(rotary.cos.Row(row)[i]), s = static_cast<double>(rotary.sin.Row(row)[i]);
    const double a = head[i], b = head[i + half];
    head[i] = a * c + b * s;
    head[i + half] = b * c - a * s;
  }
}

/// Gradients of a store's keys and values that one span adds: summed in float64, in the store's own order.
struct StoreSum {
  explicit StoreSum(const KvStore& store_in)
      : store(store_in), k(static_cast<size_t>(store.kv_heads * store.slots * store.head_size), 0.0), v(k) {}
  void Store() const {
    for (size_t i = 0; i < k.size(); ++i) store.k[i] += static_cast<float>(k[i]);
    for (size_t i = 0; i < v.size(); ++i) store.v[i] += static_cast<float>(v[i]);
  }

  const KvStore& store;
  std::vector<double> k, v;
};

double Key(const KvStore& store, int64_t head, int64_t slot, int64_t dim) {
  return static_cast<double>(store.k[store.KeyIndex(head, slot, dim)]);
}

double Value(const KvStore& store, int64_t head, int64_t slot, int64_t dim) {
  return static_cast<double>(store.v[store.ValueIndex(head, slot, dim)]);
}

/// softmax over the visible keys of one head of one row.
std::vector<double> Probabilities(const AttentionSpan& span, const std::vector<VisibleKey>& keys, int64_t kv_head,
                                  const std::vector<double>& query) {
  std::vector<double> p;
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const VisibleKey& key : keys) {
    double score = 0;
    for (size_t dim = 0; dim < query.size(); ++dim) {
      score += query[dim] * Key(key.StoreOf(span), kv_head, key.slot, static_cast<int64_t>(dim));
    }
    p.push_back(score);
    max = std::max(max, score);
  }
  for (double& value : p) {
    value = std::exp(value - max);
    sum += value;
  }
  for (double& value : p) value /= sum;
  return p;
}

}  // namespace

void RefTrainKernels::AttendBackward(std::span<const AttentionSpan> spans, std::span<const AttentionSpan> dspans,
                                     const QkvShape& shape, Matrix q, Matrix out, Matrix dout, Matrix dq) {
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  for (size_t index = 0; index < spans.size(); ++index) {
    const AttentionSpan& span = spans[index];
    StoreSum cache(dspans[index].cache), local(dspans[index].local);
    for (int64_t row = span.row; row < span.row + span.rows; ++row) {
      const std::vector<VisibleKey> keys = VisibleKeys(span, span.pos + row - span.row);
      for (int64_t head = 0; head < shape.heads; ++head) {
        const int64_t kv_head = head / group;
        const std::vector<double> query = Widened(q.Row(row) + head * size, size);
        const std::vector<double> result = Widened(out.Row(row) + head * size, size);
        const std::vector<double> gradient = Widened(dout.Row(row) + head * size, size);
        const std::vector<double> p = Probabilities(span, keys, kv_head, query);
        double mean = 0;  // sum over keys of P (dout . V)
        for (size_t dim = 0; dim < query.size(); ++dim) mean += gradient[dim] * result[dim];
        std::vector<double> dquery(query.size(), 0.0);
        for (size_t j = 0; j < keys.size(); ++j) {
          const KvStore& store = keys[j].StoreOf(span);
          const int64_t slot = keys[j].slot;
          StoreSum& sum = keys[j].local ? local : cache;
          double dot = 0;
          for (int64_t dim = 0; dim < size; ++dim) {
            dot += gradient[static_cast<size_t>(dim)] * Value(store, kv_head, slot, dim);
          }
          const double dscore = p[j] * (dot - mean);
          for (int64_t dim = 0; dim < size; ++dim) {
            const auto i = static_cast<size_t>(dim);
            dquery[i] += dscore * Key(store, kv_head, slot, dim);
            sum.k[static_cast<size_t>(store.KeyIndex(kv_head, slot, dim))] += dscore * query[i];
            sum.v[static_cast<size_t>(store.ValueIndex(kv_head, slot, dim))] += p[j] * gradient[i];
          }
        }
        if (dq.data != nullptr) StoreRow(dquery, dq.Row(row) + head * size);
      }
    }
    cache.Store();
    local.Store();
  }
}

void RefTrainKernels::ProjectQkvBackward(Matrix a, std::span<const RowRole> roles, const QkvWeights& w,
                                         const QkvShape& shape, const Rotary& rotary, std::span<const KvTarget> dtarget,
                                         Matrix dq, const QkvWeights& dw, Matrix da) {
  const int64_t size = shape.head_size;
  const auto head_values = [&](std::vector<double>& row, int64_t head) { return row.begin() + head * size; };
  const auto head_of = [&](std::vector<double>& row, int64_t head) {
    return std::vector<double>(head_values(row, head), head_values(row, head + 1));
  };
  WeightSum dwq(dw.q), dwk(dw.k), dwv(dw.v);
  GradientSum dq_norm(dw.q_norm), dk_norm(dw.k_norm), none{kNoGradient};
  for (int64_t row = 0; row < a.rows; ++row) {
    const std::vector<double> input = WidenedRow(a, row);
    const RowRole role = RoleOf(roles, row);
    std::vector<double> query = Product(input, role, w.q, 0), key = Product(input, role, w.k, 0);
    std::vector<double> value = w.v.present() ? Product(input, role, w.v, 0) : key;
    std::vector<double> dquery(query.size()), dkey(key.size()), dvalue(value.size());
    for (int64_t head = 0; head < shape.heads; ++head) {
      std::vector<double> gradient = Widened(dq.Row(row) + head * size, size);
      RotateHeadBackward(rotary, row, gradient);
      std::ranges::copy(NormBackward(head_of(query, head), w.q_norm.Vector(), gradient, dq_norm),
                        head_values(dquery, head));
    }
    const auto& [store, slot] = dtarget[static_cast<size_t>(row)];
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      std::vector<double> key_gradient, value_gradient;
      for (int64_t dim = 0; dim < size; ++dim) {
        key_gradient.push_back(Key(store, head, slot, dim));
        value_gradient.push_back(Value(store, head, slot, dim));
      }
      RotateHeadBackward(rotary, row, key_gradient);
      std::ranges::copy(NormBackward(head_of(key, head), w.k_norm.Vector(), key_gradient, dk_norm),
                        head_values(dkey, head));
      std::ranges::copy(NormBackward(head_of(value, head), nullptr, value_gradient, none), head_values(dvalue, head));
    }
    if (!w.v.present()) AddRow(dvalue, dkey);  // V came from the raw K
    std::vector<double> dinput = ProductBackward(input, role, w.q, 0, dquery, dwq);
    AddRow(ProductBackward(input, role, w.k, 0, dkey, dwk), dinput);
    if (w.v.present()) AddRow(ProductBackward(input, role, w.v, 0, dvalue, dwv), dinput);
    if (da.data != nullptr) StoreRow(dinput, da.Row(row));
  }
  for (WeightSum* sum : {&dwq, &dwk, &dwv}) sum->Store();
  for (GradientSum* sum : {&dq_norm, &dk_norm}) sum->Store();
}

}  // namespace dgemma
