// Texts of config.json for the tests of src/model: the released model in each spelling, and copies with one field changed.
// The numbers are those of the published checkpoint; nothing here is read from our own parser.
#pragma once

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>
#include <string_view>

namespace dgemma::test {

/// How a file states the head geometry of full layers.
enum class Geometry {
  kGlobalFields,   ///< global_head_dim, num_global_key_value_heads
  kPerLayer,       ///< per_layer_config with keys "5", "11", ...
  kPerLayerPadded  ///< per_layer_config with keys "05", "11", ...
};

inline boost::json::object ReleasedJson(Geometry geometry) {
  boost::json::object config = boost::json::parse(R"({
    "architectures": ["DiffusionGemmaForBlockDiffusion"], "model_type": "diffusion_gemma", "dtype": "bfloat16",
    "boi_token_id": 255999, "canvas_length": 256, "eoi_token_id": 258882, "eos_token_id": [1, 106, 50],
    "image_token_id": 258880, "initializer_range": 0.02, "tie_word_embeddings": true, "vision_soft_tokens_per_image": 280,
    "text_config": {
      "model_type": "diffusion_gemma_text", "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 2,
      "eos_token_id": 1, "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
      "hidden_size": 2816, "initializer_range": 0.02, "intermediate_size": 2112, "max_position_embeddings": 262144,
      "moe_intermediate_size": 704, "num_attention_heads": 16, "num_experts": 128, "num_hidden_layers": 30,
      "num_key_value_heads": 8, "pad_token_id": 0, "rms_norm_eps": 1e-06,
      "rope_parameters": {
        "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}
      },
      "sliding_window": 1024, "tie_word_embeddings": true, "top_k_experts": 8, "use_bidirectional_attention": "vision",
      "vocab_size": 262144
    },
    "vision_config": {
      "model_type": "gemma4_vision", "head_dim": 72, "global_head_dim": 72, "hidden_activation": "gelu_pytorch_tanh",
      "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27,
      "num_key_value_heads": 16, "patch_size": 16, "pooling_kernel_size": 3, "position_embedding_size": 10240,
      "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}, "standardize": true,
      "use_clipped_linears": false, "default_output_length": 280
    }
  })")
                                   .as_object();
  boost::json::object& text = config["text_config"].as_object();
  boost::json::array types;
  boost::json::object per_layer;
  for (int layer = 0; layer < 30; ++layer) {
    const bool full = layer % 6 == 5;
    types.emplace_back(full ? "full_attention" : "sliding_attention");
    const std::string zero = geometry == Geometry::kPerLayerPadded && layer < 10 ? "0" : "";
    if (full) per_layer[zero + std::to_string(layer)] = {{"head_dim", 512}, {"num_key_value_heads", 2}};
  }
  text["layer_types"] = types;
  if (geometry == Geometry::kGlobalFields) {
    text["global_head_dim"] = 512;
    text["num_global_key_value_heads"] = 2;
  } else {
    text["per_layer_config"] = per_layer;
  }
  return config;
}

inline std::string ReleasedText(Geometry geometry) { return boost::json::serialize(ReleasedJson(geometry)); }

/// `config` with the field at a dotted path such as "text_config.num_experts" set to a JSON text; "" removes it.
inline std::string Changed(boost::json::object config, std::string_view path, std::string_view value) {
  boost::json::object* object = &config;
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    boost::json::value& section = (*object)[path.substr(0, dot)];
    object = section.is_object() ? &section.as_object() : &section.emplace_object();
    path.remove_prefix(dot + 1);
  }
  if (value.empty())
    object->erase(path);
  else
    (*object)[path] = boost::json::parse(value);
  return boost::json::serialize(config);
}

/// The smallest text that parses: everything else takes Transformers' class defaults.
inline boost::json::object MinimalJson() {
  return boost::json::parse(R"({"model_type": "diffusion_gemma",
    "text_config": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}})")
      .as_object();
}

}  // namespace dgemma::test
