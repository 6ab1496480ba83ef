// Loading as the verbs do it.
#include "model_source.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "embedded_model.h"
#include "model/gguf_model.h"
#include "numbers.h"
#include "progress_line.h"
#include "thread_count.h"

namespace dgemma {
namespace {

constexpr int64_t kLongestContext = int64_t{1} << 20;

/// What acts beside the weights, when asked for; and what of it does not, always.
void NoteAdapters(Program& program, const ModelFacts& facts) {
  for (const AdapterFacts& adapter : facts.adapters) {
    if (program.loudness == Loudness::kVerbose) {
      program.Note(fmt::format("adapter {}: {:.1f} M parameters, scale {}", adapter.name,
                               static_cast<double>(adapter.parameters) / 1e6, adapter.scale));
    }
    if (adapter.unused_keys > 0) {
      program.Note(fmt::format("adapter {}: {} of its keys are not used (`dgemma lora info` lists them)", adapter.name,
                               adapter.unused_keys));
    }
  }
}

}  // namespace

Result<CheckpointFiles> OpenModelFiles(const std::string& model) {
  if (!model.empty() && model != "embedded") return OpenModel(model);
  std::vector<Blob> blobs;
  for (const MemoryFile& file : EmbeddedModelFiles()) blobs.push_back(StaticBlob(std::string(file.name), file.bytes));
  return CheckpointFromMemory(std::move(blobs));
}

std::string NotEmpty(const std::string& text) { return text.empty() ? "the name of the model is empty" : ""; }

void AddBackendFlag(CLI::App& verb, Backend& backend) {
  verb.add_option_function<std::string>(
          "--backend",
          [&backend](const std::string& text) {
            if (text == "cpu") {
              backend = Backend::kCpu;
            } else if (text == "ref") {
              backend = Backend::kReference;
            } else if (text == "ref-bf16") {
              backend = Backend::kReferenceBf16;
            } else {
              throw CLI::ValidationError("--backend", Quoted(text) + " is no backend (cpu, ref, ref-bf16)");
            }
          },
          "cpu: for use; ref: slow and exact, for comparing; ref-bf16: the same with bfloat16 rounding")
      ->type_name("{cpu,ref,ref-bf16}")
      ->group("Loading");
}

AdapterFile ParseAdapterFile(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return {text};
  constexpr float kLargest = std::numeric_limits<float>::max();
  const auto scale = ParseNumber<float>(std::string_view(text).substr(colon + 1), -kLargest, kLargest);
  return scale ? AdapterFile{text.substr(0, colon), *scale} : AdapterFile{text};
}

void AddLoraFlag(CLI::App& verb, std::vector<AdapterFile>& adapters) {
  verb.add_option_function<std::vector<std::string>>(
          "--lora",
          [&adapters](const std::vector<std::string>& files) {
            for (const std::string& file : files) adapters.push_back(ParseAdapterFile(file));
          },
          "an adapter: a PEFT folder or a GGUF file, how strong it is behind a colon; several act together")
      ->check([](const std::string& file) { return file.empty() ? "the name of the adapter is empty" : ""; })
      ->allow_extra_args(false)
      ->type_name("FILE[:SCALE]")
      ->group("Loading");
}

void AddLoadFlags(CLI::App& verb, ModelSource& source, ModelFlag flag) {
  if (flag == ModelFlag::kYes) {
    verb.add_option("-m,--model", source.model, "a model folder or a GGUF file; without it the embedded model")
        ->check(NotEmpty)
        ->type_name("MODEL");
  }
  verb.add_option_function<std::string>(
          "-t,--threads",
          [&source](const std::string& text) {
            const auto value = ParseThreadCount(text);
            if (!value) throw CLI::ValidationError("--threads", value.error().message);
            source.options.threads = *value;
          },
          "threads (default: one for each core)")
      ->type_name("N")
      ->group("Loading");
  verb.add_option_function<std::string>(
          "-c,--ctx,--ctx-size,--context",
          [&source](const std::string& text) {
            const auto value = ParseNumber<int64_t>(text, 1, kLongestContext);
            if (!value) throw CLI::ValidationError("--ctx", value.error().message);
            source.options.context_tokens = *value;
          },
          "tokens of prompt and answer together at most (default: the model's, up to 8192)")
      ->type_name("N")
      ->group("Loading");
  AddLoraFlag(verb, source.options.adapters);
  AddBackendFlag(verb, source.options.backend);
}

bool IsEmbedded(const ModelSource& source) { return source.model.empty() || source.model == "embedded"; }

Result<void> CheckExists(const ModelSource& source) {
  std::error_code ignored;
  if (IsEmbedded(source) || std::filesystem::exists(source.model, ignored)) return {};
  return Fail(StatusCode::kNotFound, Quoted(source.model) + ": there is no such model folder or file");
}

Result<std::unique_ptr<Engine>> LoadModel(Program& program, const ModelSource& source) {
  return WatchLoading(program, source.options,
                      [&source](const EngineOptions& options) { return LoadEngine({source.model, options}); });
}

Result<std::unique_ptr<Engine>> LoadForChat(Program& program, ModelSource source) {
  source.options.rewind_tokens = 1024;
  auto engine = LoadModel(program, source);
  if (engine || engine.error().code != StatusCode::kResourceExhausted) return engine;
  source.options.rewind_tokens = 0;
  return LoadModel(program, source);
}

Result<std::unique_ptr<Engine>> LoadEngine(const ModelSource& source) {
  return IsEmbedded(source) ? LoadEmbedded(source.options) : Engine::Load(source.model, source.options);
}

Result<std::unique_ptr<Engine>> WatchLoading(Program& program, EngineOptions options, const Loading& load) {
  ProgressLine line(program);
  options.progress = [&line](const Progress& progress) { line.Show(progress); };
  std::stop_source stop;
  options.stop = stop.get_token();
  const auto begin = std::chrono::steady_clock::now();
  auto engine = [&] {
    const Signals::Scope scope(program.signals, Stopping(stop));
    return load(options);
  }();
  line.Clear();
  if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled while loading");
  if (!engine) return engine;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (program.loudness == Loudness::kVerbose || seconds >= 1) {
    const ModelFacts& facts = (*engine)->facts();
    program.Note(fmt::format("loaded {}: {:.1f} M parameters, {}, {}, in {:.0f} ms", facts.name,
                             static_cast<double>(facts.parameters) / 1e6, facts.dtype, facts.backend, seconds * 1e3));
  }
  NoteAdapters(program, (*engine)->facts());
  return engine;
}

GenerateOptions DefaultsOf(const Engine& engine, const ModelSource& source) {
  GenerateOptions options = engine.Defaults();
  if (!IsEmbedded(source)) options.max_new_tokens = -1;
  return options;
}

}  // namespace dgemma
