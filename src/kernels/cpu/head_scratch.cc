// Sizes of the sweep's memory.
#include "kernels/cpu/head_scratch.h"

namespace dgemma {
namespace {

int64_t LogitStride(int64_t vocab) { return PaddedStride(std::min(vocab, kSweepIds)); }

}  // namespace

int64_t SoftFloats(int64_t rows) {
  return kSoftIds * kColumnBlock + std::min(rows, kRowBlock) * (PaddedStride(kSoftIds) + PaddedStride(kColumnBlock));
}

int64_t SampleFloats(int64_t width) {
  return std::max(kTileIds * PaddedStride(width), CodeFloats(kTileIds, width)) + kTileIds * kTileIds;
}

void CpuHeadScratch::Begin(int64_t row_count, const Weight& embedding_table) {
  rows = row_count;
  table = embedding_table;
  embedding = PackedMatrix(table, 0);
  vocab = table.out;
  const auto count = static_cast<size_t>(rows);
  logits = {logits_memory_.Floats(rows * LogitStride(vocab)), rows, std::min(vocab, kSweepIds), LogitStride(vocab)};
  hidden = {hidden_memory_.Floats(rows * PaddedStride(table.in)), rows, table.in, PaddedStride(table.in)};
  row.assign(count, SweepRow());
  tile.resize(count * static_cast<size_t>(kSweepTiles));
  live.resize(count * static_cast<size_t>(kSweepParts));
  live_union.resize(static_cast<size_t>((rows + kRowBlock - 1) / kRowBlock * kSweepParts));
  live_ids.resize(live.size() * static_cast<size_t>(kFewIds));
  tile_sum.resize(count * static_cast<size_t>(Tiles()));
  reference.resize(count * static_cast<size_t>(Steps()));
}

int64_t CpuHeadScratch::Bytes(int64_t rows, int64_t width, int64_t vocab, int64_t input_floats) {
  const int64_t floats = LogitStride(vocab) + PaddedStride(width) + (vocab + kTileIds - 1) / kTileIds +
                         (vocab + kSweepIds - 1) / kSweepIds + 1;
  const auto records = static_cast<int64_t>(sizeof(SweepRow) + sizeof(LogitStats) * static_cast<size_t>(kSweepTiles)) +
                       kSweepParts * (static_cast<int64_t>(sizeof(int32_t)) + kFewIds) +
                       3 * static_cast<int64_t>(sizeof(double));
  return (rows * floats + input_floats) * static_cast<int64_t>(sizeof(float)) + rows * records +
         (rows + kRowBlock - 1) / kRowBlock * kSweepParts * static_cast<int64_t>(sizeof(LiveIds));
}

}  // namespace dgemma
