// Parsing of config.json and generation_config.json. Absent fields take the defaults of Transformers' classes
// (DiffusionGemmaTextConfig, DiffusionGemmaConfig, Gemma4VisionConfig), which are not the released model's values.
#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <charconv>

#include "base/try.h"
#include "files/json.h"
#include "files/messages.h"
#include "model/json_fields.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

constexpr IntRange kAnyIds{0, 1 << 30};
// Far above any real model, and chosen so that every product and sum over tensors, caches and buffers fits 63 bits.
constexpr IntRange kWidths{1, 1 << 17};
constexpr IntRange kHeads{1, 1 << 12};
constexpr IntRange kHeadSizes{1, 1 << 13};
constexpr IntRange kExperts{1, 1 << 12};
constexpr IntRange kPositions{1, 1 << 24};
constexpr IntRange kLayers{1, 1024};

RopeConfig ReadRope(JsonFields rope, bool sliding) {
  RopeConfig config;
  const bool class_default = rope.object() == nullptr && !sliding;  // no rope_parameters at all
  config.theta = rope.Real("rope_theta", {1.0, 1e12}, class_default ? 1'000'000.0 : 10'000.0);
  const std::string kind = rope.Text("rope_type", class_default ? "proportional" : "default");
  config.factor = rope.Real("factor", {1e-3, 1e6}, 1.0);
  config.rotated_share = rope.Real("partial_rotary_factor", {0.0, 1.0}, class_default ? 0.25 : 1.0);
  if (kind == "default") {
    if (config.rotated_share != 1.0) rope.Refuse("partial_rotary_factor", "must be 1 for rope_type default");
    if (rope.Has("factor") && config.factor != 1.0) rope.Refuse("factor", "must be 1 for rope_type default");
  } else if (kind != "proportional") {
    rope.Refuse("rope_type", fmt::format("{} is not supported (default, proportional)", Quoted(kind)),
                StatusCode::kUnsupported);
  }
  return config;
}

/// Layer number of a per_layer_config key such as "5" or "05"; -1 when it is none.
int64_t LayerNumber(std::string_view key) {
  int64_t number = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
  return error == std::errc{} && end == key.data() + key.size() && key[0] != '-' ? number : -1;
}

void ReadGeometry(JsonFields& text, Config& config) {
  const int64_t head_size = text.Int("head_dim", kHeadSizes, 256);
  const int64_t kv_heads = text.Int("num_key_value_heads", kHeads, 4);
  for (LayerConfig& layer : config.layers) layer = {layer.sliding, head_size, kv_heads};
  if (!text.Has("per_layer_config")) {
    const int64_t full_size = text.Int("global_head_dim", kHeadSizes, 512);
    const int64_t full_kv = text.Int("num_global_key_value_heads", kHeads, kv_heads);
    for (LayerConfig& layer : config.layers) {
      if (!layer.sliding) layer = {false, full_size, full_kv};
    }
    return;
  }
  JsonFields per_layer = text.Section("per_layer_config");
  if (per_layer.object() == nullptr) return;
  std::vector<bool> seen(config.layers.size(), false);
  for (const auto& item : *per_layer.object()) {
    const std::string_view key(item.key().data(), item.key().size());
    const int64_t number = LayerNumber(key);
    const bool by_kind = key == "full_attention" || key == "sliding_attention";
    if (!by_kind && (number < 0 || number >= std::ssize(config.layers))) {
      per_layer.Refuse(key, fmt::format("is not a layer (0..{})", config.layers.size() - 1));
      return;
    }
    if (!by_kind) {
      if (seen[static_cast<size_t>(number)]) {  // "5" and "05"; also keeps the time linear in the number of keys
        per_layer.Refuse(key, "names a layer that another key names too");
        return;
      }
      seen[static_cast<size_t>(number)] = true;
    }
    JsonFields entry = per_layer.Section(key);
    for (int64_t l = 0; l < std::ssize(config.layers); ++l) {
      LayerConfig& layer = config.layers[static_cast<size_t>(l)];
      if (by_kind ? layer.sliding != (key == "sliding_attention") : l != number) continue;
      layer.head_size = entry.Int("head_dim", kHeadSizes, layer.head_size);
      layer.kv_heads = entry.Int("num_key_value_heads", kHeads, layer.kv_heads);
    }
  }
}

/// What forward.cc relies on: whole groups of query heads, and one rotary table of at least one pair for each kind of layer.
void CheckGeometry(JsonFields& text, const Config& config) {
  for (size_t l = 0; l < config.layers.size(); ++l) {
    const LayerConfig& layer = config.layers[l];
    const char* kind = layer.sliding ? "sliding_attention" : "full_attention";
    if (layer.kv_heads == 0 || config.heads % layer.kv_heads != 0) {
      text.Refuse("num_key_value_heads", fmt::format("{} of layer {} does not divide num_attention_heads {}",
                                                     layer.kv_heads, l, config.heads));
    }
    if (layer.head_size % 2 != 0)
      text.Refuse("head_dim", fmt::format("{} of layer {} must be even", layer.head_size, l));
    if (RotaryPairs(config.Rope(layer), layer.head_size) == 0) {
      text.Refuse(fmt::format("rope_parameters.{}.partial_rotary_factor", kind), "rotates nothing (at least one pair)");
    }
    const auto first = std::ranges::find(config.layers, layer.sliding, &LayerConfig::sliding);
    if (layer.head_size != first->head_size) {
      text.Refuse("head_dim",
                  fmt::format("{} of layer {} differs from {} of another {} layer (one size for each kind)",
                              layer.head_size, l, first->head_size, kind),
                  StatusCode::kUnsupported);
    }
  }
}

void ReadLayers(JsonFields& text, Config& config) {
  const int64_t count = text.Int("num_hidden_layers", kLayers, 30);
  const std::vector<std::string> types = text.Texts("layer_types");
  if (text.Has("layer_types") && std::ssize(types) != count) {
    text.Refuse("layer_types", fmt::format("has {} entries, num_hidden_layers is {}", types.size(), count));
    return;
  }
  for (int64_t l = 0; l < count; ++l) {
    const std::string type =
        types.empty() ? ((l + 1) % 6 == 0 ? "full_attention" : "sliding_attention") : types[static_cast<size_t>(l)];
    if (type != "full_attention" && type != "sliding_attention") {
      text.Refuse("layer_types", "entries must be sliding_attention or full_attention");
    }
    config.layers.push_back({type == "sliding_attention", 0, 0});
  }
  config.layers.back().sliding = false;  // Transformers forces the last layer to full attention
  ReadGeometry(text, config);
  CheckGeometry(text, config);
}

void RequireSupported(JsonFields& text) {
  if (text.Text("hidden_activation", "gelu_pytorch_tanh") != "gelu_pytorch_tanh") {
    text.Refuse("hidden_activation", "only gelu_pytorch_tanh is supported", StatusCode::kUnsupported);
  }
  if (text.Bool("attention_bias", false))
    text.Refuse("attention_bias", "true is not supported", StatusCode::kUnsupported);
  if (!text.Bool("tie_word_embeddings", true)) {
    text.Refuse("tie_word_embeddings", "false is not supported", StatusCode::kUnsupported);
  }
  if (text.object()->contains("final_logit_softcapping") && !text.Has("final_logit_softcapping")) {
    text.Refuse("final_logit_softcapping", "null (no softcap) is not supported", StatusCode::kUnsupported);
  }
  const std::string bidirectional = text.Text("use_bidirectional_attention", "vision");
  if (bidirectional != "vision") {
    text.Refuse("use_bidirectional_attention", "only \"vision\" or null is supported", StatusCode::kUnsupported);
  }
}

void ReadText(JsonFields text, Config& config) {
  if (text.object() == nullptr) {
    text.Refuse("", "missing (required)");
    return;
  }
  RequireSupported(text);
  config.vocab = text.Int("vocab_size", {1, 1 << 24}, 262'144);
  config.width = text.Int("hidden_size", kWidths, 2304);
  config.hidden = text.Int("intermediate_size", kWidths, 9216);
  config.heads = text.Int("num_attention_heads", kHeads, 8);
  config.experts = text.Int("num_experts", kExperts, std::nullopt);
  config.active_experts = text.Int("top_k_experts", kExperts, std::nullopt);
  config.expert_hidden = text.Int("moe_intermediate_size", kWidths, std::nullopt);
  config.window = text.Int("sliding_window", kPositions, 512);
  config.max_positions = text.Int("max_position_embeddings", kPositions, 131'072);
  config.norm_eps = text.Real("rms_norm_eps", {1e-12, 1.0}, 1e-6);
  config.softcap = text.Real("final_logit_softcapping", {1e-3, 1e6}, 30.0);
  const IntRange ids{0, config.vocab - 1};
  config.bos_token = static_cast<int32_t>(text.Int("bos_token_id", ids, 2));
  config.pad_token = static_cast<int32_t>(text.Int("pad_token_id", ids, 0));
  if (config.active_experts > config.experts) {
    text.Refuse("top_k_experts", fmt::format("{} exceeds num_experts {}", config.active_experts, config.experts));
  }
  const JsonFields rope = text.Section("rope_parameters");
  config.sliding_rope = ReadRope(rope.Section("sliding_attention"), true);
  config.full_rope = ReadRope(rope.Section("full_attention"), false);
  ReadLayers(text, config);
}

void ReadVision(JsonFields vision, Config& config) {
  if (vision.object() == nullptr) return;
  VisionConfig v;
  v.width = vision.Int("hidden_size", kWidths, 768);
  v.hidden = vision.Int("intermediate_size", kWidths, 3072);
  v.layers = vision.Int("num_hidden_layers", kLayers, 16);
  v.heads = vision.Int("num_attention_heads", kHeads, 12);
  v.kv_heads = vision.Int("num_key_value_heads", kHeads, 12);
  v.head_size = vision.Int("head_dim", kHeadSizes, 64);
  v.patch = vision.Int("patch_size", {1, 1024}, 16);
  v.pooling = vision.Int("pooling_kernel_size", {1, 64}, 3);
  v.positions = vision.Int("position_embedding_size", kWidths, 10'240);
  v.standardize = vision.Bool("standardize", false);
  v.clipped_linears = vision.Bool("use_clipped_linears", false);
  config.vision = v;
}

Result<boost::json::object> ParseObject(std::string_view text) {
  DG_TRY(boost::json::value value, ParseJson(text));
  if (!value.is_object()) return Fail(StatusCode::kInvalidFile, "must be a JSON object");
  return std::move(value.as_object());
}

}  // namespace

Result<void> RequireCanvases(const Config& config) {
  if (!config.causal_only) return {};
  return Fail(StatusCode::kUnsupported, "this is an autoregressive model (gemma4): use --ar");
}

Result<Config> ParseConfig(std::string_view text) {
  DG_TRY(const boost::json::object object, ParseObject(text));
  std::optional<Status> failure;
  JsonFields top(&object, "", failure);
  Config config;
  const std::string type = top.Text("model_type", "");
  config.causal_only = type == "gemma4";
  if (type != "diffusion_gemma" && !config.causal_only) {
    top.Refuse("model_type", fmt::format("must be diffusion_gemma, is {}", Quoted(type)), StatusCode::kUnsupported);
  }
  if (!top.Bool("tie_word_embeddings", true)) {
    top.Refuse("tie_word_embeddings", "false is not supported", StatusCode::kUnsupported);
  }
  config.canvas = config.causal_only ? 1 : top.Int("canvas_length", {1, 65'536}, 256);
  ReadText(top.Section("text_config"), config);
  config.eos_tokens = top.Ids("eos_token_id", {0, config.vocab - 1});
  if (config.canvas > config.max_positions) {
    top.Refuse("canvas_length",
               fmt::format("{} exceeds max_position_embeddings {}", config.canvas, config.max_positions));
  }
  ReadVision(top.Section("vision_config"), config);
  // Written into every config.json, but tokens of the vocabulary only where there are images.
  const IntRange image_ids = config.vision ? IntRange{0, config.vocab - 1} : kAnyIds;
  config.image_token = static_cast<int32_t>(top.Int("image_token_id", image_ids, 258'880));
  config.image_begin_token = static_cast<int32_t>(top.Int("boi_token_id", image_ids, 255'999));
  config.image_end_token = static_cast<int32_t>(top.Int("eoi_token_id", image_ids, 258'882));
  if (failure) return std::unexpected(*failure);
  return config;
}

Result<GenerationConfig> ParseGenerationConfig(std::string_view text, int64_t vocab) {
  DG_TRY(const boost::json::object object, ParseObject(text));
  std::optional<Status> failure;
  JsonFields top(&object, "", failure);
  GenerationConfig config;
  if (top.Has("max_new_tokens")) config.max_new_tokens = top.Int("max_new_tokens", {1, 1 << 30}, 256);
  if (top.Has("max_denoising_steps"))
    config.steps = static_cast<int32_t>(top.Int("max_denoising_steps", {1, 4096}, 48));
  if (top.Has("t_min")) config.t_min = top.Real("t_min", {0.0, 1e3}, 0.4);
  if (top.Has("t_max")) config.t_max = top.Real("t_max", {0.0, 1e3}, 0.8);
  if (top.Has("stability_threshold"))
    config.stability = static_cast<int32_t>(top.Int("stability_threshold", {0, 4096}, 1));
  if (top.Has("confidence_threshold")) config.confidence = top.Real("confidence_threshold", {0.0, 1e3}, 0.005);
  const IntRange ids{0, vocab - 1};
  if (top.Has("eos_token_id")) config.eos_tokens = top.Ids("eos_token_id", ids);
  if (top.Has("pad_token_id")) config.pad_token = static_cast<int32_t>(top.Int("pad_token_id", ids, 0));
  JsonFields sampler = top.Section("sampler_config");
  if (sampler.Has("_cls_name") && sampler.Text("_cls_name", "") != "EntropyBoundSamplerConfig") {
    sampler.Refuse("_cls_name", "only EntropyBoundSamplerConfig is supported", StatusCode::kUnsupported);
  }
  if (sampler.Has("entropy_bound")) config.entropy_bound = sampler.Real("entropy_bound", {1e-12, 1e9}, 0.1);
  if (failure) return std::unexpected(*failure);
  return config;
}

}  // namespace dgemma
