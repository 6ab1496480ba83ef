// PEFT's form of an adapter: every module by its full name, so that PEFT wraps exactly those, and ranks and alphas of
// their own where they differ from the first delta's.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <set>

#include "base/try.h"
#include "files/atomic_file.h"
#include "files/messages.h"
#include "files/new_folder.h"
#include "files/safetensors_writer.h"
#include "model/adapter_files.h"

namespace dgemma {
namespace {

/// alpha of a delta: its scale is alpha / rank. Exact, since a float times a rank of ten bits fits a double.
double AlphaOf(const AdapterDelta& delta) { return static_cast<double>(delta.scale) * static_cast<double>(delta.rank); }

/// The stacks that a delta is written for.
std::vector<DeltaRole> RolesOf(const AdapterDelta& delta, const Config& config) {
  if (config.causal_only) return {DeltaRole::kBoth};
  if (delta.role != DeltaRole::kBoth) return {delta.role};
  if (!HasTwoRoles(delta.tensor)) return {DeltaRole::kDecoder};
  return {DeltaRole::kEncoder, DeltaRole::kDecoder};
}

bool IsExperts(const AdapterDelta& delta) { return delta.tensor.find(".experts.") != std::string::npos; }

class PeftWriter {
 public:
  PeftWriter(const Adapter& adapter, const Config& config) : adapter_(adapter), config_(config) {}

  Result<void> Check() const {
    if (adapter_.deltas.empty()) return Fail(StatusCode::kInvalidArgument, "the adapter changes nothing");
    std::set<std::string> modules;
    for (const AdapterDelta& delta : adapter_.deltas) {
      DG_CHECK_OK(CheckDelta(delta, config_));
      for (const DeltaRole role : RolesOf(delta, config_)) {
        if (modules.insert(PeftModule(delta.tensor, role)).second) continue;
        return Fail(StatusCode::kInvalidArgument,
                    delta.tensor + ": two deltas of one adapter cannot be written for the same role");
      }
    }
    return {};
  }

  std::vector<TensorToWrite> Tensors() const {
    std::vector<TensorToWrite> tensors;
    for (const AdapterDelta& delta : adapter_.deltas) {
      for (const DeltaRole role : RolesOf(delta, config_)) {
        const std::string key = "base_model.model." + KeyModule(delta, role);
        const auto rank = static_cast<uint64_t>(delta.count * delta.rank);
        tensors.push_back(TensorFromMemory(key + ".lora_A.weight", DType::kF32, {rank, static_cast<uint64_t>(delta.in)},
                                           std::as_bytes(std::span(delta.down))));
        TensorToWrite up{key + ".lora_B.weight", DType::kF32, {static_cast<uint64_t>(delta.out), rank}, {}};
        up.produce = [&delta](const ByteSink& sink) { return WriteUp(delta, sink); };
        tensors.push_back(std::move(up));
      }
    }
    return tensors;
  }

  std::string Settings(std::string_view base_model) const {
    const AdapterDelta& usual = adapter_.deltas.front();
    boost::json::array modules, parameters;
    boost::json::object ranks, alphas;
    for (const AdapterDelta& delta : adapter_.deltas) {
      for (const DeltaRole role : RolesOf(delta, config_)) {
        const std::string name = PeftModule(delta.tensor, role);
        (IsExperts(delta) ? parameters : modules).emplace_back(name);
        if (delta.rank != usual.rank) ranks[name] = delta.rank;
        if (AlphaOf(delta) != AlphaOf(usual)) alphas[name] = Number(AlphaOf(delta));
      }
    }
    boost::json::object settings{
        {"peft_type", "LORA"},
        {"base_model_name_or_path", base_model.empty() ? boost::json::value(nullptr) : boost::json::value(base_model)},
        {"task_type", nullptr},
        {"inference_mode", true},
        {"r", usual.rank},
        {"lora_alpha", Number(AlphaOf(usual))},
        {"use_rslora", false},
        {"lora_dropout", 0.0},
        {"bias", "none"},
        {"fan_in_fan_out", false},
        {"init_lora_weights", true},
        {"modules_to_save", nullptr},
        {"rank_pattern", std::move(ranks)},
        {"alpha_pattern", std::move(alphas)},
        {"target_modules", std::move(modules)}};
    if (!parameters.empty()) settings["target_parameters"] = std::move(parameters);
    return boost::json::serialize(settings) + "\n";
  }

 private:
  /// Whole numbers as such.
  static boost::json::value Number(double value) {
    if (value == std::floor(value)) return static_cast<int64_t>(value);
    return value;
  }

  /// PEFT wraps experts once for each parameter, gate_up_proj inside.
  std::string KeyModule(const AdapterDelta& delta, DeltaRole role) const {
    std::string module = PeftModule(delta.tensor, role);
    if (!IsExperts(delta)) return module;
    const std::string experts = module.substr(0, module.rfind('.'));
    const bool inner =
        module.ends_with(".gate_up_proj") && std::ranges::any_of(adapter_.deltas, [&](const auto& other) {
          const auto roles = RolesOf(other, config_);
          return std::ranges::find(roles, role) != roles.end() &&
                 PeftModule(other.tensor, role) == experts + ".down_proj";
        });
    return experts + (inner ? ".base_layer" : "");
  }

  /// [E, out, r] as [out, r E].
  static Result<void> WriteUp(const AdapterDelta& delta, const ByteSink& sink) {
    std::vector<float> row(static_cast<size_t>(delta.rank * delta.count));
    for (int64_t out = 0; out < delta.out; ++out) {
      for (int64_t index = 0; index < delta.count; ++index) {
        for (int64_t r = 0; r < delta.rank; ++r)
          row[static_cast<size_t>(r * delta.count + index)] =
              delta.up[static_cast<size_t>((index * delta.out + out) * delta.rank + r)];
      }
      DG_CHECK_OK(sink(std::as_bytes(std::span(row))));
    }
    return {};
  }

  const Adapter& adapter_;
  const Config& config_;
};

}  // namespace

Result<void> WriteAdapterFiles(const Adapter& adapter, const Config& config, const std::filesystem::path& folder,
                               std::string_view base_model) {
  const PeftWriter writer(adapter, config);
  DG_CHECK_OK(writer.Check());
  DG_CHECK_OK(WriteSafetensors(folder / "adapter_model.safetensors", writer.Tensors(), {{"format", "pt"}}));
  return SaveFile(folder / "adapter_config.json", AsBytes(writer.Settings(base_model)));
}

Result<void> WriteAdapter(const Adapter& adapter, const Config& config, const std::filesystem::path& folder,
                          std::string_view base_model) {
  return SaveNewFolder(folder, [&](const std::filesystem::path& place) {
    return WriteAdapterFiles(adapter, config, place, base_model);
  });
}

}  // namespace dgemma
