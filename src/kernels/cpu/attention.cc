// Attention of the CPU backend. Keys are visited in blocks of kScoreKeys that are aligned to absolute positions, in the same order
// for every row, with an online softmax: a row's bits do not depend on how the prompt was cut or on which rows share its task.
// Slots that a row does not see are never used for it, whatever they hold.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/backend.h"

namespace dgemma {
namespace {

/// Queries of one task: pair i is row i / group, head i % group.
struct QueryBlock {
  int64_t pairs;
  int64_t group;
  int64_t head_size;
  Matrix queries;  // [pairs, Q]
  Matrix sums;     // [pairs, Q]
  Matrix scores;   // [pairs, kScoreKeys]
  SoftmaxState* states;
  float* rounded;  // keys or values of kScoreKeys keys as pairs of bfloat16
};

void ScoreKeys(const ProductOps& ops, const QueryBlock& block, const KeyBlock& keys, KeyRange seen) {
  ForEachRun(keys, {seen.begin / kKeyPanel * kKeyPanel, seen.end}, [&](KeyRange run) {
    Product product;
    product.a = block.queries.data;
    product.a_stride = block.queries.stride;
    product.rows = block.pairs;
    product.b = keys.store->k + keys.store->KeyIndex(keys.kv_head, keys.Slot(run.begin), 0);
    product.b_panel_stride = block.head_size * kKeyPanel;
    product.depth = block.head_size;
    product.cols = (run.end - run.begin + kKeyPanel - 1) / kKeyPanel * kKeyPanel;
    product.c = block.scores.data + run.begin;
    product.c_stride = block.scores.stride;
    ops.multiply(product);
  });
}

/// sums[pairs] += probabilities[keys] times values[keys]. One chain of sums for each output: cutting `keys` changes no bit.
void AddValues(const ProductOps& ops, const QueryBlock& block, const KeyBlock& keys, KeyRange pairs, KeyRange seen) {
  ForEachRun(keys, seen, [&](KeyRange run) {
    Product product;
    product.a = block.scores.Row(pairs.begin) + run.begin;
    product.a_stride = block.scores.stride;
    product.rows = pairs.end - pairs.begin;
    product.b = keys.store->v + keys.store->ValueIndex(keys.kv_head, keys.Slot(run.begin), 0);
    product.format = PanelFormat::kF32Rows;
    product.b_row_stride = block.head_size;
    product.b_panel_stride = kPanel;
    product.depth = run.end - run.begin;
    product.cols = block.head_size;
    product.c = block.sums.Row(pairs.begin);
    product.c_stride = block.sums.stride;
    product.start = Start::kAdd;
    ops.multiply(product);
  });
}

/// Values of rows [row, next) whose ranges differ: what all of them see at once, what only some see row by row.
template <typename SeenBy>
void AddRows(const ProductOps& ops, const QueryBlock& block, const KeyBlock& keys, KeyRange rows, SeenBy seen_by) {
  KeyRange common{0, kScoreKeys};
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    common = {std::max(common.begin, seen_by(row).begin), std::min(common.end, seen_by(row).end)};
  }
  const auto pairs_of = [&](int64_t row) { return KeyRange{row * block.group, (row + 1) * block.group}; };
  if (common.begin >= common.end) {
    for (int64_t row = rows.begin; row < rows.end; ++row) AddValues(ops, block, keys, pairs_of(row), seen_by(row));
    return;
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    AddValues(ops, block, keys, pairs_of(row), {seen_by(row).begin, common.begin});
  }
  AddValues(ops, block, keys, {rows.begin * block.group, rows.end * block.group}, common);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    AddValues(ops, block, keys, pairs_of(row), {common.end, seen_by(row).end});
  }
}

/// Scores become probabilities relative to the running maximum, which earlier sums follow.
template <typename SeenBy>
void UpdateSoftmax(const RowOps& rows, const QueryBlock& block, SeenBy seen_by) {
  for (int64_t pair = 0; pair < block.pairs; ++pair) {
    const KeyRange seen = seen_by(pair / block.group);
    if (seen.begin >= seen.end) continue;
    const float factor = rows.softmax_block(block.scores.Row(pair), seen.begin, seen.end, block.states[pair]);
    if (factor != 1.0f) rows.scale(block.sums.Row(pair), block.head_size, factor, nullptr, block.sums.Row(pair));
  }
}

