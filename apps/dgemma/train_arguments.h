// What `dgemma train` was asked for: its flags, the TOML file that may hold them, and their checks.
#pragma once

#include <string>
#include <vector>

#include "train/new_adapter.h"
#include "train/trainer.h"

namespace CLI {
class App;
}

namespace dgemma {

struct TrainArguments {
  std::string model;
  std::string new_config, tokenizer;
  std::vector<std::string> data;
  std::string out;
  std::string config_file;
  std::string schedule = "cosine";
  std::string canvases = "one";
  std::string next_token = "text", fill = "both";
  TrainOptions options;
  LoraOptions lora;  ///< rank 0: weights are trained
  std::string lora_file, lora_roles = "shared";
  std::vector<std::string> eval;
  int64_t eval_count = 100;
  int64_t save_every = 500;
  int64_t log_every = 10;
  int keep = 3;
  int threads = 0;
  bool no_shuffle = false, strict = false;
  bool resume = false, force = false, dry_run = false;

  bool TrainsAdapter() const { return lora.rank != 0 || !lora_file.empty(); }
  /// Whether a flag about a new adapter was given.
  bool HasLoraFlags() const {
    return lora.alpha != 0 || lora.rank_stabilized || lora_roles != "shared" || lora.targets != LoraOptions().targets;
  }
};

/// Adds every flag. `arguments` must outlive the verb.
void AddTrainFlags(CLI::App& verb, TrainArguments& arguments);

/// Every key of the file is a flag's name or `model`, at the top or in [train]; flags of the command line win.
Result<void> ReadConfigFile(CLI::App& verb, const std::string& path);

/// What arguments together must be; `holds_run`: --out has a checkpoint. kInvalidArgument.
Result<void> CheckArguments(const TrainArguments& arguments, bool holds_run);

/// Turns words into options and checks them all for a model of this configuration.
Result<void> FillOptions(TrainArguments& arguments, const Config& config);

/// Everything that a step depends on besides data, seed and batch, as a text. The number of steps is not in it: a run may be
/// prolonged.
std::string Recipe(const TrainArguments& arguments);

}  // namespace dgemma
