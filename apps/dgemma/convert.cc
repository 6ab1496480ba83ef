// `dgemma convert IN OUT`: a checkpoint in another form or type: GGUF file or model folder, with the errors that
// rounding cost.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "base/try.h"
#include "engine/loaded_model.h"
#include "files/messages.h"
#include "json_text.h"
#include "model/convert.h"
#include "model/gguf_model.h"
#include "model/stored_tensors.h"
#include "model_source.h"
#include "model_target.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "thread_count.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr auto kTypes = std::to_array<std::pair<const char*, DType>>({{"f32", DType::kF32},
                                                                      {"f16", DType::kF16},
                                                                      {"bf16", DType::kBF16},
                                                                      {"q8_0", DType::kQ8_0},
                                                                      {"q6_k", DType::kQ6K},
                                                                      {"q5_k", DType::kQ5K},
                                                                      {"q4_k", DType::kQ4K},
                                                                      {"q4_0", DType::kQ4_0},
                                                                      {"iq4_xs", DType::kIq4Xs}});

struct ConvertArguments {
  std::string in;
  std::string out;
  TypeWish type;
  bool force = false;
  bool json = false;
  bool tensors = false;
  int threads = 0;
};

bool NamesGguf(const std::string& path) { return std::filesystem::path(path).extension() == ".gguf"; }

/// The last part of a path without an extension: "models/starter/" and "starter.gguf" are both "starter".
std::string ModelName(const std::string& in) {
  std::filesystem::path path(in);
  if (!path.has_filename()) path = path.parent_path();
  return IsGgufFile(path) ? path.stem().string() : path.filename().string();
}

Result<void> CheckTarget(const ConvertArguments& arguments) {
  std::error_code ignored;
  if (!std::filesystem::exists(arguments.out, ignored)) return {};
  DG_CHECK_OK(CheckNotSource(arguments.out, arguments.in));
  if (!arguments.force) return Fail(StatusCode::kInvalidArgument, arguments.out + ": exists (--force replaces it)");
  if (!NamesGguf(arguments.out)) return CheckModelTarget(arguments.out, arguments.in, arguments.force);
  if (!std::filesystem::is_directory(arguments.out, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument, arguments.out + ": is a folder, not a file");
}

struct Converted {
  std::vector<TensorOutcome> outcomes;
  int64_t left_out_tensors = 0;  ///< of vision, which GGUF files of text models do not hold
  uint64_t left_out_bytes = 0;   ///< in the source
};

Result<Converted> Convert(Program& program, const ConvertArguments& arguments) {
  DG_CHECK_OK(CheckTarget(arguments));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.in));
  DG_TRY(const Config config, At(arguments.in, ReadConfig(files)));
  ProgressLine line(program);
  std::stop_source stop;
  ConvertOptions options;
  options.type = arguments.type;
  options.name = ModelName(arguments.in);
  options.stream.progress = [&line](int64_t done, int64_t total) { line.Show({"converting", done, total}); };
  options.stream.stop = stop.get_token();
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  ThreadPool pool(arguments.threads > 0 ? arguments.threads : cores);
  const Signals::Scope scope(program.signals, Stopping(stop));
  Converted converted;
  const bool gguf = NamesGguf(arguments.out);
  DG_TRY(converted.outcomes, (gguf ? SaveGguf : SaveFolder)(files, config, arguments.out, options, pool));
  for (const TensorSpec& spec : ListTensors(config)) {
    if (!gguf || spec.role != TensorRole::kVision) continue;
    std::vector<std::string_view> names;
    DG_CHECK_OK(FindStored(files, spec, &names));
    ++converted.left_out_tensors;
    for (const std::string_view name : names) converted.left_out_bytes += files.Tensor(name)->ByteCount();
  }
  return converted;
}

uint64_t TotalBytes(const std::vector<TensorOutcome>& outcomes) {
  uint64_t bytes = 0;
  for (const TensorOutcome& outcome : outcomes) bytes += outcome.bytes;
  return bytes;
}

void PrintJson(Program& program, const ConvertArguments& arguments, const Converted& converted) {
  const std::vector<TensorOutcome>& outcomes = converted.outcomes;
  boost::json::array tensors;
  for (const TensorOutcome& outcome : outcomes) {
    tensors.push_back({{"name", outcome.name},
                       {"from", outcome.from},
                       {"to", Name(outcome.to)},
                       {"bytes", outcome.bytes},
                       {"relative_error", outcome.relative_error},
                       {"largest_error", outcome.largest_error}});
  }
  const boost::json::object object{
      {"out", arguments.out},
      {"bytes", TotalBytes(outcomes)},
      {"left_out", {{"tensors", converted.left_out_tensors}, {"bytes", converted.left_out_bytes}}},
      {"tensors", std::move(tensors)}};
  program.out.Write(JsonText(object) + "\n");
}

