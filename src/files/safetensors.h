// The table of a safetensors file: which tensors it holds, of which type and shape, at which bytes. A pure function of
// bytes and limits; the file itself comes from mapped_file.h, a folder of shards from checkpoint_files.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "files/limits.h"

namespace dgemma {

/// One tensor: row-major values of `dtype` in bytes [begin, end) of the file, little-endian.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kU8;
  std::vector<uint64_t> shape;  ///< outermost dimension first; empty for a single value
  uint64_t begin = 0;           ///< offset of the first byte, from the start of the file
  uint64_t end = 0;             ///< offset after the last byte
};

/// A valid table. The tensors' bytes follow each other without gap from data_begin to the end of the file.
struct SafetensorsHeader {
  std::deque<SafetensorsEntry> tensors;         ///< in the order of their bytes; a deque never holds two copies to grow
  std::map<std::string, std::string> metadata;  ///< the "__metadata__" object
  uint64_t data_begin = 0;                      ///< 8 + length of the JSON text
};

/// Parses the table of a whole file. Every rule of the format is checked; the message names the tensor and the rule.
/// Gives the verdict of the Rust crate `safetensors` 0.8, except that these are refused here and accepted there:
///  1. a bound of FileLimits passed (the crate's only bound is 100 MB of header);
///  2. white space before the '{' of the header;
///  3. the same tensor name, or the same metadata key, twice (the crate keeps the last);
///  4. a key of a tensor other than dtype, shape, data_offsets (the crate ignores it);
///  5. a tensor written as an array, a dtype written as an object, "__metadata__": null (accidents of the crate's
///  decoder);
///  6. a dtype of less than a byte per value: F4, F6_E2M3, F6_E3M2 (kUnsupported).
/// Costs O(n log n) in the header's length n, and about twice its bytes in memory.
Result<SafetensorsHeader> ParseSafetensors(std::span<const std::byte> file, const FileLimits& limits = {});

/// As ParseSafetensors, for a header's JSON text that stands before `data_bytes` bytes of data.
Result<SafetensorsHeader> ParseSafetensorsTable(std::string_view json, uint64_t data_bytes,
                                                const FileLimits& limits = {});

}  // namespace dgemma