/// Visits one block; seen_by(row) is the range of its keys that a row of the task sees.
template <typename SeenBy>
void VisitBlock(const ProductOps& ops, const RowOps& rows, const QueryBlock& block, const KeyBlock& keys,
                SeenBy seen_by) {
  const int64_t count = block.pairs / block.group;
  KeyRange all{kScoreKeys, 0};
  for (int64_t row = 0; row < count; ++row) {
    const KeyRange seen = seen_by(row);
    if (seen.begin < seen.end) all = {std::min(all.begin, seen.begin), std::max(all.end, seen.end)};
  }
  if (all.begin >= all.end) return;
  ScoreKeys(ops, block, keys, all);
  UpdateSoftmax(rows, block, seen_by);
  constexpr int64_t kMixedPairs = 24;  // rows of different ranges that share a product: a few register tiles
  for (int64_t row = 0; row < count;) {
    const KeyRange seen = seen_by(row);
    int64_t next = row + 1;
    while (next < count && seen_by(next) == seen) ++next;
    if (next == row + 1) next = std::min(count, row + std::max<int64_t>(1, kMixedPairs / block.group));
    AddRows(ops, block, keys, {row, next}, seen_by);
    row = next;
  }
}

/// A row of floats becomes bfloat16 in place: value i in half i of its memory, so that halves 2k and 2k + 1 are float k's.
void RoundInPlace(const RowOps& rows, float* row, int64_t begin, int64_t end) {
  rows.round_bf16(row + begin, end - begin, reinterpret_cast<uint16_t*>(row) + begin);
}

/// Halves that `mask` leaves out of pair `pair` of panels [panels][pairs][16] become zero.
void KeepHalves(float* panels, int64_t count, int64_t pairs, int64_t pair, uint32_t mask) {
  for (int64_t panel = 0; panel < count; ++panel) {
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      float& both = panels[(panel * pairs + pair) * kPanel + lane];
      both = std::bit_cast<float>(std::bit_cast<uint32_t>(both) & mask);
    }
  }
}

/// c (+)= a times the block's rounded keys or values [cols / 16][depth][16]; `a` and `depth` in pairs.
void MultiplyPairs(const ProductOps& ops, const QueryBlock& block, Matrix a, int64_t depth, Matrix c, Start start) {
  Product product;
  product.a = a.data;
  product.a_stride = a.stride;
  product.rows = block.pairs;
  product.b = block.rounded;
  product.format = PanelFormat::kBf16Pairs;
  product.b_panel_stride = depth * kPanel;
  product.depth = depth;
  product.cols = c.cols;
  product.c = c.data;
  product.c_stride = c.stride;
  product.start = start;
  ops.multiply(product);
}

/// ScoreKeys for queries that are pairs of bfloat16.
void ScorePairs(const ProductOps& ops, const QueryBlock& block, const KeyBlock& keys, KeyRange seen) {
  const KvStore& store = *keys.store;
  ForEachRun(keys, {seen.begin / kKeyPanel * kKeyPanel, seen.end}, [&](KeyRange run) {
    const int64_t panels = (run.end - run.begin + kKeyPanel - 1) / kKeyPanel, depth = block.head_size / 2;
    ops.pair_rows(store.k + store.KeyIndex(keys.kv_head, keys.Slot(run.begin), 0), kKeyPanel, panels * depth, kKeyPanel,
                  block.rounded);
    const Matrix scores{block.scores.data + run.begin, block.pairs, panels * kKeyPanel, block.scores.stride};
    MultiplyPairs(ops, block, block.queries, depth, scores, Start::kZero);
  });
}

