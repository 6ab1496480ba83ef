// Keys to JSON. Ranges are checked by ParseConfig, which reads the result; here only what JSON could not say.
#include "model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <cmath>
#include <cstring>

#include "base/try.h"
#include "files/messages.h"
#include "model/gguf_keys.h"
#include "model/gguf_names.h"
#include "model/rotary.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr int64_t kMostLayers = 4096;  // ParseConfig's bound is lower; this one keeps lists of layers small
constexpr float kNeverRotates = 1e20f;

/// Refuses what cannot be read as one text model; gives the keys' prefix.
std::string ReadPrefix(GgufKeys& keys) {
  const std::string architecture(keys.Text("general.architecture", ""));
  if (architecture != "diffusion-gemma" && architecture != "diffusion_gemma" && architecture != "gemma4") {
    keys.Refuse("general.architecture", Quoted(architecture) + " is not supported (diffusion-gemma, gemma4)",
                StatusCode::kUnsupported);
  }
  if (const auto type = keys.Text("general.type", "model"); type != "model") {
    keys.Refuse("general.type", Quoted(type) + " is not supported (model)", StatusCode::kUnsupported);
  }
  if (keys.Integer("split.count", 1) > 1) {
    keys.Refuse("split.count", "a model in several files is not supported (merge them first)",
                StatusCode::kUnsupported);
  }
  return architecture + ".";
}

/// True for each sliding layer.
std::vector<bool> ReadPattern(GgufKeys& keys, const GgufTable& table, const std::string& key, int64_t layers) {
  std::vector<bool> sliding(static_cast<size_t>(layers));
  const GgufValue* value = table.Find(key);
  if (value != nullptr && value->is_array) {
    const std::vector<int64_t> flags = keys.PerLayer(key, layers);
    for (size_t layer = 0; layer < sliding.size(); ++layer) sliding[layer] = flags[layer] != 0;
    return sliding;
  }
  const int64_t period = keys.Integer(key);
  if (period < 1) keys.Refuse(key, "must be at least 1");
  for (size_t layer = 0; layer < sliding.size() && period > 0; ++layer) {
    sliding[layer] = (static_cast<int64_t>(layer) + 1) % period != 0;
  }
  return sliding;
}

/// The rotary parameters of full layers from rope_freqs.weight.
json::object ReadFullRope(GgufKeys& keys, const GgufTable& table, std::span<const std::byte> file, double theta,
                          int64_t head_size) {
  const auto tensor = std::ranges::find(table.tensors, kGgufRopeFactors, &GgufTensor::name);
  json::object rope = {{"rope_type", "proportional"}, {"rope_theta", theta}};
  if (tensor == table.tensors.end() || tensor->dtype != DType::kF32 || tensor->rank != 1 ||
      tensor->sizes[0] > 1 << 16) {
    keys.Refuse(kGgufRopeFactors, "is missing or no F32 vector (full layers need it)");
    return rope;
  }
  std::vector<float> factors(static_cast<size_t>(tensor->sizes[0]));
  std::memcpy(factors.data(), file.data() + tensor->begin, factors.size() * sizeof(float));
  const auto end = std::ranges::find_if(factors, [](float factor) { return factor >= kNeverRotates; });
  const bool regular =
      std::all_of(factors.begin(), end, [&](float factor) { return factor == factors[0] && factor > 0; }) &&
      std::all_of(end, factors.end(), [](float factor) { return factor >= kNeverRotates; });
  if (!regular || std::ssize(factors) * 2 != head_size) {
    keys.Refuse(kGgufRopeFactors, "is not one factor for the pairs that rotate, then 1e20 and more, for half a head",
                StatusCode::kUnsupported);
    return rope;
  }
  RopeConfig config;
  config.rotated_share = static_cast<double>(end - factors.begin()) / static_cast<double>(factors.size());
  if (RotaryPairs(config, head_size) < end - factors.begin())
    config.rotated_share = std::nextafter(config.rotated_share, 2.0);
  rope["partial_rotary_factor"] = config.rotated_share;
  if (end != factors.begin() && factors[0] != 1) rope["factor"] = static_cast<double>(factors[0]);
  return rope;
}

