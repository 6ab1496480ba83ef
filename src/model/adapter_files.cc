// Opening: which file it is, its keys in pairs, nothing widened yet.
#include "model/adapter_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "base/try.h"
#include "files/gguf.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "model/gguf_model.h"

namespace dgemma {
namespace {

constexpr const char* kSettingsFile = "adapter_config.json";
constexpr const char* kMatricesFile = "adapter_model.safetensors";

/// Pairs by module while keys come in.
class ModuleCollector {
 public:
  using FindPlace = std::function<Result<std::optional<AdapterPlace>>(std::string_view module)>;

  explicit ModuleCollector(FindPlace find) : find_(std::move(find)) {}

  Result<void> Add(const AdapterKey& key, AdapterMatrix matrix) {
    auto entry = entries_.find(key.module);
    if (entry == entries_.end()) {
      DG_TRY(auto place, find_(key.module));
      entry = entries_.emplace(key.module, Entry{std::move(place), {}, {}}).first;
    }
    std::optional<AdapterMatrix>& side = key.side == AdapterSide::kDown ? entry->second.down : entry->second.up;
    if (side) return Fail(StatusCode::kInvalidFile, Quoted(matrix.key) + ": is there twice, as " + Quoted(side->key));
    side = std::move(matrix);
    return {};
  }

  /// All pairs, and the keys of modules without a place.
  Result<void> Finish(OpenedAdapter& opened) {
    for (auto& [module, entry] : entries_) {
      if (!entry.place) {
        for (const auto* side : {&entry.down, &entry.up}) {
          if (*side) opened.unused.push_back((*side)->key);
        }
        continue;
      }
      if (!entry.down || !entry.up) {
        return Fail(StatusCode::kInvalidFile,
                    fmt::format("{}: its counterpart is missing (lora_A and lora_B belong together)",
                                Quoted(entry.down ? entry.down->key : entry.up->key)));
      }
      opened.modules.push_back({module, *std::move(entry.place), *std::move(entry.down), *std::move(entry.up)});
    }
    std::ranges::sort(opened.unused);
    if (!opened.modules.empty()) return {};
    return Fail(StatusCode::kInvalidFile,
                opened.unused.empty()
                    ? "holds no matrices of an adapter"
                    : "none of its keys is one of this model family, such as " + Quoted(opened.unused.front()));
  }

 private:
  struct Entry {
    std::optional<AdapterPlace> place;
    std::optional<AdapterMatrix> down, up;
  };

