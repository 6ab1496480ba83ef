// The configuration of the smallest model with every kind of tensor, for targets that read files which belong to a
// model.
#pragma once

namespace dgemma {

// Width 4 is twice the experts' width 2, so that sizes alone do not always say which way round an expert's matrices
// lie.
inline constexpr const char* kTinyConfig = R"({"model_type": "diffusion_gemma", "canvas_length": 2, "text_config": {
  "model_type": "diffusion_gemma_text", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 6,
  "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "num_attention_heads": 2,
  "num_key_value_heads": 1, "head_dim": 2, "global_head_dim": 4, "num_global_key_value_heads": 1, "num_experts": 2,
  "top_k_experts": 1, "moe_intermediate_size": 2, "sliding_window": 4, "max_position_embeddings": 16,
  "rope_parameters": {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1e4},
                      "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}}})";

}  // namespace dgemma