/// Layer types, heads and rotary parameters.
void ReadGeometry(GgufKeys& keys, const GgufTable& table, std::span<const std::byte> file, const std::string& prefix,
                  json::object& text) {
  const int64_t layers = keys.Integer(prefix + "block_count");
  text["num_hidden_layers"] = layers;
  if (layers < 1 || layers > kMostLayers) {
    keys.Refuse(prefix + "block_count", fmt::format("{} is out of range (1..{})", layers, kMostLayers));
    return;
  }
  const int64_t full_size = keys.Integer(prefix + "attention.key_length");
  const int64_t sliding_size = keys.Integer(prefix + "attention.key_length_swa", full_size);
  for (const auto& [key, size] : {std::pair("attention.value_length", full_size),
                                  {"rope.dimension_count", full_size},
                                  {"attention.value_length_swa", sliding_size},
                                  {"rope.dimension_count_swa", sliding_size}}) {
    if (keys.Integer(prefix + key, size) != size) {
      keys.Refuse(prefix + key, fmt::format("must be the key length {}", size), StatusCode::kUnsupported);
    }
  }
  const std::vector<int64_t> heads = keys.PerLayer(prefix + "attention.head_count", layers);
  if (std::ranges::adjacent_find(heads, std::not_equal_to<>()) != heads.end()) {
    keys.Refuse(prefix + "attention.head_count", "differs between layers", StatusCode::kUnsupported);
  }
  text["num_attention_heads"] = heads.front();
  const std::vector<int64_t> kv_heads = keys.PerLayer(prefix + "attention.head_count_kv", layers);
  const std::vector<bool> sliding = ReadPattern(keys, table, prefix + "attention.sliding_window_pattern", layers);
  json::array types;
  json::object per_layer;
  for (size_t layer = 0; layer < sliding.size(); ++layer) {
    types.push_back(sliding[layer] ? "sliding_attention" : "full_attention");
    per_layer[std::to_string(layer)] = {{"head_dim", sliding[layer] ? sliding_size : full_size},
                                        {"num_key_value_heads", kv_heads[layer]}};
  }
  if (sliding.back()) keys.Refuse(prefix + "attention.sliding_window_pattern", "the last layer must be full");
  text["layer_types"] = std::move(types);
  text["per_layer_config"] = std::move(per_layer);
  text["sliding_window"] = keys.Integer(prefix + "attention.sliding_window");
  const double theta = keys.Real(prefix + "rope.freq_base");
  text["rope_parameters"] = {
      {"sliding_attention",
       {{"rope_type", "default"}, {"rope_theta", keys.Real(prefix + "rope.freq_base_swa", 10'000.0)}}},
      {"full_attention", ReadFullRope(keys, table, file, theta, full_size)}};
}

/// Features of smaller siblings that this model has not.
void RefuseSiblings(GgufKeys& keys, const std::string& prefix) {
  for (const char* key : {"attention.shared_kv_layers", "embedding_length_per_layer_input"}) {
    if (keys.Integer(prefix + key, 0) != 0) {
      keys.Refuse(prefix + key, "only 0 is supported (this is a smaller Gemma 4 model)", StatusCode::kUnsupported);
    }
  }
  if (keys.Integer(prefix + "expert_count", 0) == 0) {
    keys.Refuse(prefix + "expert_count", "a model without experts is not supported", StatusCode::kUnsupported);
  }
}

/// Ids that end a text: the key's, then those of tokens that close a turn or wait for a tool.
std::vector<int32_t> EndIds(GgufKeys& keys) {
  std::vector<int32_t> ids;
  const auto add = [&ids](int64_t id) {
    if (id >= 0 && id < int64_t{1} << 31 && std::ranges::find(ids, id) == ids.end())
      ids.push_back(static_cast<int32_t>(id));
  };
  add(keys.Integer("tokenizer.ggml.eos_token_id", -1));
  for (const int32_t id : keys.TokenIds({"<eos>", "<turn|>", "<end_of_turn>", "<|tool_response>"})) add(id);
  add(keys.Integer("tokenizer.ggml.eot_token_id", -1));
  add(keys.Integer("tokenizer.ggml.eom_token_id", -1));
  return ids;
}

}  // namespace

Result<std::string> ConfigFromGguf(const GgufTable& table, std::span<const std::byte> file) {
  GgufKeys keys(table);
  const std::string prefix = ReadPrefix(keys);
  if (keys.failure()) return std::unexpected(*keys.failure());
  const bool causal_only = prefix == "gemma4.";
  RefuseSiblings(keys, prefix);
  const GgufValue* tokens = table.Find("tokenizer.ggml.tokens");
  const int64_t bos = keys.Integer("tokenizer.ggml.bos_token_id", 2),
                pad = keys.Integer("tokenizer.ggml.padding_token_id", 0);
  json::object text = {
      {"model_type", causal_only ? "gemma4_text" : "diffusion_gemma_text"},
      {"vocab_size", keys.Integer(prefix + "vocab_size", tokens == nullptr ? 0 : static_cast<int64_t>(tokens->count))},
      {"hidden_size", keys.Integer(prefix + "embedding_length")},
      {"max_position_embeddings", keys.Integer(prefix + "context_length")},
      {"num_experts", keys.Integer(prefix + "expert_count")},
      {"top_k_experts", keys.Integer(prefix + "expert_used_count")},
      {"moe_intermediate_size", keys.Integer(prefix + "expert_feed_forward_length")},
      {"rms_norm_eps", keys.Real(prefix + "attention.layer_norm_rms_epsilon")},
      {"final_logit_softcapping", keys.Real(prefix + "final_logit_softcapping", 30.0)},
      {"hidden_activation", "gelu_pytorch_tanh"},
      {"tie_word_embeddings", true},
      {"bos_token_id", bos},
      {"pad_token_id", pad},
  };
  ReadGeometry(keys, table, file, prefix, text);
  const std::vector<int64_t> hidden =
      keys.failure() ? std::vector<int64_t>(1)
                     : keys.PerLayer(prefix + "feed_forward_length", text["num_hidden_layers"].as_int64());
  if (std::ranges::adjacent_find(hidden, std::not_equal_to<>()) != hidden.end()) {
    keys.Refuse(prefix + "feed_forward_length", "differs between layers", StatusCode::kUnsupported);
  }
  text["intermediate_size"] = hidden.front();
  json::object top = {{"model_type", causal_only ? "gemma4" : "diffusion_gemma"},
                      {"tie_word_embeddings", true},
                      {"eos_token_id", json::value_from(EndIds(keys))}};
  if (!causal_only) top["canvas_length"] = keys.Integer("diffusion.canvas_length");
  const std::vector<int32_t> images = keys.TokenIds({"<|image>", "<|image|>", "<image|>"});
  constexpr const char* kImageFields[] = {"boi_token_id", "image_token_id", "eoi_token_id"};
  for (size_t i = 0; i < images.size(); ++i) {
    if (images[i] >= 0) top[kImageFields[i]] = images[i];
  }
  top["text_config"] = std::move(text);
  if (keys.failure()) return std::unexpected(*keys.failure());
  return json::serialize(top);
}

Result<std::string> GenerationConfigFromGguf(const GgufTable& table) {
  GgufKeys keys(table);
  json::object out = {{"eos_token_id", json::value_from(EndIds(keys))}};
  if (keys.Has("tokenizer.ggml.padding_token_id"))
    out["pad_token_id"] = keys.Integer("tokenizer.ggml.padding_token_id");
  for (const auto& [key, field] : {std::pair("diffusion.eb_max_steps", "max_denoising_steps"),
                                   {"diffusion.eb_stability_threshold", "stability_threshold"}}) {
    if (keys.Has(key)) out[field] = keys.Integer(key);
  }
  for (const auto& [key, field] : {std::pair("diffusion.eb_t_min", "t_min"),
                                   {"diffusion.eb_t_max", "t_max"},
                                   {"diffusion.eb_confidence_threshold", "confidence_threshold"}}) {
    if (keys.Has(key)) out[field] = keys.Real(key);
  }
  if (keys.Has("diffusion.eb_entropy_bound")) {
    out["sampler_config"] = {{"_cls_name", "EntropyBoundSamplerConfig"},
                             {"entropy_bound", keys.Real("diffusion.eb_entropy_bound")}};
  }
  if (keys.failure()) return std::unexpected(*keys.failure());
  return json::serialize(out);
}

}  // namespace dgemma
