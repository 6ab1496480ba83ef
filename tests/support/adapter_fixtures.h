// The adapters of tests/golden/adapters, and small ones made up for a test.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "engine/loaded_model.h"
#include "files/safetensors_writer.h"
#include "files/temp_folder.h"
#include "model/adapter_files.h"
#include "model/adapter_merge.h"
#include "support/golden.h"

namespace dgemma::test {

/// Names of the folders, one for each way of writing adapters.
inline std::vector<std::string> Fixtures() {
  return {"peft-roles", "peft-decoder", "peft-encoder-rslora", "peft-experts", "trl-both",
          "nemo",       "unsloth",      "fused-experts",       "llama-cpp"};
}

/// Where a fixture is: its folder, or the GGUF file in it.
inline std::filesystem::path FixturePath(const std::string& name) {
  const std::filesystem::path folder = GoldenRoot() + "/adapters/" + name;
  return std::filesystem::exists(folder / "adapter.gguf") ? folder / "adapter.gguf" : folder;
}

/// The configuration of a golden checkpoint.
inline Config ConfigOf(const std::string& model) { return *ReadConfig(*OpenCheckpoint(GoldenRoot() + "/" + model)); }

/// The fixtures merged into a golden checkpoint.
class MergedFolder {
 public:
  MergedFolder(const std::string& model, const std::vector<std::string>& fixtures, float scale = 1) {
    const CheckpointFiles files = *OpenCheckpoint(GoldenRoot() + "/" + model);
    const Config config = *ReadConfig(files);
    std::vector<Adapter> adapters;
    for (const std::string& fixture : fixtures) adapters.push_back(*ReadAdapter(FixturePath(fixture), config));
    std::vector<AppliedAdapter> applied;
    for (const Adapter& adapter : adapters) applied.push_back({&adapter, scale});
    ThreadPool pool(2);
    auto outcome = MergeAdapters(files, config, applied, folder(), {}, pool);
    if (outcome) {
      merged = *std::move(outcome);
    } else {
      error = outcome.error().message;
    }
  }

  std::string folder() const { return (root_.path() / "merged").string(); }

  std::vector<MergedTensor> merged;
  std::string error;  ///< empty when all went well

 private:
  TempFolder root_;
};

}  // namespace dgemma::test
