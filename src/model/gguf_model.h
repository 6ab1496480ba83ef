// GGUF files as checkpoints: the tensors under our names, and the JSON texts of a model folder made from the metadata,
// so that everything behind CheckpointFiles stays as it is. Also the one function that opens a model whatever its form.
#pragma once

#include <filesystem>

#include "dgemma/status.h"
#include "files/bytes.h"
#include "files/checkpoint_files.h"
#include "files/limits.h"

namespace dgemma {

/// True for a regular file that ends in .gguf or begins with "GGUF".
bool IsGgufFile(const std::filesystem::path& path);

/// A GGUF file with Text("config.json"), "generation_config.json", "tokenizer.json" and "tokenizer_config.json".
/// Tensors keep their types; experts whose gate and up halves are tensors of their own become one tensor in many runs.
/// Tensors that the model has not keep the file's name, so that CheckTensors refuses them. Errors begin with the blob's
/// name: those of ParseGguf, ConfigFromGguf and ParseConfig, and tensors that are missing (kInvalidFile, with the
/// file's name for them).
Result<CheckpointFiles> OpenGguf(Blob blob, const FileLimits& limits = {});

/// Opens a GGUF file, or a model folder (OpenCheckpoint).
Result<CheckpointFiles> OpenModel(const std::filesystem::path& path, const FileLimits& limits = {});

}  // namespace dgemma
