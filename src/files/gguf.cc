// Walks the header once, keeping views, then checks the rules that relate numbers to each other.
#include "files/gguf.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "base/checked.h"
#include "files/gguf_cursor.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr std::string_view kAlignmentKey = "general.alignment";

std::unexpected<Status> Invalid(std::string message) { return Fail(StatusCode::kInvalidFile, std::move(message)); }

std::string Over(const char* what, uint64_t value, uint64_t limit) {
  return std::string(what) + " " + std::to_string(value) + " exceeds the limit of " + std::to_string(limit);
}

/// Bytes of one number; 0 for texts, arrays and unknown types.
uint64_t NumberBytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    default:
      return 0;
  }
}

/// A key or a tensor's name: printable ASCII, not empty.
Result<std::string_view> ReadName(GgufCursor& cursor, uint64_t limit) {
  DG_TRY(const std::string_view name, cursor.Text(limit));
  if (name.empty()) return Invalid("is empty");
  if (!std::ranges::all_of(name, [](char c) { return c > 0x20 && c < 0x7f; })) {
    return Invalid(Quoted(name) + " is not printable ASCII without spaces");
  }
  return name;
}

Result<GgufType> ReadType(GgufCursor& cursor) {
  DG_TRY(const uint32_t number, cursor.Number<uint32_t>());
  const auto type = static_cast<GgufType>(number);
  if (type != GgufType::kText && type != GgufType::kArray && NumberBytes(type) == 0) {
    return Invalid("value type " + std::to_string(number) + " is unknown (0 to 12)");
  }
  return type;
}

/// Entries of a value; `value.bytes` is set to what they take.
Result<void> ReadEntries(GgufCursor& cursor, GgufValue& value, const FileLimits& limits) {
  const uint64_t begin = cursor.position();
  if (value.type == GgufType::kText) {
    for (uint64_t i = 0; i < value.count; ++i) DG_CHECK_OK(cursor.Text(limits.gguf_text_bytes));
  } else {
    DG_CHECK_OK(cursor.Take(value.count * NumberBytes(value.type)));  // count is bounded, so this fits
  }
  value.bytes = cursor.Since(begin);
  if (value.type != GgufType::kBool) return {};
  if (std::ranges::all_of(value.bytes, [](std::byte byte) { return byte <= std::byte{1}; })) return {};
  return Invalid("holds a bool that is neither 0 nor 1");
}

Result<GgufValue> ReadValue(GgufCursor& cursor, const FileLimits& limits) {
  GgufValue value;
  DG_TRY(value.type, ReadType(cursor));
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    DG_TRY(value.type, ReadType(cursor));
    if (value.type == GgufType::kArray) return Invalid("is an array of arrays (entries are numbers or texts)");
    DG_TRY(value.count, cursor.Number<uint64_t>());
    if (value.count > limits.gguf_array_entries)
      return Invalid(Over("array of", value.count, limits.gguf_array_entries));
  }
  DG_CHECK_OK(ReadEntries(cursor, value, limits));
  return value;
}

Result<void> ReadMetadata(GgufCursor& cursor, uint64_t count, const FileLimits& limits, GgufTable& table) {
  for (uint64_t i = 0; i < count; ++i) {
    DG_TRY(const std::string_view key,
           At("metadata key " + std::to_string(i), ReadName(cursor, limits.gguf_key_bytes)));
    DG_TRY(const GgufValue value, At("key " + Quoted(key), ReadValue(cursor, limits)));
    if (!table.metadata.emplace(key, value).second)
      return Invalid("key " + Quoted(key) + ": occurs twice (keys are unique)");
  }
  return {};
}

