// The vocabulary side of the CPU backend: one sweep over the table in steps of kSweepIds ids gives maximum, entropy, argmax, the
// masses that Sample walks, and the soft embedding. Rows x vocabulary never exists; per row everything is done in the order of ids.
//
// A step has three parts, each cut into tasks of its own: logits (row blocks x tiles of ids), probabilities relative to the running
// maximum (rows), and probabilities times the transposed table, added to the soft embedding (row blocks x columns).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/backend.h"
#include "kernels/cpu/head_scratch.h"

namespace dgemma {
namespace {

/// Probabilities below e^-32 (2^-46) of the largest so far leave the soft embedding as it is: all V = 2^18 of them together are
/// below 2^-28 of the largest, far under a float32 rounding of the sum. Decided for each row from its own logits alone.
constexpr float kNegligible = 1.2664166e-14f;

/// Where weights are not float32, rows leave out as many small probabilities as together stay below this share of the total: the
/// rounding of a bfloat16 probability. The sum so far only grows, so the bound holds for the final one.
constexpr double kDroppedMass = 0x1p-9;

/// What is left out is below 2^exponent of the sum so far.
constexpr int32_t kMostExponent = -8, kLeastExponent = -24;

int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

/// The values of some ids that count in the soft embedding: those above the threshold.
struct Cut {
  float threshold;
  AboveThreshold above;
};

Cut CutAt(const RowOps& rows, const float* e, int64_t count, float threshold) {
  return {threshold, rows.above(e, count, threshold)};
}

/// The cut that leaves out most within the budget, which is added to running.dropped.
Cut CutMass(const RowOps& rows, const float* e, int64_t count, double budget, SweepRow& running) {
  const auto cut = [&] { return CutAt(rows, e, count, static_cast<float>(std::ldexp(running.sum, running.exponent))); };
  const auto exceeds = [&](const Cut& one) { return static_cast<double>(one.above.below) > budget; };
  Cut best = cut();  // parts of a row are much alike: the search begins where the last one ended
  if (exceeds(best)) {
    while (exceeds(best) && running.exponent > kLeastExponent) {
      --running.exponent;
      best = cut();
    }
    if (exceeds(best)) return CutAt(rows, e, count, kNegligible);
  } else {
    while (running.exponent < kMostExponent) {
      ++running.exponent;
      const Cut more = cut();
      if (exceeds(more)) {
        --running.exponent;
        break;
      }
      best = more;
    }
  }
  running.dropped += static_cast<double>(best.above.below);
  return best;
}

}  // namespace

std::unique_ptr<HeadScratch> CpuKernels::MakeHeadScratch() { return std::make_unique<CpuHeadScratch>(); }

void CpuKernels::SweepLogits(CpuHeadScratch& state, int64_t first_id, int64_t ids) {
  const int64_t blocks = Blocks(state.rows, kRowBlock), tiles = Blocks(ids, kTileIds);
  auto sweep = [&](int64_t task, int) {
    const int64_t tile = task / blocks, row = task % blocks * kRowBlock, id = first_id + tile * kTileIds;
    const int64_t rows = std::min(kRowBlock, state.rows - row), count = std::min(kTileIds, state.vocab - id);
    const Matrix logits{state.logits.Row(row) + tile * kTileIds, rows, count, state.logits.stride};
    MultiplyBlock(state.input.Rows(row, rows), state.embedding, id / kPanel, logits);
    for (int64_t r = 0; r < rows; ++r) {
      state.tile[static_cast<size_t>((row + r) * kSweepTiles + tile)] =
          row_.temper(logits.Row(r), count, state.softcap, state.temperature[static_cast<size_t>(row + r)]);
    }
  };
  Run(tiles * blocks, 2 * state.rows * ids * state.hidden.cols, sweep);
}

void CpuKernels::SweepProbabilities(CpuHeadScratch& state, int64_t first_id, int64_t ids, int64_t row) const {
  SweepRow& running = state.row[static_cast<size_t>(row)];
  const LogitStats* tiles = state.tile.data() + row * kSweepTiles;
  const int64_t tile_count = Blocks(ids, kTileIds);
  int32_t* live = state.live.data() + row * kSweepParts;
  std::fill_n(live, kSweepParts, 0);
  const LogitStats* best = tiles;
  for (int64_t tile = 0; tile < tile_count; ++tile) {
    running.finite = running.finite && tiles[tile].finite;
    if (tiles[tile].max > best->max) best = tiles + tile;
  }
  if (!running.finite) return;
  float* values = state.logits.Row(row);
  const float before = first_id == 0 ? best->max : running.max;
  if (first_id == 0 || best->max > running.max) {
    running.max = best->max;
    const float* tile_values = values + (best - tiles) * kTileIds;
    running.argmax = static_cast<int32_t>(
        first_id + (std::find(tile_values, static_cast<const float*>(values + ids), best->max) - values));
  }
  const double shift = static_cast<double>(before) - running.max;  // earlier sums were relative to `before`
  running.factor = static_cast<float>(std::exp(shift));
  running.weighted = std::exp(shift) * (running.weighted + running.sum * shift);
  running.sum *= std::exp(shift);
  running.dropped *= std::exp(shift);
  const double sum_before = running.sum;
  state.reference[static_cast<size_t>(row * state.Steps() + first_id / kSweepIds)] = running.max;
  float* tile_sum = state.tile_sum.data() + row * state.Tiles() + first_id / kTileIds;
  for (int64_t tile = 0; tile < tile_count; ++tile) {
    float* x = values + tile * kTileIds;
    const ExpSums sums = row_.exponentiate(x, std::min(kTileIds, ids - tile * kTileIds), running.max);
    tile_sum[tile] = sums.sum;
    running.sum += static_cast<double>(sums.sum);
    running.weighted += static_cast<double>(sums.weighted);
  }
  const int64_t parts = Blocks(ids, kSoftIds);
  for (int64_t part = 0; part < parts; ++part) {
    const float* e = values + part * kSoftIds;
    uint8_t* few = state.live_ids.data() + (row * kSweepParts + part) * kFewIds;
    const int64_t count = std::min(kSoftIds, ids - part * kSoftIds);
    const double so_far = static_cast<double>(part + 1) / static_cast<double>(parts);  // no part takes it all
    const double mass = sum_before + so_far * (running.sum - sum_before);
    const Cut cut = state.embedding.format.kind != WeightKind::kF32
                        ? CutMass(row_, e, count, kDroppedMass * mass - running.dropped, running)
                        : CutAt(row_, e, count, kNegligible);
    live[part] = static_cast<int32_t>(cut.above.count);
    if (live[part] == 0 || live[part] >= kFewIds) continue;
    row_.list_above(e, count, cut.threshold, few);
  }
}

void CpuKernels::AddSoftBlock(const CpuHeadScratch& state, int64_t id, int64_t ids, const SoftBlock& block, Matrix soft,
                              float* scratch) const {
  const int64_t part = id % kSweepIds / kSoftIds;
  const auto live_ids = [&](int64_t row) { return state.live[static_cast<size_t>(row * kSweepParts + part)]; };
  const auto is_live = [&](int64_t row) { return live_ids(row) >= kFewIds; };  // takes part in the dense product
  int64_t live_rows = 0, few_rows = 0;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    live_rows += is_live(row) ? 1 : 0;
    few_rows += live_ids(row) > 0 && !is_live(row) ? 1 : 0;
  }
  if (live_rows + few_rows == 0) return;
  float* embeddings = scratch;  // panels of 16 columns [256 ids][16]
  const LiveIds& needed = state.live_union[static_cast<size_t>(block.row / kRowBlock * kSweepParts + part)];
  WidenBlock(product_, state.embedding, {id, ids, block.col, block.cols}, needed, embeddings);
  const int64_t panel_stride = (ids + kPanel - 1) / kPanel * kPanel * kPanel;
  for (int64_t row = block.row; row < block.row + block.rows && few_rows > 0; ++row) {
    if (live_ids(row) == 0 || is_live(row)) continue;
    product_.add_few(state.logits.Row(row) + id % kSweepIds,
                     state.live_ids.data() + (row * kSweepParts + part) * kFewIds, live_ids(row), embeddings,
                     panel_stride, block.cols, soft.Row(row) + block.col);
  }
  if (live_rows == 0) return;
  Product product;
  product.rows = live_rows;
  product.b = embeddings;
  product.b_panel_stride = panel_stride;
  product.depth = ids;
  product.cols = block.cols;
  product.start = Start::kAdd;
  if (live_rows == block.rows) {
    product.a = state.logits.Row(block.row) + id % kSweepIds;
    product.a_stride = state.logits.stride;
    product.c = soft.Row(block.row) + block.col;
    product.c_stride = soft.stride;
    product_.multiply(product);
    return;
  }
  const Matrix probabilities{scratch + kSoftIds * kColumnBlock, live_rows, ids, PaddedStride(kSoftIds)};
  const Matrix sums{probabilities.Row(live_rows), live_rows, block.cols, PaddedStride(kColumnBlock)};
  const auto part_bytes = static_cast<size_t>(ids) * sizeof(float),
             sum_bytes = static_cast<size_t>(block.cols) * sizeof(float);
  int64_t place = 0;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    if (!is_live(row)) continue;
    std::memcpy(probabilities.Row(place), state.logits.Row(row) + id % kSweepIds, part_bytes);
    std::memcpy(sums.Row(place++), soft.Row(row) + block.col, sum_bytes);
  }
  product.a = probabilities.data;
  product.a_stride = probabilities.stride;
  product.c = sums.data;
  product.c_stride = sums.stride;
  product_.multiply(product);
  place = 0;
  for (int64_t row = block.row; row < block.row + block.rows; ++row) {
    if (is_live(row)) std::memcpy(soft.Row(row) + block.col, sums.Row(place++), sum_bytes);
  }
}

