// Open addressing with a bound on probes: a file made to collide under one seed is indexed under the next, so building
// stays linear whatever the contents.
#include "text/token_table.h"

#include <bit>
#include <cstring>

#include "base/try.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr size_t kProbesAllowed = 256;
constexpr int kSeedsTried = 6;

uint64_t Mix(uint64_t value) {
  value ^= value >> 32;
  value *= 0xD6E8FEB86659FD93U;
  value ^= value >> 32;
  return value;
}

uint64_t HashBytes(std::string_view bytes, uint64_t seed) {
  uint64_t hash = Mix(seed + bytes.size());
  while (bytes.size() > 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    hash = Mix((hash ^ word) * 0x9E3779B97F4A7C15U);
    bytes.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return Mix((hash ^ word) * 0x9E3779B97F4A7C15U);
}

}  // namespace

Result<TokenTable> TokenTable::Build(std::span<const VocabularyEntry> entries) {
  TokenTable table;
  int32_t largest = -1;
  size_t bytes = 0;
  for (const VocabularyEntry& entry : entries) {
    if (entry.id < 0) return Fail(StatusCode::kInvalidFile, "token " + QuotedText(entry.content) + ": negative id");
    largest = std::max(largest, entry.id);
    bytes += entry.content.size();
  }
  if (bytes > UINT32_MAX) return Fail(StatusCode::kInvalidFile, "vocabulary: more than 4 GiB of text");
  table.bytes_.reserve(bytes);
  table.ranges_.resize(static_cast<size_t>(largest) + 1);
  for (const VocabularyEntry& entry : entries) {
    Range& range = table.ranges_[static_cast<size_t>(entry.id)];
    if (range.used) return Fail(StatusCode::kInvalidFile, "id " + std::to_string(entry.id) + ": given to two tokens");
    range.begin = static_cast<uint32_t>(table.bytes_.size());
    range.length = static_cast<uint32_t>(entry.content.size()) & 0x7FFFFFFFU;
    range.used = 1;
    table.bytes_ += entry.content;
  }
  table.slots_.resize(std::bit_ceil(std::max<size_t>(16, entries.size() * 2)));
  for (int seed = 0; seed < kSeedsTried; ++seed) {
    if (table.IndexContents(Mix(static_cast<uint64_t>(seed) + 0x2545F4914F6CDD1DU))) {
      for (const VocabularyEntry& entry : entries) {
        if (table.Find(entry.content) != entry.id) {
          return Fail(StatusCode::kInvalidFile, "token " + QuotedText(entry.content) + ": listed twice");
        }
      }
      return table;
    }
  }
  return Fail(StatusCode::kInvalidFile, "vocabulary: contents collide (made to be slow)");
}

bool TokenTable::IndexContents(uint64_t seed) {
  seed_ = seed;
  std::fill(slots_.begin(), slots_.end(), -1);
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    if (!Has(id)) continue;
    size_t slot = HashBytes(Content(id), seed) & mask;
    size_t probes = 0;
    while (slots_[slot] >= 0 && Content(slots_[slot]) != Content(id)) {
      if (++probes > kProbesAllowed) return false;
      slot = (slot + 1) & mask;
    }
    if (slots_[slot] < 0) slots_[slot] = id;
  }
  return true;
}

std::string_view TokenTable::Content(int32_t id) const {
  if (!Has(id)) return {};
  const Range& range = ranges_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(range.begin, range.length);
}

std::optional<int32_t> TokenTable::Find(std::string_view content) const {
  if (slots_.empty()) return std::nullopt;
  const size_t mask = slots_.size() - 1;
  for (size_t slot = HashBytes(content, seed_) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (Content(slots_[slot]) == content) return slots_[slot];
  }
  return std::nullopt;
}

}  // namespace dgemma