Result<uint64_t> ReadAlignment(const GgufTable& table, const FileLimits& limits) {
  const GgufValue* value = table.Find(kAlignmentKey);
  if (value == nullptr) return uint64_t{32};
  if (value->is_array || value->type != GgufType::kU32) return Invalid("general.alignment: is not one u32");
  const auto alignment = static_cast<uint64_t>(*value->Integer());
  if (alignment > limits.gguf_alignment) return Invalid(Over("general.alignment:", alignment, limits.gguf_alignment));
  if (alignment < 8 || (alignment & (alignment - 1)) != 0) {
    return Invalid("general.alignment: " + std::to_string(alignment) + " is no power of two from 8 on");
  }
  return alignment;
}

/// Bytes that shape and type need.
Result<uint64_t> BytesOf(const GgufTensor& tensor) {
  const uint64_t row = tensor.rank == 0 ? 1 : tensor.sizes[tensor.rank - 1U];
  if (row % ValuesPerBlock(tensor.dtype) != 0) {
    return Invalid("rows of " + std::to_string(row) + " values are no whole number of blocks of " +
                   std::to_string(ValuesPerBlock(tensor.dtype)) + " (" + std::string(Name(tensor.dtype)) + ")");
  }
  const Result<uint64_t> values = CheckedProduct(tensor.shape());
  const Result<uint64_t> bytes =
      values ? CheckedMul(*values / ValuesPerBlock(tensor.dtype), BytesPerBlock(tensor.dtype)) : values;
  if (!bytes) return Invalid("shape: size overflows 64 bits");
  return bytes;
}

/// begin is the offset from data_begin until PlaceTensors; end - begin is the size.
Result<void> ReadTensorFields(GgufCursor& cursor, const GgufTable& table, const FileLimits& limits,
                              GgufTensor& tensor) {
  DG_TRY(const uint32_t rank, cursor.Number<uint32_t>());
  if (rank > limits.gguf_dimensions || rank > tensor.sizes.size()) {
    return Invalid(std::to_string(rank) + " dimensions exceed the limit of " + std::to_string(limits.gguf_dimensions));
  }
  tensor.rank = static_cast<uint8_t>(rank);
  for (size_t i = rank; i > 0; --i) {
    DG_TRY(tensor.sizes[i - 1], cursor.Number<uint64_t>());
    if (tensor.sizes[i - 1] == 0) return Invalid("shape: a dimension is 0 (at least 1)");
  }
  DG_TRY(const uint32_t number, cursor.Number<uint32_t>());
  const auto dtype = DTypeFromGguf(number);
  if (!dtype) {
    return Fail(StatusCode::kUnsupported,
                "type number " + std::to_string(number) +
                    " is not supported (F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, Q6_K, Q5_K, Q4_K, IQ4_XS and "
                    "plain integers)");
  }
  tensor.dtype = *dtype;
  DG_TRY(tensor.begin, cursor.Number<uint64_t>());
  if (tensor.begin % table.alignment != 0) {
    return Invalid("offset " + std::to_string(tensor.begin) + " is no multiple of the alignment " +
                   std::to_string(table.alignment));
  }
  DG_TRY(const uint64_t bytes, BytesOf(tensor));
  const Result<uint64_t> end = CheckedAdd(tensor.begin, bytes);
  if (!end) return Invalid("offset and size overflow 64 bits");
  tensor.end = *end;
  return {};
}

Result<void> ReadTensors(GgufCursor& cursor, uint64_t count, const FileLimits& limits, GgufTable& table) {
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    DG_TRY(tensor.name, At("tensor " + std::to_string(i), ReadName(cursor, limits.gguf_tensor_name_bytes)));
    DG_CHECK_OK(At("tensor " + Quoted(tensor.name), ReadTensorFields(cursor, table, limits, tensor)));
    table.tensors.push_back(tensor);
  }
  std::vector<uint32_t> order(table.tensors.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](uint32_t index) { return table.tensors[index].name; });
  const auto repeat = std::ranges::adjacent_find(order, {}, [&](uint32_t index) { return table.tensors[index].name; });
  if (repeat == order.end()) return {};
  return Invalid("tensor " + Quoted(table.tensors[*repeat].name) + ": occurs twice (names are unique)");
}

