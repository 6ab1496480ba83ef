// The table of a GGUF file, version 3, little-endian: typed metadata, and which tensors it holds, of which type and
// shape, at which bytes. A pure function of bytes and limits that copies nothing; what keys and names mean is the
// business of model/gguf_model.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "files/limits.h"

namespace dgemma {

/// Types of metadata values, with the numbers of the format.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// One metadata value or array, as it lies in the file. Readers give nothing when the value is of another type, or does
/// not fit.
struct GgufValue {
  GgufType type = GgufType::kU8;     ///< of the value, or of an array's entries; never kArray
  bool is_array = false;             ///< arrays of arrays are refused
  uint64_t count = 1;                ///< entries; 1 for a single value
  std::span<const std::byte> bytes;  ///< the entries: little-endian numbers, or u64 length and text each

  std::optional<std::string_view> Text() const;  ///< a single text
  std::optional<int64_t> Integer() const;        ///< a single integer of any width
  std::optional<double> Number() const;          ///< a single integer or real number
  std::optional<bool> Bool() const;              ///< a single bool

  std::optional<std::vector<std::string_view>> Texts() const;  ///< an array of texts
  std::optional<std::vector<int64_t>> Integers() const;        ///< an array of integers or bools
};

/// One tensor: row-major values of `dtype` in bytes [begin, end) of the file.
struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  uint8_t rank = 0;
  std::array<uint64_t, 4> sizes{};  ///< outermost dimension first (the file has them innermost first)
  uint64_t begin = 0;
  uint64_t end = 0;

  std::span<const uint64_t> shape() const { return {sizes.data(), rank}; }
};

/// A valid table; views point into the parsed bytes.
struct GgufTable {
  std::map<std::string_view, GgufValue> metadata;
  std::deque<GgufTensor> tensors;  ///< in the order of their bytes
  uint64_t alignment = 32;         ///< of data_begin and of every tensor behind it
  uint64_t data_begin = 0;

  /// The value of a key, or null.
  const GgufValue* Find(std::string_view key) const;
};

/// The type with this number in a GGUF file, or nothing where dgemma has none (and the number of a type, the inverse).
std::optional<DType> DTypeFromGguf(uint32_t number);
std::optional<uint32_t> GgufNumber(DType dtype);

/// Parses the table of a whole file; the message names the key or tensor and the rule. Refused are: other versions and
/// byte orders, counts and lengths beyond the file or a bound of FileLimits, unknown value types, arrays of arrays,
/// bools other than 0 and 1, keys and names that are not printable ASCII or occur twice, an alignment that is no power
/// of two from 8 on, more than 4 dimensions, a dimension of 0, sizes beyond 64 bits, rows that are no whole number of
/// blocks, offsets that are not aligned, tensors that overlap, leave more than padding between them or reach beyond the
/// file, more than padding behind the last one. kUnsupported: a tensor type that dgemma does not read, versions 1 and
/// 2, big-endian files. O(n log n) in the bytes before the data, little memory beyond them.
Result<GgufTable> ParseGguf(std::span<const std::byte> file, const FileLimits& limits = {});

/// The same for the first bytes of a file of `file_bytes` bytes; `head` must hold the whole table.
Result<GgufTable> ParseGgufTable(std::span<const std::byte> head, uint64_t file_bytes, const FileLimits& limits = {});

/// value rounded up to a multiple of `alignment`, a power of two.
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

}  // namespace dgemma
