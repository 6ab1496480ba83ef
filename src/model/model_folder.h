// The files of a model folder: weights, configuration, tokenizer. Everything that writes a model folder comes here; what the
// tensors hold is the business of those that make them (convert.h, quantize.h, adapter_merge.h, synthesize.h, train/checkpoint.h).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "files/tensor_to_write.h"

namespace dgemma {

/// The texts of a model folder by file name, those that the checkpoint has: config.json without what it says of quantised files, the
/// tokenizer, generation_config.json.
using ModelTexts = std::map<std::string, std::string>;
Result<ModelTexts> ReadTexts(const CheckpointFiles& files);

/// A text of the checkpoint; empty when it has none.
Result<std::string> TextOrNothing(const CheckpointFiles& files, const char* name);

/// What model.safetensors says of itself; plain tensors are as Transformers reads them.
using ModelMetadata = std::map<std::string, std::string>;

/// Writes model.safetensors and the texts into `folder`, each atomically.
Result<void> WriteModelFiles(const std::filesystem::path& folder, std::vector<TensorToWrite> tensors,
                             const ModelTexts& texts, const ModelMetadata& metadata = {{"format", "pt"}});

/// The same as a whole: SaveNewFolder.
Result<void> SaveModelFolder(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                             const ModelTexts& texts, const ModelMetadata& metadata = {{"format", "pt"}});

}  // namespace dgemma
