// One walk over the tensors for everything that multiplies by weights, one over the layers for attention.
#include "engine/pass_cost.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace dgemma {
namespace {

/// Where a matrix stands in the model, which decides how many rows meet it.
enum class Place { kLayer, kLastLayerAfterKeys, kSelfConditioning };

Place PlaceOf(std::string_view name, std::string_view last_layer) {
  if (name.find("self_conditioning.") != std::string_view::npos) return Place::kSelfConditioning;
  if (!name.starts_with(last_layer)) return Place::kLayer;
  for (const std::string_view early : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    if (name.substr(last_layer.size()).starts_with(early)) return Place::kLayer;
  }
  return Place::kLastLayerAfterKeys;
}

/// Sum over the causal rows of the keys that each sees: itself, and what lies before it within the window (0:
/// everything).
double CausalKeys(const PassRows& rows, int64_t window) {
  double keys = 0;
  for (int64_t row = 0; row < rows.causal; ++row) {
    const int64_t seen = rows.cached + row + 1;
    keys += static_cast<double>(window > 0 ? std::min(seen, window) : seen);
  }
  return keys;
}

/// `queries`: the weights that make them.
void AddAttention(const Config& config, const PassRows& rows, const WeightFormat& queries, PassCost& cost) {
  const bool hidden = rows.canvas + rows.logits > 0;
  for (size_t index = 0; index < config.layers.size(); ++index) {
    if (!hidden && index + 1 == config.layers.size()) continue;
    const LayerConfig& layer = config.layers[index];
    const int64_t window = layer.sliding ? config.window : 0;
    const int64_t before = rows.cached + rows.causal;
    const int64_t canvas_sees = (window > 0 ? std::min(before, window - 1) : before) + rows.canvas;
    const double each = 4.0 * static_cast<double>(config.heads * layer.head_size);
    cost.operations.floats += each * CausalKeys(rows, window);
    const bool pairs = RoundsAttention(queries, layer.head_size);
    (pairs ? cost.operations.bf16 : cost.operations.floats) += each * static_cast<double>(rows.canvas * canvas_sees);
    const int64_t cached = window > 0 ? std::min(rows.cached, window - 1) : rows.cached;
    cost.cache_bytes += 2.0 * sizeof(float) * static_cast<double>(cached * layer.kv_heads * layer.head_size);
  }
}

void AddProduct(const PlannedWeight& weight, double operations, Operations& to) {
  (weight.format.grouped() ? to.integers : weight.format.kind == WeightKind::kBf16 ? to.bf16 : to.floats) += operations;
}

}  // namespace

Operations& Operations::operator+=(const Operations& other) {
  integers += other.integers;
  floats += other.floats;
  bf16 += other.bf16;
  return *this;
}

PassCost& PassCost::operator+=(const PassCost& other) {
  weight_bytes += other.weight_bytes;
  expert_bytes += other.expert_bytes;
  vocabulary_bytes += other.vocabulary_bytes;
  cache_bytes += other.cache_bytes;
  operations += other.operations;
  soft += other.soft;
  return *this;
}

double ExpectedExperts(const Config& config, int64_t rows) {
  const auto experts = static_cast<double>(config.experts);
  const double unused = 1 - static_cast<double>(config.active_experts) / experts;
  return experts * (1 - std::pow(unused, static_cast<double>(rows)));
}

PassCost CostOfPass(const Config& config, std::span<const PlannedWeight> weights, const PassRows& rows) {
  PassCost cost;
  const auto all = static_cast<double>(rows.causal + rows.canvas);
  const int64_t heads = rows.canvas + rows.logits;
  const std::string last_layer = "model.decoder.layers." + std::to_string(config.layers.size() - 1) + ".";
  const double touched = ExpectedExperts(config, rows.causal + rows.canvas) / static_cast<double>(config.experts);
  const double used = static_cast<double>(config.active_experts) / static_cast<double>(config.experts);
  for (const PlannedWeight& weight : weights) {
    const auto bytes = static_cast<double>(weight.bytes);
    const double products = 2.0 * static_cast<double>(weight.spec.Values());  // of one row with all of it
    if (weight.spec.role == TensorRole::kEmbedding) {
      if (heads > 0) cost.vocabulary_bytes += bytes;
      AddProduct(weight, products * static_cast<double>(heads), cost.operations);
      cost.soft.floats += products * static_cast<double>(rows.canvas);
      continue;
    }
    const Place place = PlaceOf(weight.spec.name, last_layer);
    if (place == Place::kLastLayerAfterKeys && heads == 0) continue;
    if (weight.spec.role == TensorRole::kExperts) {
      cost.expert_bytes += bytes * touched;
      AddProduct(weight, products * used * all, cost.operations);
    } else if (weight.spec.role == TensorRole::kMatrix || weight.spec.role == TensorRole::kRouter) {
      const bool self_conditioning = place == Place::kSelfConditioning;
      if (self_conditioning && (rows.canvas == 0 || !rows.self_conditioning)) continue;
      cost.weight_bytes += bytes;
      AddProduct(weight, products * (self_conditioning ? static_cast<double>(rows.canvas) : all), cost.operations);
    }
  }
  const auto queries = std::ranges::find_if(weights, [](const PlannedWeight& weight) {
    return weight.spec.name.find("self_attn.q_proj") != std::string::npos;
  });
  AddAttention(config, rows, queries != weights.end() ? queries->format : kFloat32Weights, cost);
  return cost;
}

double SecondsAtPeak(const Operations& operations, const MachineRates& machine) {
  return operations.integers / machine.integers + operations.floats / machine.floats + operations.bf16 / machine.bf16;
}

double LeastSeconds(const PassCost& cost, const MachineRates& machine) {
  return std::max(cost.Bytes() / machine.bytes, SecondsAtPeak(cost.operations, machine));
}

}  // namespace dgemma
