// A draft of the canvas as cells: what is decided as text, what is not as neutral glyphs. Raw noise is never shown.
// Called by the live views for every frame they draw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cells.h"
#include "dgemma/dgemma.h"

namespace dgemma {

/// kCanvas: undecided positions as dots. kHeat: a background (or shade, without colours) by entropy at every position.
enum class DraftLook { kCanvas, kHeat };

/// Shade of an entropy in nats, 0 (certain) .. kHeatLevels - 1.
int HeatLevel(float entropy);

class DraftReader {
 public:
  /// `engine` must outlive the reader. `stop_tokens`: what follows the first accepted one of them is not shown.
  DraftReader(const Engine& engine, std::vector<int32_t> stop_tokens, DraftLook look, TerminalTraits traits);

  /// Cells of a draft; thoughts are dim. Drafts must come in the order in which the engine makes them.
  std::vector<Cell> Read(const Draft& draft);
  /// Tokens of the draft read last that are decided, without control tokens.
  int64_t decided() const { return decided_; }

 private:
  void ReadToken(const Draft& draft, size_t position, std::vector<Cell>& cells);
  void Undecided(std::string_view text, int level, std::vector<Cell>& cells) const;
  void Flush(std::vector<Cell>& cells);

  const Engine& engine_;
  std::vector<int32_t> stop_tokens_;
  DraftLook look_;
  TerminalTraits traits_;
  int32_t canvas_ = -1;
  bool begins_in_thought_ = false;  // the thought of the canvas before goes on
  bool in_thought_ = false;
  std::string bytes_;  // of a character whose tokens have not all been read
  Look bytes_look_ = Look::kPlain;
  int64_t decided_ = 0;
};

}  // namespace dgemma
