// training.safetensors: "m.NAME", "v.NAME" and, when the folder's model is an average, "weight.NAME" in F32; metadata of decimal
// numbers.
#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>

#include "base/hash.h"
#include "base/try.h"
#include "engine/loaded_model.h"
#include "files/messages.h"
#include "files/new_folder.h"
#include "files/safetensors_writer.h"
#include "model/adapter_files.h"
#include "model/stored_tensors.h"

namespace dgemma {
namespace {

constexpr const char* kStateFile = "training.safetensors";
constexpr std::string_view kStepPrefix = "step-";

/// Values of a packed weight, row by row.
TensorToWrite PackedTensor(std::string name, const TensorSpec& spec, const Weight& weight,
                           const TrainKernels& kernels) {
  TensorToWrite tensor{std::move(name), DType::kF32, spec.shape, {}};
  tensor.produce = [&kernels, weight, vector = spec.role == TensorRole::kNorm](const ByteSink& sink) -> Result<void> {
    if (vector) return sink(std::as_bytes(std::span(weight.Vector(), static_cast<size_t>(weight.out * weight.in))));
    std::vector<float> row(static_cast<size_t>(weight.in));
    for (int64_t index = 0; index < weight.count * weight.out; ++index) {
      kernels.Unpack(weight, index / weight.out, index % weight.out, row);
      DG_CHECK_OK(sink(std::as_bytes(std::span(row))));
    }
    return {};
  };
  return tensor;
}

const Weight& SavedValues(const Optimizer::Slot& slot) { return slot.average.present() ? slot.average : slot.weight; }

Result<void> WriteTrainedModel(const ModelBase& base, const Config& config, const Optimizer& optimizer,
                               const TrainKernels& kernels, const std::filesystem::path& folder) {
  std::vector<TensorToWrite> tensors;
  for (const TensorSpec& spec : ListTensors(config)) {
    const auto slot =
        std::ranges::find(optimizer.slots(), spec.name, [](const Optimizer::Slot& s) { return s.spec.name; });
    if (slot != optimizer.slots().end()) {
      tensors.push_back(PackedTensor(spec.name, spec, SavedValues(*slot), kernels));
      continue;
    }
    DG_TRY(const TensorBytes stored, base.files.Tensor(spec.name));
    tensors.push_back(TensorFromMemory(spec.name, stored.dtype, spec.shape, stored.bytes));
  }
  return WriteModelFiles(folder, std::move(tensors), base.texts);
}

/// Values of a trained matrix of an adapter: [count, out, in].
Result<std::vector<float>> TrainedValues(const Optimizer& optimizer, const TrainKernels& kernels,
                                         const std::string& name) {
  const auto slot = std::ranges::find(optimizer.slots(), name, [](const Optimizer::Slot& s) { return s.spec.name; });
  if (slot == optimizer.slots().end()) return Fail(StatusCode::kInternal, name + ": is not trained");
  const Weight& weight = SavedValues(*slot);
  const auto width = static_cast<size_t>(weight.in);
  std::vector<float> values(slot->spec.Values());
  for (int64_t row = 0; row < weight.count * weight.out; ++row) {
    kernels.Unpack(weight, row / weight.out, row % weight.out,
                   std::span(values).subspan(static_cast<size_t>(row) * width, width));
  }
  return values;
}

/// The delta's columns of all those that stand side by side on its weight.
Result<void> TakeDelta(const Optimizer& optimizer, const TrainKernels& kernels, int64_t column, AdapterDelta& delta) {
  DG_TRY(const std::vector<float> down, TrainedValues(optimizer, kernels, delta.tensor + ".lora_A"));
  DG_TRY(const std::vector<float> up, TrainedValues(optimizer, kernels, delta.tensor + ".lora_B"));
  const int64_t all = std::ssize(down) / (delta.count * delta.in);
  for (int64_t index = 0; index < delta.count; ++index) {
    std::copy_n(down.begin() + (index * all + column) * delta.in, delta.rank * delta.in,
                delta.down.begin() + index * delta.rank * delta.in);
    for (int64_t out = index * delta.out; out < (index + 1) * delta.out; ++out)
      std::copy_n(up.begin() + out * all + column, delta.rank, delta.up.begin() + out * delta.rank);
  }
  return {};
}

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

/// N of a folder step-N.
std::optional<uint64_t> StepOf(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  return Number(std::string_view(name).substr(kStepPrefix.size()));
}

/// Checkpoint folders of a run by step, ascending.
std::vector<std::pair<uint64_t, std::filesystem::path>> Checkpoints(const std::filesystem::path& run) {
  std::vector<std::pair<uint64_t, std::filesystem::path>> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(run, error), end; !error && entry != end; entry.increment(error)) {
    if (const auto step = StepOf(entry->path())) found.emplace_back(*step, entry->path());
  }
  std::ranges::sort(found);
  return found;
}

Result<uint64_t> Metadata(const CheckpointFiles& files, const std::string& key) {
  const auto entry = files.metadata().find(key);
  const auto value = entry == files.metadata().end() ? std::nullopt : Number(entry->second);
  if (!value) return Fail(StatusCode::kInvalidFile, fmt::format("metadata {}: missing or not a number", key));
  return *value;
}

Result<void> RequireSame(const CheckpointFiles& files, const std::string& key, uint64_t now, std::string_view what) {
  DG_TRY(const uint64_t then, Metadata(files, key));
  if (then == now) return {};
  return Fail(StatusCode::kInvalidArgument,
              fmt::format("{}: {} ({} then, {} now); resuming would not continue the run", key, what, then, now));
}

/// The parts of a recipe.
std::vector<std::string_view> Parts(std::string_view recipe) {
  constexpr std::string_view kBetween = ", ";
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = recipe.find(kBetween);
    parts.push_back(recipe.substr(0, end));
    if (end == std::string_view::npos) return parts;
    recipe.remove_prefix(end + kBetween.size());
  }
}

