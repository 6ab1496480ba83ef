// Checks the few fields of the index that matter.
#include "files/shard_index.h"

#include <algorithm>
#include <utility>

#include "base/try.h"
#include "files/json.h"
#include "files/messages.h"

namespace dgemma {
namespace {

namespace json = boost::json;

Result<std::optional<uint64_t>> ReadTotalSize(const json::object& index) {
  const json::value* metadata = index.if_contains("metadata");
  if (!metadata) return std::nullopt;
  const json::object* fields = metadata->if_object();
  if (!fields) return Fail(StatusCode::kInvalidFile, "metadata: is not an object");
  const json::value* total = fields->if_contains("total_size");
  if (!total) return std::nullopt;
  if (const uint64_t* value = total->if_uint64()) return *value;
  if (const int64_t* value = total->if_int64(); value && *value >= 0) return static_cast<uint64_t>(*value);
  return Fail(StatusCode::kInvalidFile, "metadata.total_size: is not a non-negative integer");
}

}  // namespace

bool IsPlainFileName(std::string_view name, const FileLimits& limits) {
  if (name.empty() || name.size() > limits.file_name_bytes || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char byte) {
    return byte > 0x20 && byte < 0x7f && byte != '/' && byte != '\\' && byte != ':';
  });
}

Result<ShardIndex> ParseShardIndex(std::string_view text, const FileLimits& limits) {
  JsonLimits json_limits;
  json_limits.bytes = limits.shard_index_bytes;
  json_limits.depth = 8;
  DG_TRY(const json::value root, ParseJson(text, json_limits));
  const json::object* fields = root.if_object();
  if (!fields) return Fail(StatusCode::kInvalidFile, "is not a JSON object");
  const json::value* map_field = fields->if_contains("weight_map");
  if (!map_field) return Fail(StatusCode::kInvalidFile, "weight_map: is missing");
  const json::object* weight_map = map_field->if_object();
  if (!weight_map) return Fail(StatusCode::kInvalidFile, "weight_map: is not an object");
  if (weight_map->empty()) return Fail(StatusCode::kInvalidFile, "weight_map: is empty");

  ShardIndex index;
  std::map<std::string, size_t> files;
  for (const json::key_value_pair& pair : *weight_map) {
    const std::string tensor(pair.key());
    if (tensor.size() > limits.tensor_name_bytes) {
      return Fail(StatusCode::kInvalidFile,
                  "weight_map: a tensor's name exceeds " + std::to_string(limits.tensor_name_bytes) + " bytes (limit)");
    }
    const json::string* file = pair.value().if_string();
    if (!file) return Fail(StatusCode::kInvalidFile, "weight_map: tensor " + Quoted(tensor) + ": file is not a string");
    const std::string file_name(file->data(), file->size());
    if (!IsPlainFileName(file_name, limits)) {
      return Fail(StatusCode::kInvalidFile, "weight_map: tensor " + Quoted(tensor) + ": file " + Quoted(file_name) +
                                                " is not a plain file name (it must lie in the same folder)");
    }
    files.try_emplace(file_name);
    if (files.size() > limits.shards) {
      return Fail(StatusCode::kInvalidFile,
                  "weight_map: more than " + std::to_string(limits.shards) + " files (limit)");
    }
  }
  for (auto& [name, number] : files) {
    number = index.files.size();
    index.files.push_back(name);
  }
  for (const json::key_value_pair& pair : *weight_map) {
    const json::string& file = pair.value().get_string();
    index.file_of.emplace(pair.key(), files.at(std::string(file.data(), file.size())));
  }
  DG_TRY(index.total_size, ReadTotalSize(*fields));
  return index;
}

}  // namespace dgemma
