// Gradients of attention on the CPU. One thread visits all rows that see the same keys, head by head, so that a store's gradients are
// sums in the order of rows. Scores are computed again in runs of keys: a first sweep finds every row's maximum and sum, the second
// turns scores into gradients. Slots that no row of a block sees are never used, whatever they hold.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/train_backend.h"
#include "kernels/cpu/train_scratch.h"

namespace dgemma {
namespace {

/// One head's part of a store.
struct HeadStore {
  const KvStore* store;
  int64_t head;

  float* Keys(int64_t slot) const { return store->k + store->KeyIndex(head, slot, 0); }
  float* Values(int64_t slot) const { return store->v + store->ValueIndex(head, slot, 0); }
};

/// Keys in consecutive slots, at most kScoreKeys of them; the first slot is a multiple of 16. Ranges count from the first key.
struct KeyRun {
  HeadStore from;
  HeadStore to;  ///< their gradients
  int64_t slot;
  int64_t count;
  KeyRange seen;  ///< by any row of the block

  int64_t Padded() const { return (count + kKeyPanel - 1) / kKeyPanel * kKeyPanel; }
};

/// Query rows of one task and step: pair i is row begin + i / group, head i % group of a key/value head.
struct PairBlock {
  const AttentionSpan* span;
  const AttentionSpan* dspan;
  int64_t kv_head;
  int64_t begin;
  int64_t end;
  int64_t group;
  int64_t head_size;

  int64_t Pairs() const { return (end - begin) * group; }
  int64_t SpanRow(int64_t pair) const { return begin + pair / group; }
  /// Where the values of a pair lie in q, out and their gradients.
  float* Values(Matrix x, int64_t pair) const {
    return x.Row(span->row + SpanRow(pair)) + (kv_head * group + pair % group) * head_size;
  }
};

/// One thread's memory: see AttendBackwardFloats.
struct AttentionScratch {
  AttentionScratch(float* memory, int64_t head_size, int64_t group) {
    const int64_t most = BackwardPairs(group);
    MatrixRoom room(memory);
    queries = room.Take(most, head_size);
    douts = room.Take(most, head_size);
    dqueries = room.Take(most, head_size);
    query_columns = room.Take(head_size, most);
    scores = room.Take(most, kScoreKeys);
    dscores = room.Take(most, kScoreKeys);
    score_columns = room.Take(kScoreKeys, most);
    values = score_columns.Row(kScoreKeys);
    keys = values + PanelsFloats(head_size, kScoreKeys);
    means = keys + PanelsFloats(kScoreKeys, head_size);
    states = static_cast<SoftmaxState*>(static_cast<void*>(means + most));
  }