void CpuKernels::FindLiveUnion(CpuHeadScratch& state, int64_t first_row) const {
  for (int64_t part = 0; part < kSweepParts; ++part) {
    LiveIds& ids = state.live_union[static_cast<size_t>(first_row / kRowBlock * kSweepParts + part)];
    ids.reset();
    for (int64_t row = first_row; row < std::min(state.rows, first_row + kRowBlock); ++row) {
      const int64_t place = row * kSweepParts + part;
      const int32_t count = state.live[static_cast<size_t>(place)];
      if (count >= kFewIds) {
        ids.set();
        break;
      }
      for (int32_t i = 0; i < count; ++i) ids.set(state.live_ids[static_cast<size_t>(place * kFewIds + i)]);
    }
  }
}

void CpuKernels::SweepEmbeddings(CpuHeadScratch& state, int64_t first_id, int64_t ids, Matrix soft) {
  const int64_t blocks = Blocks(state.rows, kRowBlock), columns = Blocks(soft.cols, kColumnBlock);
  const int64_t thread_floats = SoftFloats(state.rows);
  float* scratch = threads_.Floats(thread_floats * pool_.threads());
  for (int64_t row = 0; row < state.rows; row += kRowBlock) FindLiveUnion(state, row);
  auto add = [&](int64_t task, int thread) {
    SoftBlock block{task % blocks * kRowBlock, 0, task / blocks * kColumnBlock, 0};
    block.rows = std::min(kRowBlock, state.rows - block.row);
    block.cols = std::min(kColumnBlock, soft.cols - block.col);
    for (int64_t row = block.row; row < block.row + block.rows; ++row) {
      float* sums = soft.Row(row) + block.col;
      const float factor = state.row[static_cast<size_t>(row)].factor;
      if (first_id == 0)
        std::fill_n(sums, block.cols, 0.0f);
      else if (factor != 1.0f)
        row_.scale(sums, block.cols, factor, nullptr, sums);
    }
    for (int64_t id = first_id; id < first_id + ids; id += kSoftIds) {
      AddSoftBlock(state, id, std::min(kSoftIds, first_id + ids - id), block, soft, scratch + thread * thread_floats);
    }
  };
  Run(blocks * columns, 2 * state.rows * ids * soft.cols, add);
}

