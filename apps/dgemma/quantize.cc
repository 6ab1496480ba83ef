// `dgemma quantize IN OUT TYPE`: a checkpoint packed for this program, in groups of integers, with the error of every tensor.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "base/try.h"
#include "embedded_model.h"
#include "engine/backend.h"
#include "engine/loaded_model.h"
#include "engine/replay.h"
#include "json_text.h"
#include "model/quantize.h"
#include "model_source.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct QuantizeArguments {
  std::string in;
  std::string out;
  std::string type;
  std::string imatrix;
  bool force = false;
  bool json = false;
  bool tensors = false;
  int threads = 0;
};

/// "NAME" [in] or [E, in] float32 tensors of a safetensors file.
Result<Importance> ReadImportance(const std::string& path) {
  Importance importance;
  if (path.empty()) return importance;
  DG_TRY(const CheckpointFiles files, OpenSafetensors(path));
  for (const TensorBytes& tensor : files.tensors()) {
    DG_TRY(importance[std::string(tensor.name)], ReadNumbers(tensor));
    for (const float value : importance[std::string(tensor.name)]) {
      if (!(value >= 0 && value < 1e30f)) {
        return Fail(StatusCode::kInvalidFile,
                    fmt::format("{}: {}: importance must be finite and not negative", path, tensor.name));
      }
    }
  }
  return importance;
}

Result<std::vector<QuantizedTensor>> Quantize(Program& program, const QuantizeArguments& arguments) {
  std::error_code ignored;
  if (std::filesystem::exists(std::filesystem::path(arguments.out) / "model.safetensors", ignored) &&
      !arguments.force) {
    return Fail(StatusCode::kInvalidArgument, arguments.out + ": holds a model already (--force replaces it)");
  }
  QuantizeOptions options;
  DG_TRY(options.recipe, ParseRecipe(arguments.type));
  DG_TRY(options.importance, ReadImportance(arguments.imatrix));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.in));
  DG_TRY(const Config config, AtPath(arguments.in, ReadConfig(files)));
  options.threads = ThreadsFor(arguments.threads);
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  options.progress = [&](int64_t done, int64_t total) {
    line.Show({"quantizing", done, total});
    return !stop.stop_requested();
  };
  return WriteQuantized(files, config, arguments.out, options);
}

int64_t TotalBytes(const std::vector<QuantizedTensor>& tensors) {
  int64_t bytes = 0;
  for (const QuantizedTensor& tensor : tensors) bytes += tensor.bytes;
  return bytes;
}

void PrintJson(Program& program, const QuantizeArguments& arguments, const std::vector<QuantizedTensor>& tensors) {
  boost::json::array list;
  for (const QuantizedTensor& tensor : tensors) {
    list.push_back({{"name", tensor.name},
                    {"format", Name(tensor.format)},
                    {"bytes", tensor.bytes},
                    {"relative_error", tensor.relative_rms_error},
                    {"largest_error", tensor.largest_error}});
  }
  const boost::json::object object{
      {"out", arguments.out}, {"bytes", TotalBytes(tensors)}, {"tensors", std::move(list)}};
  program.out.Write(JsonText(object) + "\n");
}

void PrintText(Program& program, const QuantizeArguments& arguments, const std::vector<QuantizedTensor>& tensors) {
  std::string text = fmt::format("{}: {} matrices, {}\n", PrintableText(arguments.out), tensors.size(),
                                 BytesText(TotalBytes(tensors)));
  std::map<std::string, std::vector<const QuantizedTensor*>> by_format;
  for (const QuantizedTensor& tensor : tensors) by_format[Name(tensor.format)].push_back(&tensor);
  for (const auto& [format, list] : by_format) {
    double mean = 0;
    int64_t bytes = 0;
    for (const QuantizedTensor* tensor : list) {
      mean += tensor->relative_rms_error / static_cast<double>(list.size());
      bytes += tensor->bytes;
    }
    const QuantizedTensor* worst = *std::ranges::max_element(list, {}, &QuantizedTensor::relative_rms_error);
    text += fmt::format("  {:<12} {:>4} matrices {:>9}  relative error {:.2g} on average, at most {:.2g} ({})\n",
                        format, list.size(), BytesText(bytes), mean, worst->relative_rms_error, worst->name);
  }
  if (arguments.tensors) {
    text += "\n";
    for (const QuantizedTensor& tensor : tensors) {
      text +=
          fmt::format("  {:<56} {:<12} {:>9}  {:.2e} of its size, at most {:.2e}\n", tensor.name, Name(tensor.format),
                      BytesText(tensor.bytes), tensor.relative_rms_error, tensor.largest_error);
    }
  }
  program.out.Write(text);
}

}  // namespace

void AddQuantize(CLI::App& app, Program& program) {
  CLI::App* verb =
      app.add_subcommand("quantize", "Packs a checkpoint into groups of integers, ready to be mapped and run.");
  verb->footer(
      "Types:\n"
      "  int8   8.25 bits a weight: groups of 64 that share a scale\n"
      "  int4   experts 5 bits a weight (groups of 32 with scale and minimum), everything else int8\n"
      "  or one format for all matrices: int8-16, int8-32, int8-64, int4-32, int4-32-min, ...\n"
      "Norms, routers and scalars stay as they are. OUT is a folder; it is mapped as it is, nothing is repacked on "
      "loading.\n"
      "\n"
      "Examples:\n"
      "  dgemma quantize diffusiongemma-26b diffusiongemma-26b-int4 int4\n"
      "  dgemma quantize model.gguf packed int8 --tensors\n"
      "  dgemma quantize embedded small int4-32-min --imatrix importance.safetensors");
  auto arguments = std::make_shared<QuantizeArguments>();
  verb->add_option("in", arguments->in, "a model folder, a GGUF file, or `embedded`")
      ->check(NotEmpty)
      ->type_name("IN")
      ->required();
  verb->add_option("out", arguments->out, "a folder")->check(NotEmpty)->type_name("OUT")->required();
  verb->add_option("type", arguments->type, "int8, int4 or a format")
      ->check(NotEmpty)
      ->type_name("{int8,int4,int8-16,int8-32,int8-64,int4-32,int4-32-min}")
      ->required();
  verb->add_option("--imatrix", arguments->imatrix,
                   "safetensors file: by tensor name, how much each input matters ([in] or [experts, in])")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb->add_flag("-f,--force", arguments->force, "replace a model in OUT");
  auto* tensors = verb->add_flag("--tensors", arguments->tensors, "also the error of every tensor");
  verb->add_flag("--json", arguments->json, "one JSON object with every tensor")->excludes(tensors);
  verb->add_option("-t,--threads", arguments->threads, "threads (default: all cores)")->check(CLI::Range(1, 1024));
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto tensors_written = Quantize(program, *arguments);
    if (!tensors_written) {
      program.Fail("quantize", tensors_written.error());
      return;
    }
    if (arguments->json) {
      PrintJson(program, *arguments, *tensors_written);
    } else if (program.loudness != Loudness::kQuiet) {
      PrintText(program, *arguments, *tensors_written);
    }
  });
}

}  // namespace dgemma
