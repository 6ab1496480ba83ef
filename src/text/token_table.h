// The vocabulary as two look-ups: id -> content and content -> id. Contents are kept exactly as the file spells them.
// Built once by the tokenizer, read-only afterwards.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// Bytes of a vocabulary entry and its id.
struct VocabularyEntry {
  std::string_view content;
  int32_t id = 0;
};

class TokenTable {
 public:
  /// Copies the contents. Fails on a repeated content, a repeated id, or a negative id. Ids may have gaps; memory is
  /// proportional to the largest id, which the caller bounds. Linear time for any contents.
  static Result<TokenTable> Build(std::span<const VocabularyEntry> entries);

  /// One more than the largest id.
  int32_t size() const { return static_cast<int32_t>(ranges_.size()); }
  /// Whether an id belongs to a token; false for gaps and for anything outside [0, size()).
  bool Has(int32_t id) const { return id >= 0 && id < size() && ranges_[static_cast<size_t>(id)].used; }
  /// Content of a token; empty when there is none with this id.
  std::string_view Content(int32_t id) const;
  std::optional<int32_t> Find(std::string_view content) const;

 private:
  struct Range {
    uint32_t begin = 0;
    uint32_t length : 31 = 0;
    uint32_t used : 1 = 0;
  };
  bool IndexContents(uint64_t seed);

  std::string bytes_;
  std::vector<Range> ranges_;   // by id
  std::vector<int32_t> slots_;  // open addressing over contents; -1 is empty; size is a power of two
  uint64_t seed_ = 0;
};

}  // namespace dgemma
