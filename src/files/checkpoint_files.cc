// Opens the files through a Source (folder or memory) and checks shards against their index.
#include "files/checkpoint_files.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "files/safetensors.h"
#include "files/shard_index.h"

namespace dgemma {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

/// Where named files come from: a folder, or blobs when `folder` is empty.
struct Source {
  std::filesystem::path folder;
  std::vector<Blob> blobs;

  bool Has(std::string_view name) const {
    if (!folder.empty()) {
      std::error_code ignored;
      return std::filesystem::exists(folder / name, ignored);
    }
    return FindBlob(name) != nullptr;
  }
  /// The file as bytes that may be mapped.
  Result<Blob> Map(std::string_view name) const {
    if (!folder.empty()) return MapBlob(folder / name);
    if (const Blob* blob = FindBlob(name)) return *blob;
    return Fail(StatusCode::kNotFound, std::string(name) + ": no such file");
  }
  Result<std::string> Read(std::string_view name, uint64_t max_bytes) const {
    if (!folder.empty()) return ReadWholeFile(folder / name, max_bytes);
    DG_TRY(const Blob blob, Map(name));
    if (blob.bytes.size() > max_bytes) {
      return Fail(StatusCode::kInvalidFile, std::string(name) + ": " + std::to_string(blob.bytes.size()) +
                                                " bytes exceed the limit of " + std::to_string(max_bytes));
    }
    return std::string(AsText(blob.bytes));
  }
  std::string Place(std::string_view name) const { return (folder / name).string(); }

 private:
  const Blob* FindBlob(std::string_view name) const {
    const auto found = std::find_if(blobs.begin(), blobs.end(), [&](const Blob& blob) { return blob.name == name; });
    return found == blobs.end() ? nullptr : &*found;
  }
};

struct Shard {
  Blob blob;
  SafetensorsHeader header;
};

}  // namespace

struct CheckpointFiles::State {
  Source source;
  FileLimits limits;
  std::vector<Shard> shards;       // complete before `tensors` views into it
  std::vector<TensorParts> parts;  // likewise, instead of the shards' tables
  std::map<std::string, TextSource> texts;
  std::vector<TensorBytes> tensors;  // ordered by name
  std::map<std::string, std::string> metadata;
};

/// Fills a State step by step and seals it.
class CheckpointBuilder {
 public:
  CheckpointBuilder(Source source, const FileLimits& limits) : state_(std::make_shared<CheckpointFiles::State>()) {
    state_->source = std::move(source);
    state_->limits = limits;
  }

  Result<CheckpointFiles> OpenModel() {
    if (state_->source.Has(kSingleFile)) {
      DG_TRY(Blob blob, state_->source.Map(kSingleFile));
      DG_CHECK_OK(AddShard(std::move(blob)));
      return Seal();
    }
    if (!state_->source.Has(kIndexFile)) {
      return Fail(StatusCode::kNotFound,
                  state_->source.Place(kSingleFile) + ": no such file, and no model.safetensors.index.json beside it");
    }
    const std::string place = state_->source.Place(kIndexFile);
    DG_TRY(const std::string text, state_->source.Read(kIndexFile, state_->limits.shard_index_bytes));
    DG_TRY(const ShardIndex index, At(place, ParseShardIndex(text, state_->limits)));
    for (const std::string& file : index.files) {
      DG_TRY(Blob blob, state_->source.Map(file));
      DG_CHECK_OK(AddShard(std::move(blob)));
    }
    DG_CHECK_OK(At(place, CheckIndex(index)));
    return Seal();
  }

  Result<CheckpointFiles> OpenOne(Blob blob) {
    DG_CHECK_OK(AddShard(std::move(blob)));
    return Seal();
  }

  Result<CheckpointFiles> PutTogether(Blob blob, std::vector<TensorParts> parts,
                                      std::map<std::string, TextSource> texts,
                                      std::map<std::string, std::string> metadata) {
    std::ranges::sort(parts, {}, &TensorParts::name);
    if (const auto repeat = std::ranges::adjacent_find(parts, {}, &TensorParts::name); repeat != parts.end()) {
      return Fail(StatusCode::kInvalidFile,
                  blob.name + ": tensor " + Quoted(repeat->name) + ": occurs twice (names are unique)");
    }
    state_->shards.push_back({std::move(blob), {}});
    state_->parts = std::move(parts);
    state_->texts = std::move(texts);
    state_->metadata = std::move(metadata);
    for (const TensorParts& part : state_->parts) {
      TensorBytes tensor{part.name, part.runs.front().dtype, part.shape, {}, state_->shards.front().blob.name};
      if (part.runs.size() == 1) {
        tensor.bytes = part.runs.front().bytes;
      } else {
        tensor.runs = part.runs;
      }
      state_->tensors.push_back(tensor);
    }
    return Seal();
  }

 private:
  Result<void> AddShard(Blob blob) {
    DG_TRY(SafetensorsHeader header, At(blob.name, ParseSafetensors(blob.bytes, state_->limits)));
    state_->shards.push_back({std::move(blob), std::move(header)});
    return {};
  }

  Result<void> CheckIndex(const ShardIndex& index) const {
    uint64_t total = 0;
    size_t placed = 0;
    for (size_t number = 0; number < index.files.size(); ++number) {
      for (const SafetensorsEntry& entry : state_->shards[number].header.tensors) {
        const auto found = index.file_of.find(entry.name);
        if (found == index.file_of.end() || found->second != number) {
          return Fail(StatusCode::kInvalidFile, "weight_map: does not place tensor " + Quoted(entry.name) + " in " +
                                                    Quoted(index.files[number]) +
                                                    ", which holds it (the map lists every tensor of every shard)");
        }
        ++placed;
        total += entry.end - entry.begin;  // at most the sum of mapped file sizes
      }
    }
    if (placed != index.file_of.size()) return FailMissing(index);
    if (index.total_size && *index.total_size != total) {
      return Fail(StatusCode::kInvalidFile, "metadata.total_size: states " + std::to_string(*index.total_size) +
                                                " bytes, the shards hold " + std::to_string(total));
    }
    return {};
  }