/// Tensors in the order of their bytes must follow each other with less than the alignment between them, up to the
/// file's end.
Result<void> PlaceTensors(uint64_t table_end, uint64_t file_bytes, GgufTable& table) {
  table.data_begin = AlignUp(table_end, table.alignment);
  const uint64_t data_bytes = file_bytes < table.data_begin ? 0 : file_bytes - table.data_begin;
  std::ranges::sort(table.tensors, {}, [](const GgufTensor& tensor) { return std::pair(tensor.begin, tensor.name); });
  uint64_t covered = 0;
  for (GgufTensor& tensor : table.tensors) {
    const auto fault = [&](const std::string& what) {
      return Invalid("tensor " + Quoted(tensor.name) + ": bytes [" + std::to_string(tensor.begin) + ", " +
                     std::to_string(tensor.end) + "] of the data " + what);
    };
    if (tensor.end > data_bytes)
      return fault("end beyond the file's " + std::to_string(data_bytes) + " (truncated file?)");
    if (tensor.begin < covered) return fault("overlap the tensor before, which ends at " + std::to_string(covered));
    if (tensor.begin != AlignUp(covered, table.alignment))
      return fault("leave a hole after byte " + std::to_string(covered));
    covered = tensor.end;
    tensor.begin += table.data_begin;  // in range: both are at most file_bytes
    tensor.end += table.data_begin;
  }
  if (AlignUp(covered, table.alignment) < data_bytes) {
    return Invalid(std::to_string(data_bytes - covered) +
                   " bytes follow the last tensor (padding only, below the alignment)");
  }
  return {};
}

/// Magic and version.
Result<void> ReadPrefix(GgufCursor& cursor) {
  DG_TRY(const uint32_t magic, cursor.Number<uint32_t>());
  if (magic != kMagic) return Invalid("does not begin with \"GGUF\"");
  DG_TRY(const uint32_t version, cursor.Number<uint32_t>());
  if (version == kVersion) return {};
  if (version == __builtin_bswap32(kVersion))
    return Fail(StatusCode::kUnsupported, "is big-endian (only little-endian files are read)");
  const bool older = version == 1 || version == 2;
  return Fail(older ? StatusCode::kUnsupported : StatusCode::kInvalidFile,
              "version " + std::to_string(version) + " is not supported (3)");
}

}  // namespace

const GgufValue* GgufTable::Find(std::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

Result<GgufTable> ParseGgufTable(std::span<const std::byte> head, uint64_t file_bytes, const FileLimits& limits) {
  const bool cut = head.size() > limits.gguf_header_bytes;
  if (cut) head = head.first(static_cast<size_t>(limits.gguf_header_bytes));
  GgufCursor cursor(head, cut ? "exceed the limit of " + std::to_string(limits.gguf_header_bytes) + " header bytes"
                              : "are beyond the end (truncated file?)");
  DG_CHECK_OK(ReadPrefix(cursor));
  DG_TRY(const uint64_t tensors, cursor.Number<uint64_t>());
  DG_TRY(const uint64_t entries, cursor.Number<uint64_t>());
  if (tensors > limits.gguf_tensors) return Invalid(Over("tensors:", tensors, limits.gguf_tensors));
  if (entries > limits.gguf_metadata_entries)
    return Invalid(Over("metadata entries:", entries, limits.gguf_metadata_entries));
  GgufTable table;
  DG_CHECK_OK(ReadMetadata(cursor, entries, limits, table));
  DG_TRY(table.alignment, ReadAlignment(table, limits));
  DG_CHECK_OK(ReadTensors(cursor, tensors, limits, table));
  DG_CHECK_OK(PlaceTensors(cursor.position(), file_bytes, table));
  return table;
}

Result<GgufTable> ParseGguf(std::span<const std::byte> file, const FileLimits& limits) {
  return ParseGgufTable(file, file.size(), limits);
}

}  // namespace dgemma
