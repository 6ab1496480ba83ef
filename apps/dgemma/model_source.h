// Where a verb's model comes from: a folder, or the small one inside the program. Flags for loading, the rule that
// tells a model from a prompt, and the progress line while loading.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dgemma/dgemma.h"
#include "files/checkpoint_files.h"
#include "program.h"

namespace CLI {
class App;
}

namespace dgemma {

/// What the user said about the model and its loading.
struct ModelSource {
  std::string model;  ///< a folder; empty or "embedded": the embedded model
  EngineOptions options;
};

/// Whether a verb takes the model as the flag --model, or only as an argument.
enum class ModelFlag { kYes, kNo };

/// Adds --threads, --ctx, --lora and --backend to a verb, and --model where wanted.
void AddLoadFlags(CLI::App& verb, ModelSource& source, ModelFlag flag);

/// True when the source names the embedded model.
bool IsEmbedded(const ModelSource& source);

/// kNotFound, naming it, when the source is neither the embedded model nor an existing folder or file.
Result<void> CheckExists(const ModelSource& source);

/// The files of a model folder, a GGUF file, or "embedded".
Result<CheckpointFiles> OpenModelFiles(const std::string& model);

/// Loads the model, without a word.
Result<std::unique_ptr<Engine>> LoadEngine(const ModelSource& source);

/// Loads the model, with a progress line on standard error when that takes a while. Ctrl-C ends it: kCancelled.
Result<std::unique_ptr<Engine>> LoadModel(Program& program, const ModelSource& source);

/// The same for conversations: thoughts are no part of later prompts, and what stands before thoughts of up to a thousand tokens need not be
/// read again (EngineOptions::rewind_tokens). Without that where memory is too short for it.
Result<std::unique_ptr<Engine>> LoadForChat(Program& program, ModelSource source);

/// What LoadModel does around the loading itself, `load`, which is given the options to use.
using Loading = std::function<Result<std::unique_ptr<Engine>>(const EngineOptions&)>;
Result<std::unique_ptr<Engine>> WatchLoading(Program& program, EngineOptions options, const Loading& load);

/// The model's options, except that a model from a folder writes until it ends its turn: released
/// generation_config.json files stop at one canvas.
GenerateOptions DefaultsOf(const Engine& engine, const ModelSource& source);

/// A check for options that name a model: an empty name is a mistake (an unset variable), not the embedded model.
std::string NotEmpty(const std::string& text);

/// Adds --backend. `backend` must outlive the verb.
void AddBackendFlag(CLI::App& verb, Backend& backend);

/// Adds --lora FILE[:scale], which may be given several times. `adapters` must outlive the verb.
void AddLoraFlag(CLI::App& verb, std::vector<AdapterFile>& adapters);

/// "FILE:0.5" as file and scale; what follows the last colon is a scale when it is a number.
AdapterFile ParseAdapterFile(const std::string& text);

}  // namespace dgemma
