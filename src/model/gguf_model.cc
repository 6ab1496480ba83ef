// Walks the list of tensors and finds each in the file, under any of its names.
#include "model/gguf_model.h"

#include <array>
#include <fstream>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/try.h"
#include "files/gguf.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "model/config.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_tokenizer.h"
#include "model/tensor_list.h"

namespace dgemma {
namespace {

constexpr const char* kExtension = ".gguf";

/// Finds tensors and remembers which were used.
class TensorFinder {
 public:
  TensorFinder(const GgufTable& table, std::span<const std::byte> file) : table_(table), file_(file) {
    for (const GgufTensor& tensor : table.tensors) by_name_.emplace(tensor.name, &tensor);
  }

  Result<TensorParts> Find(const TensorSpec& spec) {
    const std::vector<std::string> names = GgufNames(spec.name);
    for (const std::string& name : names) {
      if (const GgufTensor* tensor = Use(name)) return Whole(spec.name, *tensor);
    }
    if (const auto halves = GgufHalves(spec.name)) {
      const GgufTensor *gate = Use(halves->first), *up = Use(halves->second);
      if (gate != nullptr && up != nullptr) return Joined(spec.name, *gate, *up);
    }
    return Fail(StatusCode::kInvalidFile, "has no tensor " + Quoted(names.empty() ? spec.name : names.front()) +
                                              " (the model's " + spec.name + ")");
  }

  /// Tensors of the file that nothing used, under their own names.
  std::vector<TensorParts> Rest() const {
    std::vector<TensorParts> rest;
    for (const GgufTensor& tensor : table_.tensors) {
      if (!used_.contains(tensor.name) && !IsGgufExtra(tensor.name))
        rest.push_back(Whole(std::string(tensor.name), tensor));
    }
    return rest;
  }

 private:
  const GgufTensor* Use(std::string_view name) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return nullptr;
    used_.insert(found->first);
    return found->second;
  }

  TensorParts Whole(std::string name, const GgufTensor& tensor) const {
    const auto bytes = file_.subspan(static_cast<size_t>(tensor.begin), static_cast<size_t>(tensor.end - tensor.begin));
    uint64_t rows = 1;
    for (size_t i = 0; i + 1 < tensor.rank; ++i) rows *= tensor.sizes[i];
    return {std::move(name), {tensor.shape().begin(), tensor.shape().end()}, {{tensor.dtype, rows, bytes}}};
  }

  /// [E, X, D] twice as [E, 2X, D]: for each expert a run of gate rows and a run of up rows.
  Result<TensorParts> Joined(const std::string& name, const GgufTensor& gate, const GgufTensor& up) const {
    if (gate.rank != 3 || gate.sizes != up.sizes || up.rank != 3) {
      return Fail(StatusCode::kInvalidFile, "tensors " + Quoted(gate.name) + " and " + Quoted(up.name) +
                                                ": shapes differ, or are not [experts, rows, cols]");
    }
    const uint64_t experts = gate.sizes[0], rows = gate.sizes[1];
    TensorParts parts{name, {experts, 2 * rows, gate.sizes[2]}, {}};
    for (uint64_t expert = 0; expert < experts; ++expert) {
      for (const GgufTensor* half : {&gate, &up}) {
        const uint64_t bytes = (half->end - half->begin) / experts;
        parts.runs.push_back(
            {half->dtype, rows,
             file_.subspan(static_cast<size_t>(half->begin + expert * bytes), static_cast<size_t>(bytes))});
      }
    }
    return parts;
  }

  const GgufTable& table_;
  std::span<const std::byte> file_;
  std::unordered_map<std::string_view, const GgufTensor*> by_name_;
  std::set<std::string_view> used_;
};

/// The model of a parsed file; messages lack the file's name.
Result<CheckpointFiles> PutTogether(Blob blob, const FileLimits& limits) {
  DG_TRY(GgufTable parsed, ParseGguf(blob.bytes, limits));
  const auto table = std::make_shared<const GgufTable>(std::move(parsed));
  DG_TRY(const std::string config_text, ConfigFromGguf(*table, blob.bytes));
  DG_TRY(const Config config, At("metadata", ParseConfig(config_text)));
  TensorFinder finder(*table, blob.bytes);
  std::vector<TensorParts> tensors;
  for (const TensorSpec& spec : ListTensors(config)) {
    DG_TRY(TensorParts parts, finder.Find(spec));
    tensors.push_back(std::move(parts));
  }
  for (TensorParts& parts : finder.Rest()) tensors.push_back(std::move(parts));

  // The table's views point into the blob, which every source therefore keeps.
  const auto source = [&](Result<std::string> (*make)(const GgufTable&)) {
    return [make, table, keep = blob.keep_alive]() { return make(*table); };
  };
  std::map<std::string, TextSource> texts;
  texts["config.json"] = [config_text]() -> Result<std::string> { return config_text; };
  texts["generation_config.json"] = source(GenerationConfigFromGguf);
  texts["tokenizer.json"] = source(TokenizerFromGguf);
  texts["tokenizer_config.json"] = source(TokenizerConfigFromGguf);
  std::map<std::string, std::string> metadata;
  for (const char* key : {"general.architecture", "general.name"}) {
    const GgufValue* value = table->Find(key);
    const auto text = value == nullptr ? std::nullopt : value->Text();
    if (text) metadata[key] = *text;
  }
  return CheckpointFromParts(std::move(blob), std::move(tensors), std::move(texts), std::move(metadata), limits);
}

}  // namespace

bool IsGgufFile(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  if (path.extension() == kExtension) return true;
  std::array<char, 4> magic{};
  std::ifstream file(path, std::ios::binary);
  return file.read(magic.data(), magic.size()) && std::string_view(magic.data(), magic.size()) == "GGUF";
}

Result<CheckpointFiles> OpenGguf(Blob blob, const FileLimits& limits) {
  const std::string place = blob.name;
  return At(place, PutTogether(std::move(blob), limits));
}

Result<CheckpointFiles> OpenModel(const std::filesystem::path& path, const FileLimits& limits) {
  std::error_code ignored;
  const bool named = path.extension() == kExtension && !std::filesystem::is_directory(path, ignored);
  if (!named && !IsGgufFile(path)) return OpenCheckpoint(path, limits);
  DG_TRY(Blob blob, MapBlob(path));
  return OpenGguf(std::move(blob), limits);
}

}  // namespace dgemma