  FindPlace find_;
  std::map<std::string, Entry> entries_;
};

Result<void> CheckType(const AdapterMatrix& matrix, bool gguf) {
  const bool plain = matrix.dtype == DType::kF32 || matrix.dtype == DType::kF16 || matrix.dtype == DType::kBF16;
  if (plain || (gguf && matrix.dtype == DType::kQ8_0)) return {};
  return Fail(StatusCode::kUnsupported,
              fmt::format("{}: type {} is not supported (F32, F16, BF16)", Quoted(matrix.key), Name(matrix.dtype)));
}

/// "adapters/sql/" is "sql", "adapters/sql.gguf" too.
std::string AdapterName(const std::filesystem::path& path) {
  return path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
}

bool Exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<OpenedAdapter> OpenFolder(const std::filesystem::path& folder, const std::filesystem::path& matrices) {
  if (!Exists(matrices)) {
    if (Exists(folder / "adapter_model.bin")) {
      return Fail(StatusCode::kUnsupported,
                  (folder / "adapter_model.bin").string() + ": pickled files are not read (save it as safetensors)");
    }
    if (Exists(folder / "_METADATA") || Exists(folder / "manifest.ocdbt")) {
      return Fail(StatusCode::kUnsupported,
                  folder.string() + ": is an Orbax checkpoint, which is not read (convert it to PEFT's form)");
    }
    return Fail(StatusCode::kNotFound, matrices.string() + ": there is no such file");
  }
  const std::filesystem::path settings = folder / kSettingsFile;
  if (!Exists(settings)) {
    return Fail(StatusCode::kNotFound,
                settings.string() + ": there is no such file (it says alpha, without which an adapter has no scale)");
  }
  DG_TRY(const std::string text, ReadWholeFile(settings, FileLimits{}.config_bytes));
  DG_TRY(const CheckpointFiles files, OpenSafetensors(matrices));
  return At(folder.empty() ? std::string(".") : folder.string(), OpenPeftAdapter("", text, files));
}

}  // namespace

uint64_t AdapterModule::Values() const {
  uint64_t values = 0;
  for (const AdapterMatrix* matrix : {&down, &up}) {
    uint64_t product = 1;
    for (const uint64_t size : matrix->shape) product *= size;
    values += product;
  }
  return values;
}

Result<OpenedAdapter> OpenPeftAdapter(std::string name, std::string_view settings, const CheckpointFiles& matrices) {
  OpenedAdapter opened;
  opened.name = std::move(name);
  opened.form = "PEFT";
  DG_TRY(opened.settings, At(kSettingsFile, ParseAdapterSettings(settings)));
  opened.contents = matrices.owner();
  ModuleCollector modules(PlaceOfModule);
  for (const TensorBytes& tensor : matrices.tensors()) {
    DG_TRY(const std::optional<AdapterKey> key, SplitAdapterKey(tensor.name));
    if (!key) {
      opened.unused.emplace_back(tensor.name);
      continue;
    }
    AdapterMatrix matrix{
        std::string(tensor.name), tensor.dtype, {tensor.shape.begin(), tensor.shape.end()}, tensor.bytes};
    DG_CHECK_OK(CheckType(matrix, false));
    DG_CHECK_OK(modules.Add(*key, std::move(matrix)));
  }
  DG_CHECK_OK(modules.Finish(opened));
  return opened;
}

Result<OpenedAdapter> OpenGgufAdapter(Blob blob) {
  const std::string place = blob.name;
  OpenedAdapter opened;
  opened.name = AdapterName(blob.name);
  opened.form = "GGUF";
  DG_TRY(const GgufTable table, At(place, ParseGguf(blob.bytes)));
  const auto text = [&](std::string_view key) {
    const GgufValue* value = table.Find(key);
    return value == nullptr ? std::string_view() : value->Text().value_or("");
  };
  const auto require = [&](const char* key, std::initializer_list<std::string_view> known) -> Result<void> {
    if (std::ranges::find(known, text(key)) != known.end()) return {};
    return Fail(StatusCode::kUnsupported,
                fmt::format("{}: {}: {} is not supported ({})", place, key, Quoted(text(key)), *known.begin()));
  };
  DG_CHECK_OK(require("general.type", {"adapter"}));
  DG_CHECK_OK(require("adapter.type", {"lora", ""}));
  DG_CHECK_OK(require("general.architecture", {"diffusion-gemma", "diffusion_gemma", "gemma4"}));
  if (table.Find("adapter.alora.invocation_tokens") != nullptr) {
    return Fail(StatusCode::kUnsupported,
                place +
                    ": adapter.alora.invocation_tokens: an adapter that acts behind certain tokens only is not "
                    "supported");
  }
  const GgufValue* alpha = table.Find("adapter.lora.alpha");
  opened.settings.alpha = alpha == nullptr ? 0 : alpha->Number().value_or(std::nan(""));
  if (!(std::abs(opened.settings.alpha) <= 1e6))
    return Fail(StatusCode::kInvalidFile, place + ": adapter.lora.alpha: must be a number in -1e6..1e6");
  ModuleCollector modules(PlaceOfGguf);
  for (const GgufTensor& tensor : table.tensors) {
    const bool down = tensor.name.ends_with(".lora_a"), up = tensor.name.ends_with(".lora_b");
    if (!down && !up) {
      opened.unused.emplace_back(tensor.name);
      continue;
    }
    const AdapterKey key{std::string(tensor.name.substr(0, tensor.name.size() - 7)),
                         down ? AdapterSide::kDown : AdapterSide::kUp};
    AdapterMatrix matrix{std::string(tensor.name),
                         tensor.dtype,
                         {tensor.shape().begin(), tensor.shape().end()},
                         blob.bytes.subspan(tensor.begin, tensor.end - tensor.begin)};
    DG_CHECK_OK(At(place, CheckType(matrix, true)));
    DG_CHECK_OK(At(place, modules.Add(key, std::move(matrix))));
  }
  DG_CHECK_OK(At(place, modules.Finish(opened)));
  opened.contents = std::make_shared<const Blob>(std::move(blob));
  return opened;
}

Result<OpenedAdapter> OpenAdapter(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!Exists(path)) return Fail(StatusCode::kNotFound, path.string() + ": there is no such adapter");
  const bool folder = std::filesystem::is_directory(path, ignored);
  if (!folder && IsGgufFile(path)) {
    DG_TRY(Blob blob, MapBlob(path));
    return OpenGgufAdapter(std::move(blob));
  }
  DG_TRY(OpenedAdapter opened, folder ? OpenFolder(path, path / kMatricesFile) : OpenFolder(path.parent_path(), path));
  const bool usual = !folder && path.filename() == kMatricesFile;
  opened.name = AdapterName(usual ? std::filesystem::absolute(path, ignored).parent_path() : path);
  return opened;
}

Result<Adapter> ReadAdapter(const std::filesystem::path& path, const Config& config) {
  DG_TRY(const OpenedAdapter opened, OpenAdapter(path));
  return At(path.string(), MakeAdapter(opened, config));
}

}  // namespace dgemma