/// AddValues for all rows, whose probabilities are rounded here. A key that is not seen and shares its pair with one that is has
/// probability and value 0, whatever its slot holds.
void AddValuePairs(const ProductOps& ops, const RowOps& rows, const QueryBlock& block, const KeyBlock& keys,
                   KeyRange seen) {
  const KvStore& store = *keys.store;
  const KeyRange whole{seen.begin / 2 * 2, (seen.end + 1) / 2 * 2};
  for (int64_t pair = 0; pair < block.pairs; ++pair) {
    float* probabilities = block.scores.Row(pair);
    if (whole.begin < seen.begin) probabilities[whole.begin] = 0;
    if (whole.end > seen.end) probabilities[seen.end] = 0;
    RoundInPlace(rows, probabilities, whole.begin, whole.end);
  }
  ForEachRun(keys, whole, [&](KeyRange run) {
    const int64_t size = block.head_size, depth = (run.end - run.begin) / 2;
    ops.pair_rows(store.v + store.ValueIndex(keys.kv_head, keys.Slot(run.begin), 0), size, depth, size, block.rounded);
    if (run.begin < seen.begin) KeepHalves(block.rounded, size / kPanel, depth, 0, 0xFFFF0000u);
    if (run.end > seen.end) KeepHalves(block.rounded, size / kPanel, depth, depth - 1, 0x0000FFFFu);
    const Matrix probabilities{block.scores.data + run.begin / 2, block.pairs, depth, block.scores.stride};
    MultiplyPairs(ops, block, probabilities, depth, block.sums, Start::kAdd);
  });
}

/// VisitBlock where all rows see the same keys and both sides of both products are pairs of bfloat16.
void VisitPairs(const ProductOps& ops, const RowOps& rows, const QueryBlock& block, const KeyBlock& keys,
                KeyRange seen) {
  if (seen.begin >= seen.end) return;
  ScorePairs(ops, block, keys, seen);
  UpdateSoftmax(rows, block, [&](int64_t) { return seen; });
  AddValuePairs(ops, rows, block, keys, seen);
}

}  // namespace

void CpuKernels::AttendTask(const AttentionTask& task, const QkvShape& shape, Matrix q, Matrix out,
                            float* scratch) const {
  const AttentionSpan& span = *task.span;
  const int64_t size = shape.head_size, group = shape.heads / shape.kv_heads, stride = PaddedStride(size);
  const int64_t pairs = (task.end - task.begin) * group, score_stride = kScoreKeys + kRowPadding;
  QueryBlock block{pairs, group, size, {scratch, pairs, size, stride}, {}, {}, nullptr, nullptr};
  block.sums = {scratch + pairs * stride, pairs, size, stride};
  block.scores = {block.sums.data + pairs * stride, pairs, kScoreKeys, score_stride};
  block.states = static_cast<SoftmaxState*>(static_cast<void*>(block.scores.data + pairs * score_stride));
  block.rounded = block.scores.data + pairs * (score_stride + 4);
  const bool in_pairs = span.rounds && !span.causal;
  const auto head_bytes = static_cast<size_t>(size) * sizeof(float);
  auto column = [&](int64_t pair) { return (task.kv_head * group + pair % group) * size; };
  auto pass_row = [&](int64_t pair) { return span.row + task.begin + pair / group; };
  for (int64_t pair = 0; pair < pairs; ++pair) {
    std::memcpy(block.queries.Row(pair), q.Row(pass_row(pair)) + column(pair), head_bytes);
    if (in_pairs) RoundInPlace(row_, block.queries.Row(pair), 0, size);
    std::memset(block.sums.Row(pair), 0, head_bytes);
    std::construct_at(block.states + pair, -std::numeric_limits<float>::infinity(), 0.0f);
  }
  const auto visit = [&](const KeyBlock& keys, const auto& seen_by) {
    if (in_pairs)
      VisitPairs(product_, row_, block, keys, seen_by(0));
    else
      VisitBlock(product_, row_, block, keys, seen_by);
  };
  const KeyRange first = CacheRange(span, task.begin), last = CacheRange(span, task.end - 1);
  for (int64_t pos = first.begin / kScoreKeys * kScoreKeys; pos < last.end; pos += kScoreKeys) {
    visit({&span.cache, task.kv_head, pos}, [&](int64_t row) {
      const KeyRange seen = CacheRange(span, task.begin + row);
      return KeyRange{std::clamp<int64_t>(seen.begin - pos, 0, kScoreKeys),
                      std::clamp<int64_t>(seen.end - pos, 0, kScoreKeys)};
    });
  }
  for (int64_t slot = 0; !span.causal && slot < span.local_rows; slot += kScoreKeys) {
    visit({&span.local, task.kv_head, slot},
          [&](int64_t) { return KeyRange{0, std::min(kScoreKeys, span.local_rows - slot)}; });
  }
  for (int64_t pair = 0; pair < pairs; ++pair) {
    row_.divide(block.sums.Row(pair), size, block.states[pair].sum, out.Row(pass_row(pair)) + column(pair));
  }
}

