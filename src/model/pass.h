// A Pass is what one run of the network computes: segments of rows, each with its kind. The kind decides the five things in which
// encoder and decoder differ; nothing else does, and it is never guessed from a row count.
//
//                     kPrompt / kCommit / kStep          kCanvas
//   sees              cache + causal                     cache + the whole canvas
//   K/V               written to the cache               kept for this pass, or in a store between passes
//   layer scalar      encoder                            decoder
//   input             embedding                          embedding + self-conditioning, then norm
//   hidden wanted     caller's choice                    caller's choice
#pragma once

#include <span>
#include <stop_token>
#include <vector>

#include "model/kv_cache.h"

namespace dgemma {

enum class SegmentKind : uint8_t {
  kPrompt,  ///< prompt tokens, in chunks of any size
  kCommit,  ///< a finished canvas
  kStep,    ///< one token of an autoregressive answer
  kCanvas,  ///< a canvas being denoised
};

/// Rows whose final hidden state the caller wants back.
enum class HiddenRows : uint8_t { kNone, kLast, kAll };

struct Segment {
  SegmentKind kind = SegmentKind::kPrompt;
  KvCache* cache = nullptr;         ///< the sequence; causal segments append to it
  std::span<const int32_t> tokens;  ///< one id a row, all in [0, V)
  int64_t pos = 0;                  ///< position of the first row; a canvas sees cached positions below it
  Matrix soft;                      ///< canvas: soft embeddings of the previous step [C, D]; no data in the first step
  HiddenRows hidden = HiddenRows::kNone;
  /// Canvas: keeps K and V of every layer between passes; nullptr: this pass keeps them only until it ends.
  CanvasStore* store = nullptr;
  /// Canvas with a store: place in the canvas of every row, ascending; the other rows of the canvas are seen as the store has them.
  /// Empty: row r has place r.
  std::span<const int32_t> places = {};

  bool causal() const { return kind != SegmentKind::kCanvas; }
  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
  /// Place of a row in its segment; its position is pos + Place(row).
  int64_t Place(int64_t row) const { return places.empty() ? row : places[static_cast<size_t>(row)]; }
  int64_t hidden_rows() const { return hidden == HiddenRows::kAll ? rows() : hidden == HiddenRows::kLast ? 1 : 0; }
};

/// Segments of one sequence stand in order: a commit before the canvas that continues it.
struct Pass {
  std::vector<Segment> segments;
  std::stop_token stop;           ///< checked before every layer
  bool rounds_attention = false;  ///< of canvases where RoundsAttention says so; gradients are of float32
};

}  // namespace dgemma