void CpuKernels::FinishSoft(const CpuHeadScratch& state, int64_t row, float scale, Matrix soft) const {
  row_.divide(soft.Row(row), soft.cols, static_cast<float>(state.row[static_cast<size_t>(row)].sum), soft.Row(row));
  row_.scale(soft.Row(row), soft.cols, scale, nullptr, soft.Row(row));
}

void CpuKernels::Denoise(Matrix hidden, const Weight& table, const HeadParams& params, HeadScratch& scratch,
                         std::span<HeadRow> rows, Matrix soft) {
  auto& state = static_cast<CpuHeadScratch&>(scratch);
  state.Begin(hidden.rows, table);
  state.softcap = params.softcap;
  state.temperature.assign(params.temperature.begin(), params.temperature.end());
  for (int64_t row = 0; row < hidden.rows; ++row) {
    std::memcpy(state.hidden.Row(row), hidden.Row(row), static_cast<size_t>(hidden.cols) * sizeof(float));
  }
  state.input = Input(state.hidden, {&table}, state.codes);
  for (int64_t id = 0; id < state.vocab; id += kSweepIds) {
    const int64_t ids = std::min(kSweepIds, state.vocab - id);
    SweepLogits(state, id, ids);
    auto probabilities = [&](int64_t row) { SweepProbabilities(state, id, ids, row); };
    RunRows(state.rows, 20 * ids, probabilities);
    SweepEmbeddings(state, id, ids, soft);
  }
  for (int64_t row = 0; row < hidden.rows; ++row) {
    const SweepRow& found = state.row[static_cast<size_t>(row)];
    if (!found.finite) {
      rows[static_cast<size_t>(row)] = {0, 0, 0, false};
      std::fill_n(soft.Row(row), soft.cols, 0.0f);
      continue;
    }
    const double entropy = std::log(found.sum) - found.weighted / found.sum;
    rows[static_cast<size_t>(row)] = {found.argmax, found.max, static_cast<float>(entropy), true};
    FinishSoft(state, row, params.embed_scale, soft);
  }
}

