// The index of a sharded checkpoint (model.safetensors.index.json): which file holds which tensor. Text to table, pure;
// checkpoint_files.h opens the files and compares them with the table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/limits.h"

namespace dgemma {

/// Parsed index. File names are plain names: they cannot leave the model's folder.
struct ShardIndex {
  std::vector<std::string> files;         ///< sorted, each once
  std::map<std::string, size_t> file_of;  ///< tensor name -> index into files
  std::optional<uint64_t> total_size;     ///< bytes of all tensors, where the index states it
};

/// kInvalidFile with the field and rule: "weight_map" is a non-empty object of strings, its file names are plain names
/// (IsPlainFileName), "metadata.total_size" is a non-negative integer. Other fields are ignored.
Result<ShardIndex> ParseShardIndex(std::string_view json, const FileLimits& limits = {});

/// Whether a name from a file may name a file: printable ASCII without separators, not hidden, within file_name_bytes.
/// So "..", absolute paths, drive letters and names that could confuse a terminal are all refused.
bool IsPlainFileName(std::string_view name, const FileLimits& limits = {});

}  // namespace dgemma