  Matrix queries, douts, dqueries;  // [pairs, Q]
  Matrix query_columns;             // [Q, pairs]
  Matrix scores, dscores;           // [pairs, keys of a run]
  Matrix score_columns;             // [keys of a run, pairs]
  float* values;                    // [keys / 16][Q][16]
  float* keys;                      // [Q / 16][keys][16]
  float* means;                     // [pairs] dout . out
  SoftmaxState* states;             // [pairs]
};

/// Keys of `run` that a row sees, given those of the store (positions, or slots of a canvas) and the run's first.
KeyRange Within(KeyRange seen, int64_t first, int64_t count) {
  return {std::clamp<int64_t>(seen.begin - first, 0, count), std::clamp<int64_t>(seen.end - first, 0, count)};
}

/// visit(run, seen_by) for all keys that rows of the block see, in order; seen_by(row of the span) is a range of the run's keys.
template <typename Visit>
void ForEachKeyRun(const PairBlock& block, Visit visit) {
  const AttentionSpan& span = *block.span;
  const auto visit_range = [&](const KvStore& store, const KvStore& gradients, KeyRange all, auto seen_of) {
    for (int64_t pos = all.begin / kScoreKeys * kScoreKeys; pos < all.end; pos += kScoreKeys) {
      const KeyBlock keys{&store, block.kv_head, pos};
      const int64_t first = std::max(all.begin - pos, int64_t{0}) / kKeyPanel * kKeyPanel;
      ForEachRun(keys, {first, std::min(kScoreKeys, all.end - pos)}, [&](KeyRange run) {
        const int64_t begin = pos + run.begin, count = run.end - run.begin;
        visit(KeyRun{{&store, block.kv_head},
                     {&gradients, block.kv_head},
                     keys.Slot(run.begin),
                     count,
                     Within(all, begin, count)},
              [&](int64_t row) { return Within(seen_of(row), begin, count); });
      });
    }
  };
  const KeyRange cached{CacheRange(span, block.begin).begin, CacheRange(span, block.end - 1).end};
  visit_range(span.cache, block.dspan->cache, cached, [&](int64_t row) { return CacheRange(span, row); });
  if (span.causal) return;
  const KeyRange canvas{0, span.local_rows};
  visit_range(span.local, block.dspan->local, canvas, [&](int64_t) { return canvas; });
}

/// scores = queries K^T for all keys of a run, padded to panels.
void ScoreRun(const ProductOps& ops, const AttentionScratch& s, const KeyRun& run, int64_t pairs) {
  Product product;
  product.a = s.queries.data;
  product.a_stride = s.queries.stride;
  product.rows = pairs;
  product.b = run.from.Keys(run.slot);
  product.b_panel_stride = s.queries.cols * kKeyPanel;
  product.depth = s.queries.cols;
  product.cols = run.Padded();
  product.c = s.scores.data;
  product.c_stride = s.scores.stride;
  ops.multiply(product);
}

/// dscores = dout V^T, likewise.
void ScoreGradients(const ProductOps& ops, const TrainRowOps& train, const AttentionScratch& s, const KeyRun& run,
                    int64_t pairs) {
  const int64_t size = s.douts.cols;
  for (int64_t key = 0; key < run.Padded(); key += kKeyPanel) {
    train.transpose(run.from.Values(run.slot + key), size, kKeyPanel, size, s.values + key * size, kKeyPanel);
  }
  Product product;
  product.a = s.douts.data;
  product.a_stride = s.douts.stride;
  product.rows = pairs;
  product.b = s.values;
  product.b_panel_stride = size * kKeyPanel;
  product.depth = size;
  product.cols = run.Padded();
  product.c = s.dscores.data;
  product.c_stride = s.dscores.stride;
  ops.multiply(product);
}

/// dqueries += dscores K, over the keys that some row sees.
void AddQueryGradients(const ProductOps& ops, const AttentionScratch& s, const KeyRun& run, int64_t pairs) {
  const int64_t size = s.queries.cols;
  ops.transpose(run.from.Keys(run.slot), PanelFormat::kF32, size * kKeyPanel, run.Padded(), size, s.keys);
  Product product;
  product.a = s.dscores.data + run.seen.begin;
  product.a_stride = s.dscores.stride;
  product.rows = pairs;
  product.b = s.keys + run.seen.begin * kPanel;
  product.b_panel_stride = run.Padded() * kPanel;
  product.depth = run.seen.end - run.seen.begin;
  product.cols = size;
  product.c = s.dqueries.data;
  product.c_stride = s.dqueries.stride;
  product.start = Start::kAdd;
  ops.multiply(product);
}

/// dV += P^T dout and dK += dscores^T queries; dscores of keys that a row does not see are 0.
void AddKeyGradients(const ProductOps& ops, const TrainRowOps& train, const AttentionScratch& s, const KeyRun& run,
                     int64_t pairs) {
  const int64_t size = s.queries.cols;
  train.transpose(s.scores.data, s.scores.stride, pairs, run.Padded(), s.score_columns.data, s.score_columns.stride);
  Product product;
  product.a = s.score_columns.Row(run.seen.begin);
  product.a_stride = s.score_columns.stride;
  product.rows = run.seen.end - run.seen.begin;
  product.b = s.douts.data;
  product.format = PanelFormat::kF32Rows;
  product.b_row_stride = s.douts.stride;
  product.b_panel_stride = kPanel;
  product.depth = pairs;
  product.cols = size;
  product.c = run.to.Values(run.slot + run.seen.begin);
  product.c_stride = size;
  product.start = Start::kAdd;
  ops.multiply(product);

  product.a = s.query_columns.data;
  product.a_stride = s.query_columns.stride;
  product.rows = size;
  product.b = s.dscores.data;
  product.b_row_stride = s.dscores.stride;
  product.cols = run.Padded();
  product.c = run.to.Keys(run.slot);
  product.c_stride = kKeyPanel;
  product.c_panel_stride = size * kKeyPanel;
  ops.multiply(product);
}

}  // namespace

void CpuTrainKernels::GroupSpans(std::span<const AttentionSpan> dspans) {
  const auto meet = [](const AttentionSpan& a, const AttentionSpan& b) {
    const auto same = [](const KvStore& x, const KvStore& y) { return x.k != nullptr && x.k == y.k; };
    return same(a.cache, b.cache) || same(a.local, b.local) || same(a.cache, b.local) || same(a.local, b.cache);
  };
  span_group_.clear();
  for (size_t i = 0; i < dspans.size(); ++i) {
    span_group_.push_back(i);
    for (size_t j = 0; j < i; ++j) {
      if (span_group_[j] == span_group_[i] || !meet(dspans[j], dspans[i])) continue;
      const size_t old = span_group_[i], joined = span_group_[j];
      std::replace(span_group_.begin(), span_group_.end(), std::max(old, joined), std::min(old, joined));
    }
  }
}

void CpuTrainKernels::AttendBackward(std::span<const AttentionSpan> spans, std::span<const AttentionSpan> dspans,
                                     const QkvShape& shape, Matrix q, Matrix out, Matrix dout, Matrix dq) {
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  const int64_t step = BackwardPairs(group) / group;
  const ProductOps& ops = forward_.product();
  const auto bytes = static_cast<size_t>(size) * sizeof(float);
  GroupSpans(dspans);
  attention_tasks_.clear();
  for (size_t index = 0; index < spans.size(); ++index) {
    if (span_group_[index] != index) continue;
    for (int64_t head = 0; head < shape.kv_heads; ++head) attention_tasks_.push_back({index, head});
  }

  const auto block_backward = [&](const PairBlock& block, const AttentionScratch& s) {
    const int64_t pairs = block.Pairs();
    for (int64_t pair = 0; pair < pairs; ++pair) {
      std::memcpy(s.queries.Row(pair), block.Values(q, pair), bytes);
      std::memcpy(s.douts.Row(pair), block.Values(dout, pair), bytes);
      std::memset(s.dqueries.Row(pair), 0, bytes);
      s.means[pair] = train_.sum_products(block.Values(dout, pair), block.Values(out, pair), nullptr, size);
      std::construct_at(s.states + pair, -std::numeric_limits<float>::infinity(), 0.0f);
    }
    train_.transpose(s.queries.data, s.queries.stride, pairs, size, s.query_columns.data, s.query_columns.stride);
    ForEachKeyRun(block, [&](const KeyRun& run, auto seen_by) {
      ScoreRun(ops, s, run, pairs);
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const KeyRange seen = seen_by(block.SpanRow(pair));
        if (seen.begin < seen.end) row_.softmax_block(s.scores.Row(pair), seen.begin, seen.end, s.states[pair]);
      }
    });
    ForEachKeyRun(block, [&](const KeyRun& run, auto seen_by) {
      ScoreRun(ops, s, run, pairs);
      ScoreGradients(ops, train_, s, run, pairs);
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const KeyRange seen = seen_by(block.SpanRow(pair));
        const SoftmaxState& state = s.states[pair];
        train_.score_gradient(s.scores.Row(pair), s.dscores.Row(pair), {seen.begin, seen.end, run.Padded()},
                              {state.max, 1.0f / state.sum}, s.means[pair]);
      }
      if (dq.data != nullptr) AddQueryGradients(ops, s, run, pairs);
      if (run.to.store->k != nullptr) AddKeyGradients(ops, train_, s, run, pairs);
    });
    for (int64_t pair = 0; pair < pairs && dq.data != nullptr; ++pair) {
      std::memcpy(block.Values(dq, pair), s.dqueries.Row(pair), bytes);
    }
  };

  const int64_t thread_floats = AttendBackwardFloats(size, group);
  float* memory = threads_.Floats(thread_floats * forward_.threads());
  auto task_backward = [&](int64_t index, int thread) {
    const AttentionTask& task = attention_tasks_[static_cast<size_t>(index)];
    const AttentionScratch scratch(memory + thread * thread_floats, size, group);
    for (size_t i = task.group; i < spans.size(); ++i) {
      if (span_group_[i] != task.group) continue;
      for (int64_t begin = 0; begin < spans[i].rows; begin += step) {
        const int64_t end = std::min(spans[i].rows, begin + step);
        block_backward({&spans[i], &dspans[i], task.kv_head, begin, end, group, size}, scratch);
      }
    }
  };
  const int64_t work = 100 * q.rows * q.cols;
  forward_.Run(static_cast<int64_t>(attention_tasks_.size()), work, task_backward);
}