void CpuKernels::SoftEmbed(Matrix logits, const Weight& table, float scale, Matrix soft) {
  if (soft_scratch_ == nullptr) soft_scratch_ = MakeHeadScratch();
  auto& state = static_cast<CpuHeadScratch&>(*soft_scratch_);
  state.Begin(logits.rows, table);
  for (int64_t id = 0; id < state.vocab; id += kSweepIds) {
    const int64_t ids = std::min(kSweepIds, state.vocab - id);
    auto probabilities = [&](int64_t row) {
      std::memcpy(state.logits.Row(row), logits.Row(row) + id, static_cast<size_t>(ids) * sizeof(float));
      for (int64_t tile = 0; tile < Blocks(ids, kTileIds); ++tile) {
        state.tile[static_cast<size_t>(row * kSweepTiles + tile)] =
            row_.inspect(state.logits.Row(row) + tile * kTileIds, std::min(kTileIds, ids - tile * kTileIds));
      }
      SweepProbabilities(state, id, ids, row);
    };
    RunRows(state.rows, 20 * ids, probabilities);
    SweepEmbeddings(state, id, ids, soft);
  }
  for (int64_t row = 0; row < logits.rows; ++row) {
    if (state.row[static_cast<size_t>(row)].finite)
      FinishSoft(state, row, scale, soft);
    else
      std::fill_n(soft.Row(row), soft.cols, std::numeric_limits<float>::quiet_NaN());
  }
}

