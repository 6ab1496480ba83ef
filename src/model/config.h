// What config.json and generation_config.json say, checked and with Transformers' class defaults filled in
// (configuration_diffusion_gemma.py). Pure functions of text; tensors are compared with it in tensor_list.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// Head geometry and reach of one layer.
struct LayerConfig {
  bool sliding = true;    ///< sliding window with its own V projection; otherwise full attention with V from K
  int64_t head_size = 0;  ///< Q
  int64_t kv_heads = 0;   ///< K

  bool operator==(const LayerConfig&) const = default;
};

/// Rotary parameters of one kind of layer.
struct RopeConfig {
  double theta = 0;
  double rotated_share = 1.0;  ///< share of the head that rotates ("proportional"), 1 for the plain form
  double factor = 1.0;         ///< divides the frequencies

  bool operator==(const RopeConfig&) const = default;
};

/// The vision tower's geometry: enough to check and list its tensors.
struct VisionConfig {
  int64_t width = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0;
  int64_t patch = 0, pooling = 0, positions = 0;
  bool standardize = false;
  bool clipped_linears = false;

  bool operator==(const VisionConfig&) const = default;
};

struct Config {
  // text; letters as in kernels.h
  int64_t vocab = 0;           // V
  int64_t width = 0;           // D
  int64_t hidden = 0;          // F
  int64_t heads = 0;           // H
  int64_t experts = 0;         // E
  int64_t active_experts = 0;  // A
  int64_t expert_hidden = 0;   // X
  int64_t window = 0;          // W
  int64_t max_positions = 0;
  double norm_eps = 1e-6;
  double softcap = 30.0;
  std::vector<LayerConfig> layers;
  RopeConfig sliding_rope, full_rope;

  // top level
  bool causal_only =
      false;           ///< an autoregressive Gemma 4: no self-conditioning, no decoder scalars, no canvases (C is 1)
  int64_t canvas = 0;  // C
  int32_t image_token = 0, image_begin_token = 0, image_end_token = 0;
  int32_t bos_token = 2, pad_token = 0;
  std::vector<int32_t> eos_tokens;
  std::optional<VisionConfig> vision;

  const RopeConfig& Rope(const LayerConfig& layer) const { return layer.sliding ? sliding_rope : full_rope; }
  bool operator==(const Config&) const = default;
};

/// kUnsupported, in one line for people, when the model cannot write on canvases.
Result<void> RequireCanvases(const Config& config);

/// Parses config.json of model_type diffusion_gemma, or gemma4 as causal only. Accepts both spellings of the per-layer geometry: global_head_dim / num_global_key_value_heads, and
/// per_layer_config (keys are layer numbers, zero-padded or not). Errors name the field and the rule. Token ids that a
/// file states must be in its vocabulary, those of images only if it has vision; class defaults are taken as they are.
Result<Config> ParseConfig(std::string_view text);

/// Values of generation_config.json; absent fields stay empty and take the built-in defaults.
struct GenerationConfig {
  std::optional<int64_t> max_new_tokens;
  std::optional<int32_t> steps;
  std::optional<double> entropy_bound;
  std::optional<double> t_min, t_max;
  std::optional<int32_t> stability;
  std::optional<double> confidence;
  std::optional<std::vector<int32_t>> eos_tokens;
  std::optional<int32_t> pad_token;
};

/// Parses generation_config.json of a model with `vocab` ids. Only the entropy-bound sampler exists; another sampler's
/// class name is kUnsupported.
Result<GenerationConfig> ParseGenerationConfig(std::string_view text, int64_t vocab);

}  // namespace dgemma
