// A Config as keys, as llama.cpp's converters write them.
#include <algorithm>

#include "model/gguf_config.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

const LayerConfig* FirstLayer(const Config& config, bool sliding) {
  const auto found = std::ranges::find(config.layers, sliding, &LayerConfig::sliding);
  return found == config.layers.end() ? nullptr : &*found;
}

void PutGeometry(const Config& config, const std::string& prefix, GgufMetadata& metadata) {
  const auto put = [&](const char* key, int64_t value) { metadata.Put(prefix + key, static_cast<uint32_t>(value)); };
  std::vector<int32_t> kv_heads;
  std::vector<bool> pattern;
  for (const LayerConfig& layer : config.layers) {
    kv_heads.push_back(static_cast<int32_t>(layer.kv_heads));
    pattern.push_back(layer.sliding);
  }
  put("attention.head_count", config.heads);
  metadata.Put(prefix + "attention.head_count_kv", std::span<const int32_t>(kv_heads));
  if (const LayerConfig* full = FirstLayer(config, false)) {
    put("attention.key_length", full->head_size);
    put("attention.value_length", full->head_size);
    put("rope.dimension_count", full->head_size);
  }
  if (const LayerConfig* sliding = FirstLayer(config, true)) {
    put("attention.key_length_swa", sliding->head_size);
    put("attention.value_length_swa", sliding->head_size);
    put("rope.dimension_count_swa", sliding->head_size);
  }
  put("attention.sliding_window", config.window);
  metadata.Put(prefix + "attention.sliding_window_pattern", pattern);
  put("attention.shared_kv_layers", 0);
  metadata.Put(prefix + "rope.freq_base", static_cast<float>(config.full_rope.theta));
  metadata.Put(prefix + "rope.freq_base_swa", static_cast<float>(config.sliding_rope.theta));
}

void PutGeneration(const Config& config, const GenerationConfig& generation, GgufMetadata& metadata) {
  metadata.Put("diffusion.canvas_length", static_cast<uint32_t>(config.canvas));
  metadata.Put("diffusion.shift_logits", false);
  const auto put = [&](const char* key, const auto& value, auto as) {
    if (value) metadata.Put(key, static_cast<decltype(as)>(*value));
  };
  put("diffusion.eb_max_steps", generation.steps, uint32_t{});
  put("diffusion.eb_t_min", generation.t_min, float{});
  put("diffusion.eb_t_max", generation.t_max, float{});
  put("diffusion.eb_entropy_bound", generation.entropy_bound, float{});
  put("diffusion.eb_stability_threshold", generation.stability, uint32_t{});
  put("diffusion.eb_confidence_threshold", generation.confidence, float{});
}

}  // namespace

std::string_view GgufArchitecture(const Config& config) { return config.causal_only ? "gemma4" : "diffusion-gemma"; }

std::vector<float> RopeFactors(const Config& config) {
  const LayerConfig* full = FirstLayer(config, false);
  if (full == nullptr) return {};
  std::vector<float> factors(static_cast<size_t>(full->head_size / 2), 1e30f);
  const auto pairs = static_cast<size_t>(RotaryPairs(config.full_rope, full->head_size));
  std::fill_n(factors.begin(), std::min(pairs, factors.size()), static_cast<float>(config.full_rope.factor));
  return factors;
}

void PutConfig(const Config& config, const GenerationConfig& generation, GgufMetadata& metadata) {
  const std::string prefix = std::string(GgufArchitecture(config)) + ".";
  const auto put = [&](const char* key, int64_t value) { metadata.Put(prefix + key, static_cast<uint32_t>(value)); };
  put("block_count", std::ssize(config.layers));
  put("context_length", config.max_positions);
  put("embedding_length", config.width);
  put("feed_forward_length", config.hidden);
  put("embedding_length_per_layer_input", 0);
  put("expert_count", config.experts);
  put("expert_used_count", config.active_experts);
  put("expert_feed_forward_length", config.expert_hidden);
  put("vocab_size", config.vocab);
  metadata.Put(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(config.norm_eps));
  metadata.Put(prefix + "final_logit_softcapping", static_cast<float>(config.softcap));
  PutGeometry(config, prefix, metadata);
  if (config.causal_only) return;
  metadata.Put(prefix + "attention.causal", false);
  PutGeneration(config, generation, metadata);
}

}  // namespace dgemma