void CpuKernels::SampleTile(const CpuHeadScratch& state, std::span<const int64_t> picks, std::span<const int32_t> rows,
                            float* scratch, std::span<int32_t> ids) const {
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t tile = picks.front() / count, id = tile * kTileIds, width = std::min(kTileIds, state.vocab - id);
  const auto picked = static_cast<int64_t>(picks.size());
  const ProductInput input = InputRoom(scratch, picked, state.hidden.cols, state.embedding.format);
  const Matrix logits{scratch + SampleFloats(state.hidden.cols) - kTileIds * kTileIds, picked, width, kTileIds};
  for (int64_t i = 0; i < picked; ++i) {
    CopyInputRow(state.input, rows[static_cast<size_t>(picks[static_cast<size_t>(i)] % count)], input, i);
  }
  MultiplyBlock(input, state.embedding, id / kPanel, logits);
  for (int64_t i = 0; i < picked; ++i) {
    const auto pick = static_cast<size_t>(picks[static_cast<size_t>(i)] % count);
    const auto row = static_cast<size_t>(rows[pick]);
    row_.temper(logits.Row(i), width, state.softcap, state.temperature[row]);
    double mass = state.mass_before[pick];
    int64_t last = 0;  // where rounding keeps the walk from reaching the mass: the tile's last id that has any
    for (int64_t k = 0; k < width; ++k) {
      const double e = std::exp(static_cast<double>(logits.Row(i)[k]) - state.row[row].max);
      if (e > 0) last = k;
      mass += e;
      if (mass > state.mass_wanted[pick]) break;
    }
    ids[pick] = static_cast<int32_t>(id + last);
  }
}

void CpuKernels::Sample(HeadScratch& scratch, std::span<const int32_t> rows, std::span<const double> uniform,
                        std::span<int32_t> ids) {
  auto& state = static_cast<CpuHeadScratch&>(scratch);
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t tiles = state.Tiles();
  state.order.resize(rows.size());
  state.mass_before.resize(rows.size());
  state.mass_wanted.resize(rows.size());
  auto find_tile = [&](int64_t pick) {
    const auto place = static_cast<size_t>(pick);
    const int64_t row = rows[place];
    const SweepRow& found = state.row[static_cast<size_t>(row)];
    const float* sums = state.tile_sum.data() + row * tiles;
    const float* reference = state.reference.data() + row * state.Steps();
    const double wanted = uniform[place] * found.sum;
    double mass = 0, factor = 0;
    int64_t tile = 0, last = 0;
    double before = 0;
    for (; tile < tiles && found.finite; ++tile) {
      if (tile % kSweepTiles == 0) factor = std::exp(static_cast<double>(reference[tile / kSweepTiles]) - found.max);
      const double own = static_cast<double>(sums[tile]) * factor;
      if (own > 0) {
        last = tile;
        before = mass;
      }
      mass += own;
      if (mass > wanted) break;
    }
    state.order[place] = last * count + pick;
    state.mass_before[place] = before;
    state.mass_wanted[place] = wanted;
  };
  RunRows(count, 4 * tiles, find_tile);
  std::sort(state.order.begin(), state.order.end());
  std::vector<int64_t> group_begin;
  for (int64_t i = 0; i < count; ++i) {
    const bool same =
        i > 0 && state.order[static_cast<size_t>(i)] / count == state.order[static_cast<size_t>(i - 1)] / count;
    if (!same || i - group_begin.back() >= kTileIds) group_begin.push_back(i);
  }
  group_begin.push_back(count);
  const int64_t thread_floats = SampleFloats(state.hidden.cols);
  float* memory = threads_.Floats(thread_floats * pool_.threads());
  auto walk = [&](int64_t group, int thread) {
    const auto begin = static_cast<size_t>(group_begin[static_cast<size_t>(group)]);
    const auto end = static_cast<size_t>(group_begin[static_cast<size_t>(group) + 1]);
    SampleTile(state, std::span(state.order).subspan(begin, end - begin), rows, memory + thread * thread_floats, ids);
  };
  Run(static_cast<int64_t>(group_begin.size()) - 1, 2 * count * kTileIds * state.hidden.cols, walk);
}

void CpuKernels::Logits(Matrix hidden, const Weight& table, float softcap, Matrix out) {
  Linear(hidden, {}, table, out);
  const int64_t blocks = Blocks(table.out, kSweepIds);
  auto cap = [&](int64_t block) {
    const int64_t id = block % blocks * kSweepIds;
    row_.softcap(out.Row(block / blocks) + id, std::min(kSweepIds, table.out - id), softcap);
  };
  RunRows(out.rows * blocks, 20 * kSweepIds, cap);
}

}  // namespace dgemma