/// Refuses another recipe with the first part that differs.
Result<void> RequireRecipe(const CheckpointFiles& files, const std::string& now) {
  const auto entry = files.metadata().find("recipe");
  const std::string then = entry == files.metadata().end() ? "" : entry->second;
  if (then == now) return {};
  const std::vector<std::string_view> old_parts = Parts(then), new_parts = Parts(now);
  const auto [old_part, new_part] = std::ranges::mismatch(old_parts, new_parts);
  const auto text = [](const auto& parts, const auto& part) {
    return part == parts.end() ? std::string("nothing") : Quoted(*part);
  };
  return Fail(StatusCode::kInvalidArgument,
              fmt::format("this run is not the one that wrote the checkpoint: {} then, {} now",
                          text(old_parts, old_part), text(new_parts, new_part)));
}

/// A tensor of the file into the layout of `like`.
Result<Weight> ReadPacked(const CheckpointFiles& files, const std::string& name, const TensorSpec& spec,
                          const Weight& like, Kernels& kernels) {
  DG_TRY(const TensorBytes stored, files.Tensor(name));
  if (stored.dtype != DType::kF32 || !std::ranges::equal(stored.shape, spec.shape))
    return Fail(StatusCode::kInvalidFile, name + ": not of the shape and type of its weight");
  const bool negative_allowed = !name.starts_with("v.");
  for (size_t at = 0; at < stored.bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, stored.bytes.data() + at, sizeof(value));
    if (!std::isfinite(value) || (value < 0 && !negative_allowed))
      return Fail(StatusCode::kInvalidFile, name + ": holds a value that no optimiser writes");
  }
  const StoredTensor rows = OneRun(DType::kF32, like.count, like.out, like.in, stored.bytes);
  return spec.role == TensorRole::kNorm ? kernels.PackVector(rows) : kernels.Pack(rows, kFloat32Weights);
}

}  // namespace

WriteTrained WriteModel(const ModelBase& base, const Config& config, const TrainKernels& kernels) {
  return [&](const Optimizer& optimizer, const std::filesystem::path& folder) {
    return WriteTrainedModel(base, config, optimizer, kernels, folder);
  };
}

WriteTrained WriteTrainedAdapter(const Adapter& adapter, const Config& config, Weights& weights,
                                 const TrainKernels& kernels, std::string base_model) {
  return [&, base_model = std::move(base_model)](const Optimizer& optimizer,
                                                 const std::filesystem::path& folder) -> Result<void> {
    const AppliedAdapter applied{&adapter, 1};
    Adapter trained = adapter;
    for (const AttachedDelta& attached : FindDeltas({&applied, 1}, config, weights))
      DG_CHECK_OK(TakeDelta(optimizer, kernels, attached.column, trained.deltas[attached.delta]));
    return WriteAdapterFiles(trained, config, folder, base_model);
  };
}

uint64_t FingerprintOf(const CheckpointFiles& files, const Config& config) {
  constexpr size_t kBytes = 4096;
  Fnv1a hash;
  for (const TensorSpec& spec : ListTensors(config)) {
    const auto tensor = files.Tensor(spec.name);
    if (!tensor) continue;  // under other names in a quantised folder; those of the rest still tell
    hash.Add(spec.name).Add(std::as_bytes(tensor->shape)).Add(std::as_bytes(std::span(&tensor->dtype, 1)));
    hash.Add(tensor->bytes.first(std::min(kBytes, tensor->bytes.size())));
  }
  return hash.value();
}