  std::unexpected<Status> FailMissing(const ShardIndex& index) const {
    std::vector<std::string_view> present;
    for (const Shard& shard : state_->shards) {
      for (const SafetensorsEntry& entry : shard.header.tensors) present.push_back(entry.name);
    }
    std::sort(present.begin(), present.end());
    const auto missing = std::find_if(index.file_of.begin(), index.file_of.end(), [&](const auto& pair) {
      return !std::binary_search(present.begin(), present.end(), std::string_view(pair.first));
    });
    return Fail(StatusCode::kInvalidFile, "weight_map: places tensor " + Quoted(missing->first) + " in " +
                                              Quoted(index.files[missing->second]) + ", which lacks it");
  }

  CheckpointFiles Seal() {
    for (const Shard& shard : state_->shards) {
      for (const SafetensorsEntry& entry : shard.header.tensors) {
        const auto bytes =
            shard.blob.bytes.subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.end - entry.begin));
        state_->tensors.push_back({entry.name, entry.dtype, entry.shape, bytes, shard.blob.name});
      }
      state_->metadata.insert(shard.header.metadata.begin(), shard.header.metadata.end());
    }
    std::sort(state_->tensors.begin(), state_->tensors.end(),
              [](const TensorBytes& a, const TensorBytes& b) { return a.name < b.name; });
    return CheckpointFiles(std::move(state_));
  }

  std::shared_ptr<CheckpointFiles::State> state_;
};

std::span<const TensorBytes> CheckpointFiles::tensors() const { return state_->tensors; }

const std::map<std::string, std::string>& CheckpointFiles::metadata() const { return state_->metadata; }

Result<TensorBytes> CheckpointFiles::Tensor(std::string_view name) const {
  const auto& all = state_->tensors;
  const auto found =
      std::lower_bound(all.begin(), all.end(), name,
                       [](const TensorBytes& tensor, std::string_view wanted) { return tensor.name < wanted; });
  if (found != all.end() && found->name == name) return *found;
  const std::string place =
      state_->shards.size() == 1 ? state_->shards.front().blob.name : state_->source.folder.string();
  return Fail(StatusCode::kNotFound, (place.empty() ? "checkpoint" : place) + ": has no tensor " + Quoted(name));
}

bool CheckpointFiles::HasTensor(std::string_view name) const {
  return std::ranges::binary_search(state_->tensors, name, {}, &TensorBytes::name);
}

void CheckpointFiles::Release(const TensorBytes& tensor) const {
  const auto release = [this](std::span<const std::byte> bytes) {
    const std::byte* first = bytes.data();
    for (const Shard& shard : state_->shards) {
      const std::span<const std::byte> all = shard.blob.bytes;
      const bool inside = !std::less<>()(first, all.data()) && std::less<>()(first, all.data() + all.size());
      if (inside && shard.blob.release) shard.blob.release(bytes);
    }
  };
  if (tensor.runs.empty()) return release(tensor.bytes);
  for (const TensorRun& run : tensor.runs) release(run.bytes);
}

uint64_t TensorBytes::ByteCount() const {
  uint64_t count = bytes.size();
  for (const TensorRun& run : runs) count += run.bytes.size();
  return count;
}

Result<std::string> CheckpointFiles::Text(std::string_view file_name) const {
  if (!IsPlainFileName(file_name, state_->limits)) {
    return Fail(StatusCode::kInvalidArgument, Quoted(file_name) + " is not a plain file name");
  }
  const uint64_t limit = file_name == "tokenizer.json" ? state_->limits.tokenizer_bytes : state_->limits.config_bytes;
  const auto made = state_->texts.find(std::string(file_name));
  if (made == state_->texts.end()) return state_->source.Read(file_name, limit);
  DG_TRY(std::string text, made->second());
  if (text.size() <= limit) return text;
  return Fail(StatusCode::kInvalidFile, std::string(file_name) + ": " + std::to_string(text.size()) +
                                            " bytes exceed the limit of " + std::to_string(limit));
}

Result<CheckpointFiles> OpenCheckpoint(const std::filesystem::path& folder, const FileLimits& limits) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    const bool exists = std::filesystem::exists(folder, error);
    return Fail(exists ? StatusCode::kInvalidFile : StatusCode::kNotFound,
                folder.string() + (exists ? ": is a file, not a model folder" : ": no such folder"));
  }
  return CheckpointBuilder({folder, {}}, limits).OpenModel();
}

Result<CheckpointFiles> OpenSafetensors(const std::filesystem::path& file, const FileLimits& limits) {
  DG_TRY(Blob blob, MapBlob(file));
  return CheckpointBuilder({}, limits).OpenOne(std::move(blob));
}

Result<CheckpointFiles> CheckpointFromMemory(std::vector<Blob> files, const FileLimits& limits) {
  return CheckpointBuilder({{}, std::move(files)}, limits).OpenModel();
}

Result<CheckpointFiles> CheckpointFromParts(Blob blob, std::vector<TensorParts> tensors,
                                            std::map<std::string, TextSource> texts,
                                            std::map<std::string, std::string> metadata, const FileLimits& limits) {
  return CheckpointBuilder({}, limits)
      .PutTogether(std::move(blob), std::move(tensors), std::move(texts), std::move(metadata));
}

}  // namespace dgemma
