// From names to fields. A tensor that the list has and no field takes is an internal error, so none can be forgotten.
#include "model/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <ranges>
#include <unordered_map>
#include <variant>

#include "base/finite.h"
#include "base/try.h"
#include "files/messages.h"
#include "model/stored_tensors.h"

namespace dgemma {
namespace {

/// Where a tensor goes: a packed weight, or a plain number (layer scalars).
using Field = std::variant<Weight*, float*>;

std::unordered_map<std::string, Field> Fields(Weights& weights) {
  std::unordered_map<std::string, Field> fields = {
      {"model.decoder.embed_tokens.weight", &weights.embedding},
      {"model.decoder.norm.weight", &weights.final_norm},
      {"model.decoder.self_conditioning.pre_norm.weight", &weights.self_conditioning_norm},
      {"model.decoder.self_conditioning.gate_proj.weight", &weights.self_conditioning.gate},
      {"model.decoder.self_conditioning.up_proj.weight", &weights.self_conditioning.up},
      {"model.decoder.self_conditioning.down_proj.weight", &weights.self_conditioning.down},
  };
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    LayerWeights& w = weights.layers[l];
    const std::pair<const char*, Weight*> layer_fields[] = {
        {"input_layernorm.weight", &w.input_norm},
        {"self_attn.q_proj.weight", &w.qkv.q},
        {"self_attn.k_proj.weight", &w.qkv.k},
        {"self_attn.v_proj.weight", &w.qkv.v},
        {"self_attn.o_proj.weight", &w.attention_out},
        {"self_attn.q_norm.weight", &w.qkv.q_norm},
        {"self_attn.k_norm.weight", &w.qkv.k_norm},
        {"post_attention_layernorm.weight", &w.post_attention_norm},
        {"pre_feedforward_layernorm.weight", &w.pre_dense_norm},
        {"mlp.gate_proj.weight", &w.dense.gate},
        {"mlp.up_proj.weight", &w.dense.up},
        {"mlp.down_proj.weight", &w.dense.down},
        {"post_feedforward_layernorm_1.weight", &w.branch_norms.dense},
        {"pre_feedforward_layernorm_2.weight", &w.pre_experts_norm},
        {"router.scale", &w.router.scale},
        {"router.proj.weight", &w.router.proj},
        {"router.per_expert_scale", &w.router.per_expert_scale},
        {"experts.gate_up_proj", &w.experts.gate_up},
        {"experts.down_proj", &w.experts.down},
        {"post_feedforward_layernorm_2.weight", &w.branch_norms.experts},
        {"post_feedforward_layernorm.weight", &w.branch_norms.joined},
    };
    for (const auto& [suffix, field] : layer_fields)
      fields[fmt::format("model.decoder.layers.{}.{}", l, suffix)] = field;
    fields[fmt::format("model.decoder.layers.{}.layer_scalar", l)] = &w.decoder_scalar;
    fields[fmt::format("model.encoder.language_model.layers.{}.layer_scalar", l)] = &w.encoder_scalar;
  }
  return fields;
}

/// Vectors and scalars hold no outliers worth keeping: a NaN or infinity there is a broken file.
Result<void> RequireFinite(const TensorSpec& spec, const StoredTensor& stored) {
  std::vector<float> row(static_cast<size_t>(stored.cols));
  ReadRow(stored, 0, 0, row.data());
  if (AllFinite(row)) return {};
  return Fail(StatusCode::kInvalidFile, fmt::format("{}: holds NaN or infinity", spec.name));
}

bool IsVector(TensorRole role) { return role == TensorRole::kNorm || role == TensorRole::kScalar; }

}  // namespace

std::vector<NamedWeight> NameWeights(const Config& config, Weights& weights) {
  weights.layers.resize(config.layers.size());
  const auto fields = Fields(weights);
  std::vector<NamedWeight> named;
  for (TensorSpec& spec : ListTensors(config)) {
    if (spec.role == TensorRole::kVision || spec.role == TensorRole::kScalar) continue;
    named.push_back({spec, std::get<Weight*>(fields.at(spec.name))});
  }
  return named;
}

WeightFormat ComputeFormat(const TensorSpec& spec, const StoredTensor& stored) {
  const WeightFormat format = NaturalFormat(stored);
  return spec.role == TensorRole::kRouter && format == kBfloat16Weights ? kFloat32Weights : format;
}

std::vector<PlannedWeight> PlanWeights(const CheckpointFiles& files, const Config& config, const Kernels& kernels,
                                       const FormatChoice& format) {
  std::vector<PlannedWeight> weights;
  for (TensorSpec& spec : ListTensors(config)) {
    if (spec.role == TensorRole::kVision || spec.role == TensorRole::kScalar) continue;
    const auto stored = FindStored(files, spec);
    if (!stored) continue;
    PlannedWeight weight;
    if (IsVector(spec.role)) {
      weight.bytes = stored->cols * static_cast<int64_t>(sizeof(float));
    } else {
      weight.format = format(spec, *stored);
      weight.bytes = kernels.PackedBytes(weight.format, stored->count, stored->rows, stored->cols);
    }
    weight.spec = std::move(spec);
    weights.push_back(std::move(weight));
  }
  return weights;
}

int64_t PlannedWeightBytes(std::span<const PlannedWeight> weights) {
  return std::transform_reduce(weights.begin(), weights.end(), int64_t{0}, std::plus<>(),
                               [](const PlannedWeight& weight) { return weight.bytes; });
}

std::string FormatNames(std::span<const PlannedWeight> weights) {
  std::map<std::string, uint64_t> values;
  for (const PlannedWeight& weight : weights) {
    if (!IsVector(weight.spec.role) && weight.spec.role != TensorRole::kRouter)
      values[Name(weight.format)] += weight.spec.Values();
  }
  std::vector<std::pair<uint64_t, std::string>> names;
  for (const auto& [name, count] : values) names.emplace_back(count, name);
  std::ranges::sort(names, std::greater<>());
  return fmt::format("{}", fmt::join(std::views::values(names), " + "));
}

Result<Weights> LoadWeights(const CheckpointFiles& files, const Config& config, Kernels& kernels,
                            const LoadProgress& progress, const FormatChoice& format) {
  Weights weights;
  weights.layers.resize(config.layers.size());
  const auto fields = Fields(weights);
  const int64_t total = PlannedWeightBytes(PlanWeights(files, config, kernels));
  int64_t done = 0;
  for (const TensorSpec& spec : ListTensors(config)) {
    if (spec.role == TensorRole::kVision) continue;
    DG_TRY(const StoredTensor stored, FindStored(files, spec));
    if (IsVector(spec.role)) DG_CHECK_OK(RequireFinite(spec, stored));
    const auto field = fields.find(spec.name);
    if (field == fields.end()) return Fail(StatusCode::kInternal, spec.name + ": listed but not loaded");
    if (float* const* scalar = std::get_if<float*>(&field->second)) {
      ReadRow(stored, 0, 0, *scalar);
      continue;
    }
    Weight& weight = *std::get<Weight*>(field->second);
    DG_TRY(weight, At(spec.name,
                      IsVector(spec.role) ? kernels.PackVector(stored) : kernels.Pack(stored, format(spec, stored))));
    // The packed copy is what is used from here on; panels are used where they lie.
    if (!stored.packed()) Release(files, stored);
    done += weight.buffer.bytes;
    if (progress) progress(done, total);
  }
  return weights;
}

}  // namespace dgemma
