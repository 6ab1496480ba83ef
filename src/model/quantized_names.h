// How Hugging Face checkpoints spell a quantised matrix: codes and scales as tensors of their own, experts together or
// one by one. Names and shapes decide, not config.json. Called by stored_tensors.cc; the arithmetic is in
// tensor/scaled_rows.h.
//
// Below, W is the listed name, such as "model.decoder.layers.0.mlp.up_proj.weight"; for experts
// ("...experts.down_proj") it is that name, that name + ".weight" or, for its scales, that name + "_weight". Matrices
// are [rows, cols], of fused experts [E, rows, cols].
//
//   FP8     W F8_E4M3 [rows, cols]; W_scale or W_scale_inv, F32, F16, BF16 or F8_E8M0: one; [rows] or [rows, 1]; or a
//           grid [a, b] of blocks of 128 x 128 (the last may be smaller), otherwise of rows / a x cols / b where these
//           are whole numbers
//   INT4    W_packed I32 [rows, ceil(cols / 8)]; W_scale F32, F16 or BF16 [rows, b], groups of cols / b; W_shape (not
//           needed) states rows and cols; W_zero_point I32 [ceil(rows / 8), b] where codes are not symmetric
//   NVFP4   W U8 [rows, cols / 2]; W_scale F8_E4M3 [rows, cols / 16]; W_scale_2 F32, one. Or W_packed for W, and
//           W_global_scale, which is the reciprocal of W_scale_2
//
// Experts one by one: "...experts.{e}.down_proj.weight" [rows, cols]; gate_up_proj is "...experts.{e}.gate_proj.weight"
// and "...experts.{e}.up_proj.weight", half of the rows each. Each may be in any of these forms, or plain.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "model/tensor_list.h"
#include "tensor/stored.h"

namespace dgemma {

/// A tensor put together from parts.
struct FoundParts {
  std::vector<StoredRows> runs;         ///< each one matrix, or half of the rows of one
  std::vector<std::string_view> names;  ///< of the parts in the file, as long as the CheckpointFiles live
};

/// The tensor where the file has it in one of the forms above; nothing where it has at most a plain tensor of the
/// listed name. kInvalidFile names the part and the rule: a part is missing, too much, spelled twice, or of wrong type
/// or shape; a scale of a whole matrix is not finite, or is 0 where it divides. kUnsupported for codes of another type.
/// Other scales are checked when rows are read.
Result<std::optional<FoundParts>> FindQuantized(const CheckpointFiles& files, const TensorSpec& spec);

/// True for names beside a layer's weights that concern activations and caches, which dgemma does not quantise by them:
/// the input_scale of a linear layer, k_scale and v_scale of attention. The layer is what remains:
/// "...self_attn.k_proj".
std::optional<std::string_view> LayerOfUnusedScale(std::string_view name);

/// What to add to the refusal of a checkpoint's tensors: " (quantised by \"awq\"; ...)" where config.json names a
/// method; else empty.
std::string QuantMethodNote(const CheckpointFiles& files);

/// A config.json for a checkpoint written anew, whose tensors its quantization_config would not describe: the text
/// without that section, and unchanged where there is none.
Result<std::string> WithoutQuantMethod(std::string config_text);

}  // namespace dgemma
