// Every bound of files/limits.h at limit - 1, limit and limit + 1, with the limits the program ships.
#include "files/limits.h"

#include <gtest/gtest.h>

#include <functional>

#include "files/bytes.h"
#include "files/checkpoint_files.h"
#include "files/mapped_file.h"
#include "files/safetensors.h"
#include "files/shard_index.h"
#include "safetensors_bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

const FileLimits kLimits;

/// accepted(n) must hold for limit - 1 and limit, and not for limit + 1.
void ExpectLimit(uint64_t limit, const std::function<bool(uint64_t)>& accepted) {
  EXPECT_TRUE(accepted(limit - 1));
  EXPECT_TRUE(accepted(limit));
  EXPECT_FALSE(accepted(limit + 1));
}

bool TableAccepted(const std::string& header, uint64_t data_bytes) {
  return ParseSafetensors(AsBytes(SafetensorsFile(header, data_bytes))).has_value();
}

TEST(FileLimits, SafetensorsHeaderBytes) {
  ExpectLimit(kLimits.safetensors_header_bytes,
              [](uint64_t n) { return TableAccepted("{}" + std::string(n - 2, ' '), 0); });
}

TEST(FileLimits, SafetensorsTensors) {
  ExpectLimit(kLimits.safetensors_tensors, [](uint64_t n) {
    std::string header = "{";
    for (uint64_t i = 0; i < n; ++i) header += (i ? "," : "") + Entry(std::to_string(i), "U8", "0", "0,0");
    return TableAccepted(header + "}", 0);
  });
}

TEST(FileLimits, SafetensorsDimensions) {
  ExpectLimit(kLimits.safetensors_dimensions, [](uint64_t n) {
    std::string shape;
    for (uint64_t i = 0; i < n; ++i) shape += i ? ",1" : "1";
    return TableAccepted("{" + Entry("a", "U8", shape, "0,1") + "}", 1);
  });
}

TEST(FileLimits, SafetensorsMetadataEntries) {
  ExpectLimit(kLimits.safetensors_metadata_entries, [](uint64_t n) {
    std::string header = "{\"__metadata__\":{";
    for (uint64_t i = 0; i < n; ++i) header += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
    return TableAccepted(header + "}}", 0);
  });
}

TEST(FileLimits, TensorNameBytes) {
  ExpectLimit(kLimits.tensor_name_bytes,
              [](uint64_t n) { return TableAccepted("{" + Entry(std::string(n, 'a'), "U8", "1", "0,1") + "}", 1); });
  ExpectLimit(kLimits.tensor_name_bytes, [](uint64_t n) {  // escapes count as the bytes they stand for
    return TableAccepted("{" + Entry("\\u00e9" + std::string(n - 2, 'a'), "U8", "1", "0,1") + "}", 1);
  });
  ExpectLimit(kLimits.tensor_name_bytes, [](uint64_t n) {
    return ParseShardIndex("{\"weight_map\":{\"" + std::string(n, 'a') + "\":\"f\"}}").has_value();
  });
}

TEST(FileLimits, Shards) {
  ExpectLimit(kLimits.shards, [](uint64_t n) {
    std::string text = "{\"weight_map\":{";
    for (uint64_t i = 0; i < n; ++i)
      text += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"f" + std::to_string(i) + "\"";
    return ParseShardIndex(text + "}}").has_value();
  });
}

TEST(FileLimits, ShardIndexBytes) {
  ExpectLimit(kLimits.shard_index_bytes, [](uint64_t n) {
    const std::string text = "{\"weight_map\":{\"a\":\"f\"}}";
    return ParseShardIndex(text + std::string(n - text.size(), ' ')).has_value();
  });
}

TEST(FileLimits, FileNameBytes) {
  ExpectLimit(kLimits.file_name_bytes, [](uint64_t n) { return IsPlainFileName(std::string(n, 'a')); });
}

/// Text() of a checkpoint, from a folder and from memory, for a file of n bytes.
bool TextAccepted(const std::string& name, uint64_t n) {
  const std::string model = SafetensorsFile("{}", 0), text(n, 'x');
  const TempFolder folder;
  folder.Add("model.safetensors", model);
  folder.Add(name, text);
  const bool from_folder = OpenCheckpoint(folder.path())->Text(name).has_value();
  const auto memory =
      CheckpointFromMemory({StaticBlob("model.safetensors", AsBytes(model)), StaticBlob(name, AsBytes(text))});
  EXPECT_EQ(memory->Text(name).has_value(), from_folder);
  return from_folder;
}

TEST(FileLimits, ConfigBytes) {
  ExpectLimit(kLimits.config_bytes, [](uint64_t n) { return TextAccepted("config.json", n); });
}

TEST(FileLimits, TokenizerBytes) {
  ExpectLimit(kLimits.tokenizer_bytes, [](uint64_t n) { return TextAccepted("tokenizer.json", n); });
}

}  // namespace
}  // namespace dgemma
