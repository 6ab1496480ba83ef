// `dgemma quantize IN OUT TYPE`: a checkpoint packed for this program, in groups of integers, and the error made.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/try.h"
#include "embedded_model.h"
#include "engine/backend.h"
#include "engine/loaded_model.h"
#include "json_text.h"
#include "model/quantize.h"
#include "model_source.h"
#include "model_target.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "thread_count.h"
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

/// What was written, and what weighed it.
struct Quantized {
  std::vector<QuantizedTensor> tensors;
  std::optional<ImportanceFile> importance;
};

Result<Quantized> Quantize(Program& program, const QuantizeArguments& arguments) {
  DG_CHECK_OK(CheckModelTarget(arguments.out, arguments.in, arguments.force));
  QuantizeOptions options;
  DG_TRY(options.recipe, ParseRecipe(arguments.type));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.in));
  DG_TRY(const Config config, AtPath(arguments.in, ReadConfig(files)));
  Quantized quantized;
  if (!arguments.imatrix.empty()) {
    DG_TRY(quantized.importance, ReadImportance(arguments.imatrix, config));
    options.importance = std::move(quantized.importance->importance);
  }
  options.threads = ThreadsFor(arguments.threads);
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  options.progress = [&](int64_t done, int64_t total) {
    line.Show({"quantizing", done, total});
    return !stop.stop_requested();
  };
  DG_TRY(quantized.tensors, WriteQuantized(files, config, arguments.out, options));
  if (quantized.importance) quantized.importance->importance = std::move(options.importance);
  return quantized;
}

int64_t TotalBytes(const std::vector<QuantizedTensor>& tensors) {
  int64_t bytes = 0;
  for (const QuantizedTensor& tensor : tensors) bytes += tensor.bytes;
  return bytes;
}

void PrintJson(Program& program, const QuantizeArguments& arguments, const Quantized& quantized) {
  boost::json::array list;
  for (const QuantizedTensor& tensor : quantized.tensors) {
    list.push_back({{"name", tensor.name},
                    {"format", Name(tensor.format)},
                    {"bytes", tensor.bytes},
                    {"relative_error", tensor.relative_rms_error},
                    {"largest_error", tensor.largest_error}});
  }
  boost::json::object object{
      {"out", arguments.out}, {"bytes", TotalBytes(quantized.tensors)}, {"tensors", std::move(list)}};
  if (quantized.importance) {
    const ImportanceFile& file = *quantized.importance;
    boost::json::object importance{{"file", arguments.imatrix},
                                   {"form", file.form},
                                   {"matrices", file.importance.size()},
                                   {"entries", file.entries},
                                   {"unknown_names", file.unknown},
                                   {"without_data", file.without_data},
                                   {"data_sets", boost::json::array(file.texts.begin(), file.texts.end())}};
    if (file.chunks) importance["chunks"] = *file.chunks;
    object["importance"] = std::move(importance);
  }
  program.out.Write(JsonText(object) + "\n");
}

/// "importance from imatrix.gguf (GGUF, 120 chunks of wiki.txt): 205 matrices; 3 of 238 entries have unknown names"
std::string ImportanceText(const std::string& path, const ImportanceFile& file) {
  std::string text = fmt::format("importance from {} ({}", PrintableText(path), file.form);
  if (file.chunks) text += fmt::format(", {} chunk{}", *file.chunks, *file.chunks == 1 ? "" : "s");
  if (!file.texts.empty()) {
    text += fmt::format(" of {}", PrintableText(file.texts.front()));
    if (file.texts.size() > 1) text += fmt::format(" and {} more", file.texts.size() - 1);
  }
  text += fmt::format("): {} matri{}", file.importance.size(), file.importance.size() == 1 ? "x" : "ces");
  if (file.unknown > 0) text += fmt::format("; {} of {} entries have unknown names", file.unknown, file.entries);
  if (file.without_data > 0) text += fmt::format("; {} of {} entries hold no data", file.without_data, file.entries);
  return text + "\n";
}

void PrintText(Program& program, const QuantizeArguments& arguments, const Quantized& quantized) {
  const std::vector<QuantizedTensor>& tensors = quantized.tensors;
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
  if (quantized.importance) text += "\n" + ImportanceText(arguments.imatrix, *quantized.importance);
  program.out.Write(text);
}

}  // namespace

void AddQuantize(CLI::App& app, Program& program) {
  CLI::App* verb =
      app.add_subcommand("quantize", "Packs a checkpoint into groups of integers, ready to be mapped and run.");
  verb->footer(
      "Types:\n"
      "  int8   8 bits a weight and one scale a row (int8-row), the fastest\n"
      "  int4   experts 4.5 bits a weight (int4-32-row: step and base for each 32, one scale a row), everything else "
      "int8\n"
      "  or one format for all matrices: int8-row, int8-64, int8-32, int8-16, int4-32-row, int4-32, int4-32-min, ...\n"
      "  Groups with scales of their own are slower and closer to weights of very uneven size.\n"
      "Norms, routers and scalars stay as they are. OUT is a folder; it is mapped as it is, nothing is repacked on "
      "loading.\n"
      "An importance matrix makes inputs that are large on real text lose least: a file of llama-imatrix (GGUF or "
      ".dat) or a "
      "safetensors file with [in] or [experts, in] values by tensor name. Codes that a GGUF model holds already stay.\n"
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
      ->type_name("{int8,int4,int8-row,int8-64,int8-32,int8-16,int4-32-row,int4-32,int4-32-min}")
      ->required();
  verb->add_option(
          "--imatrix", arguments->imatrix,
          "how much each input matters: llama.cpp's imatrix (GGUF or .dat) or a safetensors file by tensor name")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb->add_flag("-f,--force", arguments->force, "replace a model in OUT");
  auto* tensors = verb->add_flag("--tensors", arguments->tensors, "also the error of every tensor");
  verb->add_flag("--json", arguments->json, "one JSON object with every tensor")->excludes(tensors);
  verb->add_option("-t,--threads", arguments->threads, "threads (default: all cores)")->check(IsThreadCount);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto quantized = Quantize(program, *arguments);
    if (!quantized) {
      program.Fail("quantize", quantized.error());
      return;
    }
    if (arguments->json) {
      PrintJson(program, *arguments, *quantized);
    } else if (program.loudness != Loudness::kQuiet) {
      PrintText(program, *arguments, *quantized);
    }
  });
}

}  // namespace dgemma
