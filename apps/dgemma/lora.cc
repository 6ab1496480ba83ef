// `dgemma lora ACTION ...`: what an adapter is, an adapter put into a model's weights, an adapter in PEFT's form.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "base/try.h"
#include "base/units.h"
#include "engine/backend.h"
#include "engine/loaded_model.h"
#include "files/messages.h"
#include "json_text.h"
#include "lora_table.h"
#include "model/adapter_files.h"
#include "model/adapter_merge.h"
#include "model_source.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "thread_count.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct LoraArguments {
  std::string action;
  std::vector<std::string> paths;
  std::string model;
  bool force = false;
  bool json = false;
  int threads = 0;
};

std::unexpected<Status> Usage(std::string message) {
  return Fail(StatusCode::kInvalidArgument, std::move(message) + "; see `dgemma lora --help`");
}

Result<void> CheckTarget(const std::string& out, bool force) {
  std::error_code ignored;
  if (!std::filesystem::exists(out, ignored)) return {};
  if (!force) return Fail(StatusCode::kInvalidArgument, out + ": exists (--force replaces its files)");
  if (std::filesystem::is_directory(out, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument, out + ": is a file, not a folder");
}

/// Programs that find a model and an adapter in one folder apply the one to the other.
Result<void> RefuseBeside(const std::string& out, const char* file, const char* what) {
  std::error_code ignored;
  if (!std::filesystem::exists(std::filesystem::path(out) / file, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument, fmt::format("{}: holds {} ({}); give another folder", out, what, file));
}

Result<void> Info(Program& program, const LoraArguments& arguments) {
  if (arguments.paths.size() != 1) return Usage("info: needs one adapter");
  DG_TRY(const OpenedAdapter opened, OpenAdapter(arguments.paths[0]));
  std::vector<LoraRow> rows = RowsOf(opened);
  if (!arguments.model.empty()) {
    DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.model));
    DG_TRY(const Config config, AtPath(arguments.model, ReadConfig(files)));
    DG_TRY(const Adapter adapter, At(arguments.paths[0], MakeAdapter(opened, config)));
    rows = RowsOf(adapter, config);
  }
  program.out.Write(arguments.json ? JsonText(LoraJson(opened, rows)) + "\n" : LoraText(opened, rows));
  return {};
}

/// The model's part of an adapter's own description: what PEFT's base_model_name_or_path says.
std::string BaseName(const OpenedAdapter& opened, const std::string& model) {
  if (!opened.settings.base_model.empty()) return opened.settings.base_model;
  return model.empty() || model == "embedded" ? "" : model;
}

Result<void> ConvertAdapter(Program& program, const LoraArguments& arguments) {
  if (arguments.paths.size() != 2) return Usage("convert: needs IN and OUT");
  const std::string &in = arguments.paths[0], &out = arguments.paths[1];
  DG_CHECK_OK(CheckTarget(out, arguments.force));
  DG_CHECK_OK(RefuseBeside(out, "config.json", "a model"));
  DG_TRY(const OpenedAdapter opened, OpenAdapter(in));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.model));
  DG_TRY(const Config config, AtPath(arguments.model.empty() ? "embedded" : arguments.model, ReadConfig(files)));
  DG_TRY(const Adapter adapter, At(in, MakeAdapter(opened, config)));
  DG_CHECK_OK(At(in, WriteAdapter(adapter, config, out, BaseName(opened, arguments.model))));
  if (arguments.json) {
    program.out.Write(JsonText(boost::json::object{
                          {"out", out}, {"tensors", adapter.deltas.size()}, {"unused", opened.unused.size()}}) +
                      "\n");
    return {};
  }
  if (program.loudness == Loudness::kQuiet) return {};
  program.out.Write(fmt::format("{}: {} deltas{}\n", PrintableText(out), adapter.deltas.size(),
                                opened.unused.empty() ? "" : fmt::format(", {} keys left out", opened.unused.size())));
  return {};
}

void PrintMerged(Program& program, const LoraArguments& arguments, const std::vector<MergedTensor>& merged) {
  const std::string& out = arguments.paths.back();
  if (arguments.json) {
    boost::json::array tensors;
    for (const MergedTensor& tensor : merged) {
      tensors.push_back(
          {{"name", tensor.name}, {"dtype", Name(tensor.dtype)}, {"relative_change", tensor.relative_change}});
    }
    program.out.Write(JsonText(boost::json::object{{"out", out}, {"tensors", std::move(tensors)}}) + "\n");
    return;
  }
  if (program.loudness == Loudness::kQuiet) return;
  const auto most = std::ranges::max_element(merged, {}, &MergedTensor::relative_change);
  program.out.Write(fmt::format("{}: {} tensors changed, at most by {:.2g} of their size ({})\n", PrintableText(out),
                                merged.size(), most->relative_change, most->name));
}

