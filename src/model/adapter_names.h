// How programs name the matrices of an adapter, and what they mean: keys of PEFT and its relatives (TRL, Unsloth, NeMo,
// expert adapters), tensors of llama.cpp's GGUF adapters. Names only; adapter_files.h reads what they name.
//
//   base_model.model.model.decoder.layers.3.self_attn.q_proj.lora_A.weight                  decoder
//   base_model.model.model.encoder.language_model.layers.3.mlp.up_proj.lora_B.weight        encoder
//   base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight                          one stack: both
//   ...q_proj.linear.lora_A.weight, ...q_proj.lora_A.default.weight, ...q_proj.lora_A       the same
//   ...layers.3.experts.base_layer.lora_A.weight, ...layers.3.experts.lora_A.weight         PEFT's parameters, by size
//   ...layers.3.experts.lora_gate_up_A, lora_gate_up_B, lora_down_A, lora_down_B            experts stacked
//   ...layers.3.experts.5.gate_proj.lora_A.weight, up_proj, gate_up_proj, down_proj         one expert
//   blk.3.attn_q.weight.lora_a, blk.3.ffn_gate_exps.weight.lora_b                           GGUF: both
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "model/adapter.h"

namespace dgemma {

/// Which of a delta's two matrices.
enum class AdapterSide : uint8_t { kDown, kUp };

/// How the matrices of one module lie. r rank, E experts.
enum class AdapterForm : uint8_t {
  kMatrix,      ///< A [r, in], B [out, r]
  kStacked,     ///< A [E, r, in], B [E, out, r]
  kParameters,  ///< PEFT's target_parameters: A [E r, in], B [out, r E], of gate_up_proj or down_proj as sizes say
};

/// Which rows of experts.gate_up_proj.
enum class AdapterPart : uint8_t { kWhole, kGate, kUp };

/// What one module of a file stands for.
struct AdapterPlace {
  DeltaRole role = DeltaRole::kBoth;
  int64_t layer = -1;  ///< -1: self-conditioning
  std::string module;  ///< in the layer: "self_attn.q_proj", "experts.down_proj"; "experts" for kParameters
  AdapterForm form = AdapterForm::kMatrix;
  int64_t expert = -1;  ///< of one expert only; -1: of all, or of no expert
  AdapterPart part = AdapterPart::kWhole;

  /// "model.decoder.layers.3.self_attn.q_proj.weight"; of kParameters without the parameter.
  std::string Tensor() const;
};

struct AdapterKey {
  std::string module;  ///< what stands before the matrix: "base_model.model.model.decoder.layers.3.self_attn.q_proj"
  AdapterSide side = AdapterSide::kDown;
};

/// Splits a key of a safetensors file; nothing where it names no low-rank matrix. kUnsupported for what changes a model
/// in another way: embeddings, biases, DoRA's magnitudes, whole tensors.
Result<std::optional<AdapterKey>> SplitAdapterKey(std::string_view key);

/// What a module is; nothing for modules that this model family has not, and for vision. kUnsupported for the token
/// table and the vocabulary head.
Result<std::optional<AdapterPlace>> PlaceOfModule(std::string_view module);

/// The same for a tensor of a GGUF file that an adapter names ("blk.3.attn_q.weight").
Result<std::optional<AdapterPlace>> PlaceOfGguf(std::string_view tensor);

/// A module's name as PEFT's patterns see it: without wrappers in front and "base_layer" behind.
std::string_view PatternName(std::string_view module);

/// PEFT's name of the module that a tensor of the list is in, for one role:
/// "model.encoder.language_model.layers.3.self_attn.q_proj"; of experts with the parameter at its end. kBoth: in a
/// model with one stack, "model.language_model.layers.3.self_attn.q_proj".
std::string PeftModule(std::string_view tensor, DeltaRole role);

}  // namespace dgemma