/// One line a type: how many tensors, bytes, and the worst of them.
void PrintText(Program& program, const ConvertArguments& arguments, const Converted& converted) {
  const std::vector<TensorOutcome>& outcomes = converted.outcomes;
  std::string text = fmt::format("{}: {} tensors, {}\n", PrintableText(arguments.out), outcomes.size(),
                                 BytesText(static_cast<int64_t>(TotalBytes(outcomes))));
  std::vector<DType> types;
  for (const TensorOutcome& outcome : outcomes) {
    if (std::ranges::find(types, outcome.to) == types.end()) types.push_back(outcome.to);
  }
  for (const DType type : types) {
    const TensorOutcome* worst = nullptr;
    int64_t count = 0, bytes = 0;
    for (const TensorOutcome& outcome : outcomes) {
      if (outcome.to != type) continue;
      ++count;
      bytes += static_cast<int64_t>(outcome.bytes);
      if (worst == nullptr || outcome.relative_error > worst->relative_error) worst = &outcome;
    }
    text += fmt::format("  {:<7}{:>5} tensors {:>9}  ", Name(type), count, BytesText(bytes));
    text += worst->relative_error == 0
                ? "exact\n"
                : fmt::format("largest relative error {:.2g} ({})\n", worst->relative_error, worst->name);
  }
  if (converted.left_out_tensors > 0) {
    text += fmt::format("  left out: {} vision tensors, {} (a GGUF file holds the text model)\n",
                        converted.left_out_tensors, BytesText(static_cast<int64_t>(converted.left_out_bytes)));
  }
  if (arguments.tensors) {
    text += "\n";
    for (const TensorOutcome& outcome : outcomes) {
      text += fmt::format("  {:<56} {:<8} to {:<7} {:>9}  {:.2e} of its size, at most {:.2e}\n", outcome.name,
                          outcome.from, Name(outcome.to), BytesText(static_cast<int64_t>(outcome.bytes)),
                          outcome.relative_error, outcome.largest_error);
    }
  }
  program.out.Write(text);
}

}  // namespace

void AddConvert(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("convert", "A checkpoint in another form or type: GGUF file or model folder.");
  verb->footer(
      "Matrices get the type; vectors, scalars and the router stay F32 in GGUF files, the token table is at least "
      "Q6_K, and "
      "rows that are no whole number of blocks become Q8_0 or F16. Vision tensors are left out of GGUF files. Errors "
      "are those of "
      "rounding, against IN.\n"
      "\n"
      "Examples:\n"
      "  dgemma convert models/starter starter.gguf --type q8_0 --tensors\n"
      "  dgemma convert diffusiongemma-Q4_K_M.gguf diffusiongemma-bf16 --type bf16\n"
      "  dgemma convert embedded small.gguf --type q4_k --json");
  auto arguments = std::make_shared<ConvertArguments>();
  verb->add_option("in", arguments->in, "a model folder, a GGUF file, or `embedded`")
      ->check(NotEmpty)
      ->type_name("IN")
      ->required();
  verb->add_option("out", arguments->out, "a name ending in .gguf, or a folder")
      ->check(NotEmpty)
      ->type_name("OUT")
      ->required();
  std::string choices;
  for (const auto& [name, type] : kTypes) choices += (choices.empty() ? "" : ",") + std::string(name);
  verb->add_option_function<std::string>(
          "--type",
          [arguments, choices](const std::string& text) {
            const auto found = std::ranges::find(kTypes, CLI::ignore_case(text), &std::pair<const char*, DType>::first);
            if (found == kTypes.end()) throw CLI::ValidationError("--type", Quoted(text) + ": not one of " + choices);
            arguments->type = found->second;
          },
          "type of matrices (default: each keeps its own; in a folder F32 instead of block types)")
      ->type_name("{" + choices + "}");
  verb->add_flag("-f,--force", arguments->force, "replace OUT");
  auto* tensors = verb->add_flag("--tensors", arguments->tensors, "also the error of every tensor");
  verb->add_flag("--json", arguments->json, "one JSON object with every tensor")->excludes(tensors);
  verb->add_option("-t,--threads", arguments->threads, "threads (default: all cores)")->check(IsThreadCount);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto converted = Convert(program, *arguments);
    if (!converted) {
      program.Fail("convert", converted.error());
      return;
    }
    if (arguments->json) {
      PrintJson(program, *arguments, *converted);
    } else if (program.loudness != Loudness::kQuiet) {
      PrintText(program, *arguments, *converted);
    }
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
