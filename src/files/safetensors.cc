// The rules of the format that relate numbers to each other: length prefix, sizes, order, gaps, overlaps, repeated
// names.
#include "files/safetensors.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "files/bytes.h"
#include "files/messages.h"
#include "files/safetensors_events.h"

namespace dgemma {
namespace {

constexpr uint64_t kPrefixBytes = 8;

std::string Subject(const SafetensorsEntry& entry) { return "tensor " + Quoted(entry.name) + ": "; }

std::string Range(const SafetensorsEntry& entry) {
  return "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
}

Result<void> CheckNames(const std::deque<SafetensorsEntry>& tensors) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return tensors[a].name < tensors[b].name; });
  const auto repeat = std::adjacent_find(order.begin(), order.end(),
                                         [&](uint32_t a, uint32_t b) { return tensors[a].name == tensors[b].name; });
  if (repeat == order.end()) return {};
  return Fail(StatusCode::kInvalidFile, Subject(tensors[*repeat]) + "occurs twice (names are unique)");
}

Result<void> CheckSize(const SafetensorsEntry& entry) {
  if (entry.begin > entry.end) {
    return Fail(StatusCode::kInvalidFile,
                Subject(entry) + "data_offsets " + Range(entry) + " run backwards (begin <= end)");
  }
  const Result<uint64_t> values = CheckedProduct(entry.shape);
  const Result<uint64_t> bytes = values ? CheckedMul(*values, BytesPerValue(entry.dtype)) : values;
  if (!bytes) return Fail(StatusCode::kInvalidFile, Subject(entry) + "shape: size overflows 64 bits");
  if (*bytes != entry.end - entry.begin) {
    return Fail(StatusCode::kInvalidFile,
                Subject(entry) + "data_offsets " + Range(entry) + " hold " + std::to_string(entry.end - entry.begin) +
                    " bytes, shape and dtype need " + std::to_string(*bytes) + " (they must agree)");
  }
  return {};
}

/// Tensors in the order of their bytes must follow each other exactly, from 0 to data_bytes.
Result<void> CheckCover(const std::deque<SafetensorsEntry>& tensors, uint64_t data_bytes) {
  uint64_t covered = 0;
  for (const SafetensorsEntry& entry : tensors) {
    if (entry.begin < covered) {
      return Fail(StatusCode::kInvalidFile, Subject(entry) + "data_offsets " + Range(entry) +
                                                " overlap the tensor before, which ends at " + std::to_string(covered));
    }
    if (entry.begin > covered) {
      return Fail(StatusCode::kInvalidFile, Subject(entry) + "data_offsets " + Range(entry) +
                                                " leave a hole after byte " + std::to_string(covered) +
                                                " (tensors are contiguous)");
    }
    covered = entry.end;
    if (covered > data_bytes) {
      return Fail(StatusCode::kInvalidFile, Subject(entry) + "data_offsets " + Range(entry) +
                                                " end beyond the file's " + std::to_string(data_bytes) +
                                                " bytes of data (truncated file?)");
    }
  }
  if (covered != data_bytes) {
    return Fail(StatusCode::kInvalidFile, std::to_string(data_bytes - covered) +
                                              " bytes follow the last tensor (tensors cover the file to its end)");
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> file, const FileLimits& limits) {
  if (file.size() < kPrefixBytes) {
    return Fail(StatusCode::kInvalidFile, "file of " + std::to_string(file.size()) +
                                              " bytes has no header (8 bytes of header length come first)");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kPrefixBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  if (length > limits.safetensors_header_bytes) {
    return Fail(StatusCode::kInvalidFile, "header of " + std::to_string(length) + " bytes exceeds the limit of " +
                                              std::to_string(limits.safetensors_header_bytes));
  }
  if (length > file.size() - kPrefixBytes) {
    return Fail(StatusCode::kInvalidFile, "header of " + std::to_string(length) + " bytes is longer than the file's " +
                                              std::to_string(file.size()) + " (truncated file?)");
  }
  return ParseSafetensorsTable(AsText(file.subspan(kPrefixBytes, static_cast<size_t>(length))),
                               file.size() - kPrefixBytes - length, limits);
}

Result<SafetensorsHeader> ParseSafetensorsTable(std::string_view json, uint64_t data_bytes, const FileLimits& limits) {
  DG_TRY(SafetensorsStatement statement, ReadSafetensorsStatement(json, limits));
  std::deque<SafetensorsEntry>& tensors = statement.tensors;
  DG_CHECK_OK(CheckNames(tensors));
  for (const SafetensorsEntry& entry : tensors) DG_CHECK_OK(CheckSize(entry));
  // Equal begins: an empty tensor comes before the one whose bytes start there. Names make the order unique.
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  DG_CHECK_OK(CheckCover(tensors, data_bytes));
  SafetensorsHeader header;
  header.data_begin = kPrefixBytes + json.size();
  for (SafetensorsEntry& entry : tensors) {
    entry.begin += header.data_begin;  // in range: begin <= end <= data_bytes, and header and data fit one file
    entry.end += header.data_begin;
  }
  header.tensors = std::move(tensors);
  header.metadata = std::move(statement.metadata);
  return header;
}

}  // namespace dgemma
