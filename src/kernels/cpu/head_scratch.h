// What the CPU backend keeps of a sweep over the vocabulary, between its steps and for Sample.
#pragma once

#include <vector>

#include "kernels/cpu/packed.h"
#include "kernels/cpu/product_input.h"
#include "kernels/cpu/scratch.h"
#include "kernels/kernels.h"

namespace dgemma {

/// Ids of one step of a sweep: its logits [R, 2048] stay in a cache that all threads share.
inline constexpr int64_t kSweepIds = 2048;
/// Ids whose products with the table are added to the soft embedding at once, and skipped at once.
inline constexpr int64_t kSoftIds = 256;
/// Ids whose masses Sample finds summed up.
inline constexpr int64_t kTileIds = 64;
inline constexpr int64_t kSweepTiles = kSweepIds / kTileIds;
inline constexpr int64_t kSweepParts = kSweepIds / kSoftIds;
/// A row with fewer ids than this that count among kSoftIds adds them one by one; others take part in a dense product.
inline constexpr int64_t kFewIds = 128;

/// Floats of one thread's share of the soft embedding: a transposed block of the table, gathered probabilities and sums.
int64_t SoftFloats(int64_t rows);

/// Floats of one thread's share of Sample: the hidden rows that picked one tile, and its logits.
int64_t SampleFloats(int64_t width);

/// Running values of one row.
struct SweepRow {
  double sum = 0;       ///< of exp(l - max) over the ids so far
  double dropped = 0;   ///< part of it that the soft embedding left out
  double weighted = 0;  ///< of exp(l - max) (l - max)
  float max = 0;
  float factor = 1;  ///< what earlier soft sums are multiplied by in this step
  int32_t argmax = 0;
  int32_t exponent = -15;  ///< of the share of the sum below which the last part left probabilities out
  bool finite = true;
};

struct CpuHeadScratch final : HeadScratch {
  /// Sizes everything for `rows` rows and the table, and forgets the last sweep.
  void Begin(int64_t rows, const Weight& table);
  /// `input_floats`: what the hidden rows take in the form that the table's format reads, beside float32.
  static int64_t Bytes(int64_t rows, int64_t width, int64_t vocab, int64_t input_floats);

  int64_t rows = 0;
  int64_t vocab = 0;
  PackedMatrix embedding;
  Weight table;  ///< shares the table's memory, for Sample
  float softcap = 0;
  std::vector<float> temperature;   // [R]
  Matrix hidden;                    // [R, D], copied: Sample needs it after the caller has gone on
  ProductInput input;               // hidden, in the form that the table's format reads
  GrowingBuffer codes;              // of input
  Matrix logits;                    // [R, kSweepIds]: logits, then exp(l - max)
  std::vector<SweepRow> row;        // [R]
  std::vector<LogitStats> tile;     // [R, kSweepTiles] of the current step
  std::vector<int32_t> live;        // [R, kSweepParts]: how many ids of a part count for the soft embedding
  std::vector<LiveIds> live_union;  // [row blocks, kSweepParts]: ids that some row of the block needs
  std::vector<uint8_t> live_ids;    // [R, kSweepParts, kFewIds]: which, where they are few
  std::vector<float> tile_sum;      // [R, V / kTileIds] of exp(l - reference)
  std::vector<float> reference;     // [R, V / kSweepIds]: the running maximum at every step
  std::vector<int64_t> order;       // of Sample: (tile, pick) in the order of tiles
  std::vector<double>
      mass_before;  // of Sample: [picks] cumulative mass before the picked tile, and the mass looked for
  std::vector<double> mass_wanted;

  int64_t Tiles() const { return (vocab + kTileIds - 1) / kTileIds; }
  int64_t Steps() const { return (vocab + kSweepIds - 1) / kSweepIds; }

 private:
  GrowingBuffer hidden_memory_;
  GrowingBuffer logits_memory_;
};

}  // namespace dgemma