Result<void> Merge(Program& program, const LoraArguments& arguments) {
  if (arguments.paths.size() < 3) return Usage("merge: needs MODEL, one or more adapters, and OUT");
  const std::string &model = arguments.paths.front(), &out = arguments.paths.back();
  if (!arguments.model.empty()) return Usage("merge: takes the model as its first path, not as --model");
  DG_CHECK_OK(CheckTarget(out, arguments.force));
  std::error_code ignored;
  if (std::filesystem::equivalent(model, out, ignored))
    return Fail(StatusCode::kInvalidArgument, out + ": is the model itself, which would be lost");
  DG_CHECK_OK(RefuseBeside(out, "adapter_config.json", "an adapter"));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(model));
  DG_TRY(const Config config, AtPath(model, ReadConfig(files)));
  std::vector<Adapter> adapters;
  std::vector<float> scales;
  for (size_t i = 1; i + 1 < arguments.paths.size(); ++i) {
    const AdapterFile file = ParseAdapterFile(arguments.paths[i]);
    DG_TRY(Adapter adapter, ReadAdapter(file.path, config));
    adapters.push_back(std::move(adapter));
    scales.push_back(file.scale);
  }
  std::vector<AppliedAdapter> applied;
  for (size_t i = 0; i < adapters.size(); ++i) applied.push_back({&adapters[i], scales[i]});
  ProgressLine line(program);
  std::stop_source stop;
  StreamOptions options;
  options.progress = [&line](int64_t done, int64_t total) { line.Show({"merging", done, total}); };
  options.stop = stop.get_token();
  ThreadPool pool(ThreadsFor(arguments.threads));
  const Signals::Scope scope(program.signals, Stopping(stop));
  DG_TRY(const std::vector<MergedTensor> merged, MergeAdapters(files, config, applied, out, options, pool));
  line.Clear();
  PrintMerged(program, arguments, merged);
  return {};
}

Result<void> Run(Program& program, const LoraArguments& arguments) {
  if (arguments.action == "info") return Info(program, arguments);
  if (arguments.action == "merge") return Merge(program, arguments);
  if (arguments.action == "convert") return ConvertAdapter(program, arguments);
  return Usage(Quoted(arguments.action) + " is no action (info, merge, convert)");
}

}  // namespace

void AddLora(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("lora", "Adapters (LoRA): what one is, merging into a model, PEFT's form.");
  verb->footer(
      "Actions:\n"
      "  info ADAPTER                     rank, alpha, roles, targets; with --model checked against it\n"
      "  merge MODEL ADAPTER[:SCALE]... OUT  a model folder with the adapters in its weights (F32, F16, BF16). Refused "
      "where encoder and decoder change differently, since they share their weights\n"
      "  convert IN OUT                   a PEFT folder, for the model of --model\n"
      "An adapter is a PEFT folder, a safetensors file with adapter_config.json beside it, or a GGUF adapter. "
      "`dgemma run --lora` and others apply it unmerged.\n"
      "\n"
      "Examples:\n"
      "  dgemma lora info sql-adapter\n"
      "  dgemma lora info sql-adapter --model DIR --json\n"
      "  dgemma lora merge DIR sql-adapter:0.5 DIR-sql\n"
      "  dgemma lora convert sql.gguf sql-peft --model DIR");
  auto arguments = std::make_shared<LoraArguments>();
  verb->add_option("action", arguments->action, "what to do")->type_name("{info,merge,convert}")->required();
  verb->add_option("paths", arguments->paths, "adapters, and with merge the model first and the new folder last")
      ->type_name("PATH")
      ->check([](const std::string& path) { return path.empty() ? "the name of a file is empty" : ""; })
      ->required();
  verb->add_option("-m,--model", arguments->model,
                   "info, convert: the model, a folder, a GGUF file or `embedded` (convert without it: the embedded "
                   "model)")
      ->check(NotEmpty)
      ->type_name("MODEL");
  verb->add_flag("-f,--force", arguments->force, "merge, convert: replace the files of OUT");
  verb->add_flag("--json", arguments->json, "one JSON object");
  verb->add_option("-t,--threads", arguments->threads, "merge: threads (default: all cores)")->check(IsThreadCount);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = Run(program, *arguments);
    if (!done) program.Fail("lora", done.error());
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
