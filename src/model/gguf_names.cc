// The table of names. Rows are our suffix, GGUF's, and other spellings met in files.
#include "model/gguf_names.h"

#include <algorithm>
#include <array>

namespace dgemma {
namespace {

struct NameRow {
  std::string_view ours;
  std::string_view gguf;
  std::string_view other = {};
};

constexpr std::string_view kDecoderLayer = "model.decoder.layers.";
constexpr std::string_view kEncoderLayer = "model.encoder.language_model.layers.";

constexpr auto kGlobal = std::to_array<NameRow>({
    {"model.decoder.embed_tokens.weight", "token_embd.weight"},
    {"model.decoder.norm.weight", "output_norm.weight"},
    {"model.decoder.self_conditioning.pre_norm.weight", "self_cond_pre_norm.weight", "sc_pre_norm.weight"},
    {"model.decoder.self_conditioning.gate_proj.weight", "self_cond_gate.weight", "sc_gate.weight"},
    {"model.decoder.self_conditioning.up_proj.weight", "self_cond_up.weight", "sc_up.weight"},
    {"model.decoder.self_conditioning.down_proj.weight", "self_cond_down.weight", "sc_down.weight"},
});

constexpr auto kLayer = std::to_array<NameRow>({
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", "attn_post_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"},
    {"pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"},
    {"router.scale", "ffn_gate_inp.scale"},
    {"router.proj.weight", "ffn_gate_inp.weight"},
    {"router.per_expert_scale", "ffn_down_exps.scale"},
    {"experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    {"experts.down_proj", "ffn_down_exps.weight"},
    {"post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", "ffn_post_norm.weight"},
    {"layer_scalar", "layer_output_scale.weight"},
});

/// "model.decoder.layers.7.mlp.up_proj.weight" as ("blk.7.", "mlp.up_proj.weight"); nothing for names without this
/// prefix.
std::optional<std::pair<std::string, std::string_view>> SplitLayer(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  return std::pair("blk." + std::string(name.substr(0, dot + 1)), name.substr(dot + 1));
}

template <size_t N>
std::vector<std::string> Look(const std::array<NameRow, N>& rows, std::string_view ours, const std::string& prefix) {
  const auto row = std::ranges::find(rows, ours, &NameRow::ours);
  if (row == rows.end()) return {};
  std::vector<std::string> names = {prefix + std::string(row->gguf)};
  if (!row->other.empty()) names.push_back(prefix + std::string(row->other));
  return names;
}

}  // namespace

std::vector<std::string> GgufNames(std::string_view name) {
  if (const auto split = SplitLayer(name, kDecoderLayer)) return Look(kLayer, split->second, split->first);
  if (const auto split = SplitLayer(name, kEncoderLayer)) {
    return {split->first + "enc_layer_output_scale.weight", split->first + "layer_output_scale.weight"};
  }
  return Look(kGlobal, name, "");
}

std::optional<std::pair<std::string, std::string>> GgufHalves(std::string_view name) {
  const auto split = SplitLayer(name, kDecoderLayer);
  if (!split || split->second != "experts.gate_up_proj") return std::nullopt;
  return std::pair(split->first + "ffn_gate_exps.weight", split->first + "ffn_up_exps.weight");
}

bool IsGgufExtra(std::string_view gguf_name) { return gguf_name == kGgufRopeFactors || gguf_name == "output.weight"; }

}  // namespace dgemma
