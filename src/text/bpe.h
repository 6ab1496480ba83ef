// Byte pair encoding of a sequence of start symbols: lowest rank first, leftmost among equals, as Hugging Face
// tokenizers. Time O(n log n) in the longest stretch that rules can join. Called by the tokenizer, one BpeRun per piece
// of text.
#pragma once

#include <cstdint>
#include <vector>

#include "text/merge_table.h"
#include "text/run_queue.h"

namespace dgemma {

/// A character's place in the junction test when the symbol is no character: it never merges with a neighbour.
inline constexpr char32_t kNoCharacter = 0xFFFFFFFF;

/// Takes start symbols one at a time and appends the merged ids to `out`. Symbols are merged in stretches: where no
/// rule can join two neighbouring characters, what lies left of them is final, so memory follows the longest stretch,
/// not the text.
class BpeRun {
 public:
  BpeRun(const MergeTable& merges, const JunctionSet& junctions, std::vector<int32_t>& out)
      : merges_(merges), junctions_(junctions), out_(out) {}

  /// Adds a start symbol. `character` is what it spells, or kNoCharacter.
  void Add(int32_t id, char32_t character) {
    const bool joined = character != kNoCharacter && last_ != kNoCharacter && junctions_.MayHold(last_, character);
    if (!joined || ids_.size() >= kLongestStretch) Flush();
    ids_.push_back(id);
    last_ = character;
  }
  /// Merges and hands over what has been added so far; what follows starts afresh.
  void Flush();

 private:
  static constexpr size_t kLongestStretch = size_t{1} << 30;  // positions are 32 bits; longer stretches are cut here

  struct Symbol {
    int32_t id;
    uint32_t previous, next;
    uint32_t rank;  // of the pair with the next symbol
  };
  void MergeByScan();
  void MergeByQueue();
  uint32_t RankOfPair(uint32_t left) const;
  void SetRank(uint32_t left, uint32_t rank);

  const MergeTable& merges_;
  const JunctionSet& junctions_;
  std::vector<int32_t>& out_;
  std::vector<int32_t> ids_;
  std::vector<uint32_t> ranks_;  // scan: rank of (ids_[i], ids_[i + 1])
  std::vector<Symbol> symbols_;  // queue: linked list in an array
  RunQueue queue_;               // queue: rank in the high half, position of the left symbol in the low half
  char32_t last_ = kNoCharacter;
};

}  // namespace dgemma
