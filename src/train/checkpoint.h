// A training run on disk: folders `step-N` that appear whole or not at all, each an ordinary model or adapter folder with another file
// of what the optimiser knows. A run that goes on from one computes the same bytes as a run that was never stopped.
#pragma once

#include <filesystem>
#include <optional>

#include "files/checkpoint_files.h"
#include "model/model_folder.h"
#include "train/optimizer.h"

namespace dgemma {

/// A number that other weights or shapes change: of every tensor's name, shape, type and first 4 KiB.
uint64_t FingerprintOf(const CheckpointFiles& files, const Config& config);

/// What must agree between the run that wrote a checkpoint and the one that goes on from it.
struct RunIdentity {
  uint64_t data_fingerprint = 0;
  uint64_t seed = 0;
  int64_t batch = 0;
  std::string recipe{};  ///< everything else that a step depends on, as a text
  uint64_t frozen = 0;   ///< FingerprintOf the weights under an adapter; 0: none are frozen
};

/// What a run's folders hold beside the trained weights: the tensors that are not trained, and the texts, which are in memory because
/// the folder they came from may be an older checkpoint of this run that is gone by then.
struct ModelBase {
  CheckpointFiles files;
  ModelTexts texts;
};

/// Writes what a run trains into an empty folder: the average of the weights where the optimiser keeps one, otherwise the weights.
using WriteTrained = std::function<Result<void>(const Optimizer& optimizer, const std::filesystem::path& folder)>;

/// A model folder: trained weights as F32, all other tensors and the texts as `base` has them. References must outlive the writer.
WriteTrained WriteModel(const ModelBase& base, const Config& config, const TrainKernels& kernels);

/// A PEFT folder of the adapter that TrainAdapters listed: `adapter` has names, roles and scales, the optimiser the values. It must have
/// been attached to `weights` alone. `base_model` is what the folder names as its model. References must outlive the writer.
WriteTrained WriteTrainedAdapter(const Adapter& adapter, const Config& config, Weights& weights,
                                 const TrainKernels& kernels, std::string base_model);

/// The folder appears whole or not at all. kIo (a full disk among them) leaves an older folder of this name untouched.
Result<void> SaveTrained(const WriteTrained& write, const Optimizer& optimizer, const std::filesystem::path& folder);

/// Writes `run`/step-N with N = optimizer.steps_taken: what `write` writes, and training.safetensors with moments, identity
/// and, where `write` writes their average, the weights. Then removes all but the newest `keep` such folders. Returns the folder.
Result<std::filesystem::path> SaveCheckpoint(const WriteTrained& write, const Optimizer& optimizer,
                                             const TrainKernels& kernels, const RunIdentity& identity,
                                             const std::filesystem::path& run, int keep);

/// The newest complete checkpoint folder of a run; none where there is none. Folders that a killed run left half written have other names.
std::optional<std::filesystem::path> NewestCheckpoint(const std::filesystem::path& run);

/// Removes all checkpoint folders of a run, and nothing else that is in `run`.
void RemoveCheckpoints(const std::filesystem::path& run);

/// Removes what killed runs left half written in `run`; the caller is the only one that writes there.
void RemovePartialCheckpoints(const std::filesystem::path& run);

/// Reads moments and number of steps of a checkpoint, and its weights where the model or adapter that it is has their average. The
/// optimiser's weights must be those of that model or adapter.
/// kInvalidArgument when the identity differs, naming what; kInvalidFile for a broken file, a number of steps that is not the folder's, a
/// value that is not finite, or a negative second moment.
Result<void> LoadOptimizer(const std::filesystem::path& checkpoint, const RunIdentity& identity, Kernels& kernels,
                           Optimizer& optimizer);

}  // namespace dgemma
