// Adapters on disk: PEFT folders (adapter_config.json and adapter_model.safetensors) of all programs whose keys
// adapter_names.h knows, and llama.cpp's GGUF adapters; read, checked against a model, and written again as PEFT
// folders. Files are untrusted.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "files/checkpoint_files.h"
#include "model/adapter.h"
#include "model/adapter_names.h"
#include "model/adapter_settings.h"

namespace dgemma {

/// One matrix as its file has it.
struct AdapterMatrix {
  std::string key;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;
};

/// A pair of matrices of one module.
struct AdapterModule {
  std::string module;  ///< as the file calls it
  AdapterPlace place;
  AdapterMatrix down, up;

  uint64_t Values() const;
};

/// What a file holds, before any model is asked whether it fits.
struct OpenedAdapter {
  std::string name;  ///< of its folder or file
  std::string form;  ///< "PEFT" or "GGUF"
  AdapterSettings settings;
  std::vector<AdapterModule> modules;    ///< by name
  std::vector<std::string> unused;       ///< keys of nothing that dgemma computes: vision, modules of other models
  std::shared_ptr<const void> contents;  ///< keeps the bytes
};

/// Opens a PEFT folder, a safetensors file with adapter_config.json beside it, or a GGUF adapter. Messages begin with
/// the path. kNotFound; kInvalidFile: a broken file, one matrix of two, a type that is not F32, F16 or BF16 (GGUF also
/// Q8_0), nothing that is used; kUnsupported: as ParseAdapterSettings and SplitAdapterKey, a pickled adapter_model.bin,
/// an Orbax folder.
Result<OpenedAdapter> OpenAdapter(const std::filesystem::path& path);

/// The same of parts in memory; `name` is what messages say.
Result<OpenedAdapter> OpenPeftAdapter(std::string name, std::string_view settings, const CheckpointFiles& matrices);
Result<OpenedAdapter> OpenGgufAdapter(Blob blob);

/// The deltas of a model. kInvalidFile, naming the key: a layer or expert that the model has not, v_proj of a full
/// layer (its values are those of K), sizes or ranks that differ from the model's or adapter_config.json's, experts
/// that are missing, a matrix twice, values that are not finite, one delta for both roles beside one for a single role.
/// Experts' halves become one delta of both ranks.
Result<Adapter> MakeAdapter(const OpenedAdapter& opened, const Config& config);

/// OpenAdapter and MakeAdapter.
Result<Adapter> ReadAdapter(const std::filesystem::path& path, const Config& config);

/// Writes adapter_config.json and adapter_model.safetensors (F32) into an existing folder, as PEFT loads them on
/// Transformers' model: a delta of both roles stands under the encoder's and the decoder's names, experts as
/// target_parameters. `base_model` is base_model_name_or_path. kInvalidArgument as CheckDelta, and for a tensor with a
/// delta for both roles beside another; kIo.
Result<void> WriteAdapterFiles(const Adapter& adapter, const Config& config, const std::filesystem::path& folder,
                               std::string_view base_model = "");

/// The same into a new folder, which appears whole or not at all (SaveNewFolder).
Result<void> WriteAdapter(const Adapter& adapter, const Config& config, const std::filesystem::path& folder,
                          std::string_view base_model = "");

}  // namespace dgemma