Result<void> SaveTrained(const WriteTrained& write, const Optimizer& optimizer, const std::filesystem::path& folder) {
  return SaveNewFolder(folder, [&](const std::filesystem::path& place) { return write(optimizer, place); });
}

Result<std::filesystem::path> SaveCheckpoint(const WriteTrained& write, const Optimizer& optimizer,
                                             const TrainKernels& kernels, const RunIdentity& identity,
                                             const std::filesystem::path& run, int keep) {
  const auto steps = static_cast<uint64_t>(optimizer.steps_taken());
  const std::map<std::string, std::string> metadata = {{"step", fmt::format("{}", steps)},
                                                       {"data", fmt::format("{}", identity.data_fingerprint)},
                                                       {"seed", fmt::format("{}", identity.seed)},
                                                       {"batch", fmt::format("{}", identity.batch)},
                                                       {"recipe", identity.recipe},
                                                       {"frozen weights", fmt::format("{}", identity.frozen)}};
  const FillFolder fill = [&](const std::filesystem::path& place) -> Result<void> {
    std::vector<TensorToWrite> tensors;
    for (const Optimizer::Slot& slot : optimizer.slots()) {
      tensors.push_back(PackedTensor("m." + slot.spec.name, slot.spec, slot.m, kernels));
      tensors.push_back(PackedTensor("v." + slot.spec.name, slot.spec, slot.v, kernels));
      if (slot.average.present())
        tensors.push_back(PackedTensor("weight." + slot.spec.name, slot.spec, slot.weight, kernels));
    }
    DG_CHECK_OK(WriteSafetensors(place / kStateFile, std::move(tensors), metadata));
    return write(optimizer, place);
  };
  std::filesystem::path folder = run / fmt::format("{}{:06}", kStepPrefix, steps);
  DG_CHECK_OK(SaveNewFolder(folder, fill));
  auto all = Checkpoints(run);
  std::error_code ignored;  // an old checkpoint that cannot be removed is no reason to stop
  for (; std::ssize(all) > std::max(keep, 1); all.erase(all.begin()))
    std::filesystem::remove_all(all.front().second, ignored);
  return folder;
}

void RemoveCheckpoints(const std::filesystem::path& run) {
  std::error_code ignored;
  for (const auto& [step, folder] : Checkpoints(run)) std::filesystem::remove_all(folder, ignored);
}

void RemovePartialCheckpoints(const std::filesystem::path& run) {
  std::vector<std::filesystem::path> partial;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(run, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kStepPrefix) && name.find(".partial-") != std::string::npos) partial.push_back(entry->path());
  }
  for (const std::filesystem::path& path : partial) std::filesystem::remove_all(path, error);
}

std::optional<std::filesystem::path> NewestCheckpoint(const std::filesystem::path& run) {
  const auto all = Checkpoints(run);
  if (all.empty()) return std::nullopt;
  return all.back().second;
}

Result<void> LoadOptimizer(const std::filesystem::path& checkpoint, const RunIdentity& identity, Kernels& kernels,
                           Optimizer& optimizer) {
  const std::filesystem::path path = checkpoint / kStateFile;
  const auto load = [&]() -> Result<void> {
    DG_TRY(const CheckpointFiles files, OpenSafetensors(path));
    DG_CHECK_OK(RequireSame(files, "data", identity.data_fingerprint,
                            "the examples, or their order, are not those that the checkpoint was trained on"));
    DG_CHECK_OK(RequireSame(files, "seed", identity.seed, "is another"));
    DG_CHECK_OK(RequireSame(files, "batch", static_cast<uint64_t>(identity.batch), "is another"));
    if (identity.frozen != 0) {
      DG_CHECK_OK(RequireSame(files, "frozen weights", identity.frozen,
                              "the model is not the one that the adapter was trained on"));
    }
    DG_CHECK_OK(RequireRecipe(files, identity.recipe));
    DG_TRY(const uint64_t steps, Metadata(files, "step"));
    if (steps > (uint64_t{1} << 40)) return Fail(StatusCode::kInvalidFile, "metadata step: out of range");
    if (const auto named = StepOf(checkpoint); named && *named != steps) {
      return Fail(StatusCode::kInvalidFile,
                  fmt::format("metadata step: {}, but the folder's name says {}", steps, *named));
    }
    return optimizer.Restore(static_cast<int64_t>(steps), [&](const std::string& what, const Optimizer::Slot& slot) {
      return ReadPacked(files, what + "." + slot.spec.name, slot.spec, slot.weight, kernels);
    });
  };
  return AtPath(path.string(), load());
}

}  // namespace dgemma