void CpuTrainKernels::ProjectQkvBackward(Matrix a, std::span<const RowRole> roles, const QkvWeights& w,
                                         const QkvShape& shape, const Rotary& rotary, std::span<const KvTarget> dtarget,
                                         Matrix dq, const QkvWeights& dw, Matrix da) {
  const int64_t size = shape.head_size, kv_width = shape.kv_heads * size, q_width = shape.heads * size;
  const bool has_value = w.v.present();
  MatrixRoom room(memory_.Floats(MatrixFloats(a.rows, q_width) + 4 * MatrixFloats(a.rows, kv_width)));
  const Matrix q = room.Take(a.rows, q_width), k = room.Take(a.rows, kv_width), v = room.Take(a.rows, kv_width),
               dk = room.Take(a.rows, kv_width), dv = room.Take(a.rows, kv_width);
  const ProductInput input = forward_.Input(a, {&w.q, &w.k, &w.v}, codes_);
  MatrixRoom deltas = DeltaRoom(a.rows, {&w.q, &w.k, &w.v});
  const DeltaRows u = forward_.FindDeltas(a, roles, {}, {&w.q, &w.k, &w.v}, deltas);
  linear_jobs_.clear();
  linear_jobs_.push_back({input, PackedMatrix(w.q, 0), q, {w.q, 0, u[0]}});
  linear_jobs_.push_back({input, PackedMatrix(w.k, 0), k, {w.k, 0, u[1]}});
  if (has_value) linear_jobs_.push_back({input, PackedMatrix(w.v, 0), v, {w.v, 0, u[2]}});
  forward_.RunLinear(linear_jobs_);

  auto unrotate = [&](int64_t row) {
    // With its halves exchanged, the rotation turns the other way.
    const auto rotate_back = [&](float* x) {
      row_.rotate(rotary.cos.Row(row), rotary.sin.Row(row), rotary.cos.cols, -size / 2, x + size / 2);
    };
    const KvTarget& from = dtarget[static_cast<size_t>(row)];
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      const float* keys = from.store.k + from.store.KeyIndex(head, from.slot, 0);
      float* key = dk.Row(row) + head * size;
      for (int64_t dim = 0; dim < size; ++dim) key[dim] = keys[dim * kKeyPanel];
      std::memcpy(dv.Row(row) + head * size, from.store.v + from.store.ValueIndex(head, from.slot, 0),
                  static_cast<size_t>(size) * sizeof(float));
      rotate_back(key);
    }
    for (int64_t head = 0; head < shape.heads; ++head) rotate_back(dq.Row(row) + head * size);
  };
  forward_.RunRows(a.rows, 4 * (q_width + 2 * kv_width), unrotate);

  // The values first: where they are the raw keys, those are needed once more.
  NormGradients(has_value ? v : k, shape.kv_heads, {}, dv, dv, Start::kZero, {});
  NormGradients(k, shape.kv_heads, w.k_norm, dk, dk, Start::kZero, k);
  NormGradients(q, shape.heads, w.q_norm, dq, dq, Start::kZero, q);
  if (dw.k_norm.present()) AddColumns(k, shape.kv_heads, dw.k_norm);
  if (dw.q_norm.present()) AddColumns(q, shape.heads, dw.q_norm);
  if (!has_value) Add(dv, dk);

  const RowPart all{0, 0, a.rows};
  BackwardProduct three[] = {{w.q, dw.q, dq}, {w.k, dw.k, dk}, {w.v, dw.v, dv}};
  const std::span<BackwardProduct> products = std::span(three).first(has_value ? 3 : 2);
  for (size_t i = 0; i < products.size(); ++i) products[i].u = u[i];
  FindDeltaGradients({roles, {&all, 1}}, products, deltas);
  AddGradients(a, {&all, 1}, products);
  if (da.data != nullptr) FindInputGradient({&all, 1}, products, da);
}

}  // namespace dgemma
