// The list itself. Letters as in kernels.h; names as in the released checkpoint.
#include "model/tensor_list.h"

#include <fmt/format.h>

namespace dgemma {
namespace {

class TensorLister {
 public:
  explicit TensorLister(const Config& config) : c_(config) {}

  std::vector<TensorSpec> List() {
    Add("model.decoder.embed_tokens.weight", {c_.vocab, c_.width}, TensorRole::kEmbedding);
    for (size_t l = 0; l < c_.layers.size(); ++l) AddLayer(l);
    Add("model.decoder.norm.weight", {c_.width}, TensorRole::kNorm);
    if (!c_.causal_only) {
      AddMlp("model.decoder.self_conditioning.");
      Add("model.decoder.self_conditioning.pre_norm.weight", {c_.width}, TensorRole::kNorm);
    }
    if (c_.vision) AddVision(*c_.vision);
    return std::move(specs_);
  }

 private:
  void Add(std::string name, std::initializer_list<int64_t> shape, TensorRole role) {
    TensorSpec spec{std::move(name), {}, role};
    for (int64_t size : shape) spec.shape.push_back(static_cast<uint64_t>(size));
    specs_.push_back(std::move(spec));
  }

  void AddMlp(const std::string& at) {
    Add(at + "gate_proj.weight", {c_.hidden, c_.width}, TensorRole::kMatrix);
    Add(at + "up_proj.weight", {c_.hidden, c_.width}, TensorRole::kMatrix);
    Add(at + "down_proj.weight", {c_.width, c_.hidden}, TensorRole::kMatrix);
  }

  void AddLayer(size_t index) {
    const LayerConfig& layer = c_.layers[index];
    const std::string at = fmt::format("model.decoder.layers.{}.", index);
    const int64_t query_width = c_.heads * layer.head_size, kv_width = layer.kv_heads * layer.head_size;
    Add(at + "input_layernorm.weight", {c_.width}, TensorRole::kNorm);
    Add(at + "self_attn.q_proj.weight", {query_width, c_.width}, TensorRole::kMatrix);
    Add(at + "self_attn.k_proj.weight", {kv_width, c_.width}, TensorRole::kMatrix);
    if (layer.sliding) Add(at + "self_attn.v_proj.weight", {kv_width, c_.width}, TensorRole::kMatrix);
    Add(at + "self_attn.o_proj.weight", {c_.width, query_width}, TensorRole::kMatrix);
    Add(at + "self_attn.q_norm.weight", {layer.head_size}, TensorRole::kNorm);
    Add(at + "self_attn.k_norm.weight", {layer.head_size}, TensorRole::kNorm);
    Add(at + "post_attention_layernorm.weight", {c_.width}, TensorRole::kNorm);
    Add(at + "pre_feedforward_layernorm.weight", {c_.width}, TensorRole::kNorm);
    AddMlp(at + "mlp.");
    Add(at + "post_feedforward_layernorm_1.weight", {c_.width}, TensorRole::kNorm);
    Add(at + "pre_feedforward_layernorm_2.weight", {c_.width}, TensorRole::kNorm);
    Add(at + "router.scale", {c_.width}, TensorRole::kNorm);
    Add(at + "router.proj.weight", {c_.experts, c_.width}, TensorRole::kRouter);
    Add(at + "router.per_expert_scale", {c_.experts}, TensorRole::kNorm);
    Add(at + "experts.gate_up_proj", {c_.experts, 2 * c_.expert_hidden, c_.width}, TensorRole::kExperts);
    Add(at + "experts.down_proj", {c_.experts, c_.width, c_.expert_hidden}, TensorRole::kExperts);
    Add(at + "post_feedforward_layernorm_2.weight", {c_.width}, TensorRole::kNorm);
    Add(at + "post_feedforward_layernorm.weight", {c_.width}, TensorRole::kNorm);
    if (!c_.causal_only) Add(at + "layer_scalar", {1}, TensorRole::kScalar);
    Add(fmt::format("model.encoder.language_model.layers.{}.layer_scalar", index), {1}, TensorRole::kScalar);
  }

  /// One linear layer of the tower; clipping bounds are scalars beside it.
  void AddVisionLinear(const std::string& at, int64_t out, int64_t in) {
    Add(at + ".linear.weight", {out, in}, TensorRole::kVision);
    if (!c_.vision->clipped_linears) return;
    for (const char* bound : {".input_min", ".input_max", ".output_min", ".output_max"})
      Add(at + bound, {}, TensorRole::kVision);
  }

  void AddVision(const VisionConfig& v) {
    const std::string tower = "model.encoder.vision_tower.";
    Add(tower + "patch_embedder.input_proj.weight", {v.width, 3 * v.patch * v.patch}, TensorRole::kVision);
    Add(tower + "patch_embedder.position_embedding_table", {2, v.positions, v.width}, TensorRole::kVision);
    if (v.standardize) {
      Add(tower + "std_bias", {v.width}, TensorRole::kVision);
      Add(tower + "std_scale", {v.width}, TensorRole::kVision);
    }
    for (int64_t layer = 0; layer < v.layers; ++layer) {
      const std::string at = fmt::format("{}encoder.layers.{}.", tower, layer);
      for (const char* norm :
           {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"}) {
        Add(at + norm + ".weight", {v.width}, TensorRole::kVision);
      }
      AddVisionLinear(at + "self_attn.q_proj", v.heads * v.head_size, v.width);
      AddVisionLinear(at + "self_attn.k_proj", v.kv_heads * v.head_size, v.width);
      AddVisionLinear(at + "self_attn.v_proj", v.kv_heads * v.head_size, v.width);
      AddVisionLinear(at + "self_attn.o_proj", v.width, v.heads * v.head_size);
      Add(at + "self_attn.q_norm.weight", {v.head_size}, TensorRole::kVision);
      Add(at + "self_attn.k_norm.weight", {v.head_size}, TensorRole::kVision);
      AddVisionLinear(at + "mlp.gate_proj", v.hidden, v.width);
      AddVisionLinear(at + "mlp.up_proj", v.hidden, v.width);
      AddVisionLinear(at + "mlp.down_proj", v.width, v.hidden);
    }
    Add("model.encoder.embed_vision.embedding_projection.weight", {c_.width, v.width}, TensorRole::kVision);
  }

  const Config& c_;
  std::vector<TensorSpec> specs_;
};

}  // namespace

const char* Name(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbedding:
      return "embedding";
    case TensorRole::kMatrix:
      return "matrix";
    case TensorRole::kRouter:
      return "router";
    case TensorRole::kExperts:
      return "experts";
    case TensorRole::kNorm:
      return "norm";
    case TensorRole::kScalar:
      return "scalar";
    case TensorRole::kVision:
      return "vision";
  }
  return "unknown";
}

uint64_t TensorSpec::Values() const {
  uint64_t values = 1;
  for (uint64_t size : shape) values *= size;
  return values;
}

std::vector<TensorSpec> ListTensors(const Config& config) { return TensorLister(config).List(); }

int64_t ParameterCount(const Config& config) {
  int64_t count = 0;
  for (const TensorSpec& spec : ListTensors(config)) count += static_cast<int64_t>(spec.Values());
  return count;
}

bool IsTiedName(std::string_view name) {
  constexpr std::string_view kEncoder = "model.encoder.language_model.";
  if (name == "lm_head.weight" || name.starts_with("lm_head.weight_")) return true;
  return name.starts_with(kEncoder) && !name.ends_with(".layer_scalar");
}

}  // namespace dgemma
