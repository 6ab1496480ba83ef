// Every bound that the readers of model files enforce, in one table. Parsers take the table, so a test can lower a
// bound. Each bound is tested at limit - 1, limit and limit + 1 (tests/files). Bounds on requests live in server/.
#pragma once

#include <cstdint>

namespace dgemma {

/// Bounds on what a model folder may cost. A file past a bound is refused with the bound in the message.
struct FileLimits {
  uint64_t safetensors_header_bytes =
      16 << 20;                           ///< JSON header; the released 26B checkpoint needs about 120 KiB a shard
  uint64_t safetensors_tensors = 65'536;  ///< tensors in one file
  uint64_t safetensors_dimensions = 8;    ///< dimensions of one tensor
  uint64_t safetensors_metadata_entries = 4'096;  ///< pairs under "__metadata__"; each costs far more memory than bytes
  uint64_t tensor_name_bytes = 1'024;             ///< UTF-8 bytes of a tensor's name, after unescaping
  uint64_t gguf_header_bytes = 128 << 20;   ///< everything before the data; the released vocabulary needs about 17 MiB
  uint64_t gguf_tensors = 65'536;           ///< tensors in one file; the released model has 692
  uint64_t gguf_metadata_entries = 4'096;   ///< keys in one file; released files have about 50
  uint64_t gguf_key_bytes = 256;            ///< bytes of a key
  uint64_t gguf_text_bytes = 1 << 20;       ///< bytes of one text value, such as the chat template
  uint64_t gguf_array_entries = 4'000'000;  ///< entries of one array; the released merges are 514,906
  uint64_t gguf_dimensions = 4;             ///< dimensions of one tensor; the format has no more
  uint64_t gguf_tensor_name_bytes = 64;     ///< bytes of a tensor's name; the format has no more
  uint64_t gguf_alignment = 1 << 16;        ///< general.alignment
  uint64_t shards = 1'024;                  ///< files a shard index may name
  uint64_t shard_index_bytes = 16 << 20;    ///< model.safetensors.index.json
  uint64_t config_bytes = 1 << 20;          ///< config.json, generation_config.json, tokenizer_config.json
  uint64_t tokenizer_bytes = 64 << 20;      ///< tokenizer.json
  uint64_t file_name_bytes = 255;           ///< a shard's file name; the longest that common file systems hold
};

}  // namespace dgemma