void CpuKernels::Attend(std::span<const AttentionSpan> spans, const QkvShape& shape, Matrix q, Matrix out) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t step = std::max<int64_t>(1, AttentionPairs(shape.head_size) / group);
  attention_tasks_.clear();
  int64_t work = 0;
  for (const AttentionSpan& span : spans) {
    for (int64_t begin = 0; begin < span.rows; begin += step) {
      const int64_t end = std::min(span.rows, begin + step);
      const KeyRange first = CacheRange(span, begin), last = CacheRange(span, end - 1);
      const int64_t keys = last.end - first.begin + (span.causal ? 0 : span.local_rows);
      work += 4 * (end - begin) * shape.heads * shape.head_size * keys;
      for (int64_t head = 0; head < shape.kv_heads; ++head) attention_tasks_.push_back({&span, head, begin, end});
    }
  }
  const int64_t thread_floats = AttentionFloats(shape.head_size, group);
  float* scratch = threads_.Floats(thread_floats * pool_.threads());
  auto attend = [&](int64_t task, int thread) {
    AttendTask(attention_tasks_[static_cast<size_t>(task)], shape, q, out, scratch + thread * thread_floats);
  };
  Run(static_cast<int64_t>(attention_tasks_.size()), work, attend);
}

void CpuKernels::StoreKeyValue(const KvTarget& to, const QkvShape& shape, const float* key, const float* value) const {
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    float* keys = to.store.k + to.store.KeyIndex(head, to.slot, 0);
    for (int64_t dim = 0; dim < shape.head_size; ++dim) keys[dim * kKeyPanel] = key[head * shape.head_size + dim];
    std::memcpy(to.store.v + to.store.ValueIndex(head, to.slot, 0), value + head * shape.head_size,
                static_cast<size_t>(shape.head_size) * sizeof(float));
  }
}

void CpuKernels::ProjectQkv(Matrix a, std::span<const RowRole> roles, const QkvWeights& w, const QkvShape& shape,
                            const Rotary& rotary, std::span<const KvTarget> target, Matrix q) {
  const int64_t size = shape.head_size, kv_width = shape.kv_heads * size, stride = PaddedStride(kv_width);
  float* memory = kv_.Floats(2 * a.rows * stride);
  const Matrix k{memory, a.rows, kv_width, stride}, v{memory + a.rows * stride, a.rows, kv_width, stride};
  linear_jobs_.clear();
  const ProductInput input = Input(a, {&w.q, &w.k, &w.v}, codes_);
  const DeltaRows u = Deltas(a, roles, {}, {&w.q, &w.k, &w.v});
  linear_jobs_.push_back({input, PackedMatrix(w.q, 0), q, {w.q, 0, u[0]}});
  linear_jobs_.push_back({input, PackedMatrix(w.k, 0), k, {w.k, 0, u[1]}});
  if (w.v.present()) linear_jobs_.push_back({input, PackedMatrix(w.v, 0), v, {w.v, 0, u[2]}});
  RunLinear(linear_jobs_);
  auto finish = [&](int64_t row) {
    const float* raw_value = w.v.present() ? v.Row(row) : k.Row(row);
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      NormRow(raw_value + head * size, size, nullptr, v.Row(row) + head * size);
    }
    auto norm_rotate = [&](float* x, const Weight& norm) {
      NormRow(x, size, norm.Vector(), x);
      row_.rotate(rotary.cos.Row(row), rotary.sin.Row(row), rotary.cos.cols, size / 2, x);
    };
    for (int64_t head = 0; head < shape.heads; ++head) norm_rotate(q.Row(row) + head * size, w.q_norm);
    for (int64_t head = 0; head < shape.kv_heads; ++head) norm_rotate(k.Row(row) + head * size, w.k_norm);
    StoreKeyValue(target[static_cast<size_t>(row)], shape, k.Row(row), v.Row(row));
  };
  RunRows(a.rows, 8 * (shape.heads + 2 * shape.kv_heads) * size, finish);
}

}  // namespace dgemma
