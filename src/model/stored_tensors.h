// Where a tensor of the list lies in a checkpoint, whatever its form: one plain tensor, our packed panels, or codes and
// scales as quantised checkpoints hold them (quantized_names.h). Loading, checking, planning, inspecting and converting
// ask here.
//
// Packed panels (tensor/panels.h) are a safetensors tensor of the same name with type U8 and shape [bytes]; the file's
// metadata says their format under the tensor's name, such as "model.decoder.layers.0.mlp.up_proj.weight": "int8-32".
#pragma once

#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "model/tensor_list.h"
#include "tensor/stored.h"

namespace dgemma {

/// The tensor as matrices: [E, out, in] for experts, [1, out, in] for a matrix, [1, 1, values] for vectors and scalars.
/// kNotFound when it is missing; kInvalidFile when its shape differs from the list's; kUnsupported for a type that
/// holds no weights; FindQuantized's refusals. `names` gets the names of the file's tensors that it is made of.
Result<StoredTensor> FindStored(const CheckpointFiles& files, const TensorSpec& spec,
                                std::vector<std::string_view>* names = nullptr);

/// Compares a checkpoint's tensors with the list: all there as FindStored wants them, nothing unknown but tied copies
/// and the scales of activations and caches beside known layers (LayerOfUnusedScale). The first difference is the
/// error, naming the tensor.
Result<void> CheckTensors(const CheckpointFiles& files, const Config& config);

/// Says that a stored tensor will not be read soon, as CheckpointFiles::Release.
void Release(const CheckpointFiles& files, const StoredTensor& stored);

}  // namespace dgemma
