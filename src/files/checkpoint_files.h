// A model as files: one safetensors file or shards with an index, and the JSON texts beside them; from a folder or from
// memory (the embedded model). Says where each tensor's bytes are; what the tensors mean is the business of model/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/bytes.h"
#include "files/dtype.h"
#include "files/limits.h"

namespace dgemma {

/// Consecutive rows of a tensor that lie together.
struct TensorRun {
  DType dtype = DType::kU8;
  uint64_t rows = 0;  ///< over all matrices of the tensor
  std::span<const std::byte> bytes;
};

/// One stored tensor. All views live as long as any copy of the CheckpointFiles they came from.
struct TensorBytes {
  std::string_view name;
  DType dtype = DType::kU8;
  std::span<const uint64_t> shape;   ///< outermost dimension first
  std::span<const std::byte> bytes;  ///< row-major, little-endian, exactly product(shape) values; any alignment
  std::string_view file;             ///< for messages
  /// In row order, where the file holds the tensor in several parts: `bytes` is then empty and `dtype` that of the
  /// first part.
  std::span<const TensorRun> runs{};

  uint64_t ByteCount() const;
};

/// A tensor of CheckpointFromParts: one run is the usual case.
struct TensorParts {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<TensorRun> runs;
};

/// Makes the content of a text file when it is asked for.
using TextSource = std::function<Result<std::string>()>;

/// The tensors and texts of one model. Immutable; copies share everything.
class CheckpointFiles {
 public:
  /// All tensors, ordered by name.
  std::span<const TensorBytes> tensors() const;

  /// The tensor of this name, or kNotFound naming it.
  Result<TensorBytes> Tensor(std::string_view name) const;
  bool HasTensor(std::string_view name) const;
  /// Keeps everything that views of tensors point to.
  std::shared_ptr<const void> owner() const { return state_; }
  /// Says that a tensor will not be read soon: the memory of its file pages can go. The tensor stays readable.
  void Release(const TensorBytes& tensor) const;

  /// Content of config.json, generation_config.json, tokenizer.json or tokenizer_config.json, read now. kNotFound when
  /// there is no such file; whether that matters is for the caller to say.
  Result<std::string> Text(std::string_view file_name) const;

  /// "__metadata__" of the safetensors file; of all shards together when there are several.
  const std::map<std::string, std::string>& metadata() const;

 private:
  friend class CheckpointBuilder;
  struct State;
  explicit CheckpointFiles(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

/// Opens `folder`: model.safetensors where it exists, otherwise model.safetensors.index.json and its shards. Refused,
/// with file, tensor and rule: any fault ParseSafetensors or ParseShardIndex finds, a tensor that the index places in a
/// shard that lacks it, a shard's tensor that the index omits or places elsewhere, a total_size that is not the sum.
Result<CheckpointFiles> OpenCheckpoint(const std::filesystem::path& folder, const FileLimits& limits = {});

/// Opens one safetensors file (an adapter, recorded results). Text() then finds nothing.
Result<CheckpointFiles> OpenSafetensors(const std::filesystem::path& file, const FileLimits& limits = {});

/// The same from memory; each Blob's name is its file name ("model.safetensors", "config.json"). Rules as
/// OpenCheckpoint.
Result<CheckpointFiles> CheckpointFromMemory(std::vector<Blob> files, const FileLimits& limits = {});

/// A checkpoint put together from a file of another format (model/gguf_model.h): tensors that lie in `blob`, texts by
/// file name, and what metadata() says. kInvalidFile when two tensors have one name.
Result<CheckpointFiles> CheckpointFromParts(Blob blob, std::vector<TensorParts> tensors,
                                            std::map<std::string, TextSource> texts,
                                            std::map<std::string, std::string> metadata, const FileLimits& limits = {});

}  // namespace dgemma
