// `dgemma inspect`: what a checkpoint is, from its configuration and its table of tensors. No weight is read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value_from.hpp>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "engine/adapters.h"
#include "engine/backend.h"
#include "engine/loaded_model.h"
#include "engine/memory_plan.h"
#include "files/checkpoint_files.h"
#include "json_text.h"
#include "model/config.h"
#include "model/quantized_names.h"
#include "model/stored_tensors.h"
#include "model/tensor_list.h"
#include "model_source.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "text_table.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct Inspected {
  std::string name;
  CheckpointFiles files;
  Config config;
  MemoryPlan plan;
};

Result<Inspected> Inspect(const ModelSource& source) {
  const std::string name = IsEmbedded(source) ? "embedded" : source.model;
  DG_TRY(CheckpointFiles files, OpenModelFiles(source.model));
  DG_TRY(Config config, AtPath(name, ReadConfig(files)));
  DG_TRY(const EngineOptions options, FillOptions(source.options, config));
  const auto kernels = MakeKernels(options, config);
  std::vector<PlannedWeight> weights = PlanWeights(files, config, *kernels);
  DG_TRY(const LoadedAdapters adapters, LoadAdapters(options, config));
  const int64_t adapter_bytes = PlanAdapters(adapters.Applied(), *kernels, weights);
  MemoryPlan plan = PlanMemory(weights, config, config.vocab, options);
  plan.adapters = adapter_bytes;
  return Inspected{.name = name, .files = std::move(files), .config = std::move(config), .plan = plan};
}

/// What the list of tensors says of one tensor of the files.
struct Listed {
  std::string role;
  std::string format;  ///< that it is computed in
  bool packed = false;
  std::vector<uint64_t> shape;  ///< of the values; packed panels and quantised parts lie in other shapes
};

/// Values in one format, and the bytes that they take in the files.
struct FormatShare {
  uint64_t values = 0;
  uint64_t bytes = 0;
};

struct Contents {
  std::map<std::string, Listed, std::less<>> tensors;
  std::map<std::string, FormatShare> formats;
  FormatShare all;
  std::map<std::string, std::string> computed_as;  ///< what becomes of codes with scales of their own, by name: "FP8"
};

std::string HowComputed(const StoredRows& run, const WeightFormat& format) {
  if (!format.grouped()) return fmt::format("{}, values as stored", Name(format));
  if (GroupsOf(run.scales) == format) return fmt::format("{}, codes as stored, scales in half precision", Name(format));
  return fmt::format("{}, each value within 1/254 of the largest of its {}", Name(format), format.group);
}

Contents ContentsOf(const Inspected& model) {
  Contents contents;
  for (const TensorSpec& spec : ListTensors(model.config)) {
    std::vector<std::string_view> names;
    const auto stored = FindStored(model.files, spec, &names);
    if (!stored) continue;  // cannot be: ReadConfig has found every tensor
    const std::string format = Name(NaturalFormat(*stored));
    for (FormatShare* share : {&contents.formats[format], &contents.all}) {
      share->values += spec.Values();
      for (const std::string_view name : names) share->bytes += model.files.Tensor(name)->ByteCount();
    }
    for (const StoredRows& run : stored->runs) {
      if (run.scaled()) contents.computed_as.emplace(Name(run.scales.kind), HowComputed(run, NaturalFormat(*stored)));
    }
    for (const std::string_view name : names) {
      contents.tensors[std::string(name)] = {Name(spec.role), format, stored->packed(), spec.shape};
    }
  }
  return contents;
}

Listed ListedAs(const Contents& contents, const TensorBytes& tensor) {
  const auto found = contents.tensors.find(tensor.name);
  Listed listed = found != contents.tensors.end()
                      ? found->second
                      : Listed{LayerOfUnusedScale(tensor.name) ? "unused" : "tied", "", false, {}};
  if (!listed.packed) listed.shape.assign(tensor.shape.begin(), tensor.shape.end());
  return listed;
}

double BitsEach(const FormatShare& share) {
  return 8.0 * static_cast<double>(share.bytes) / static_cast<double>(std::max<uint64_t>(share.values, 1));
}

/// "3.3 M", "41.2 k", "96": two digits or more, whatever the size.
std::string CountText(uint64_t count) {
  if (count < 1000) return fmt::format("{}", count);
  return count < 1'000'000 ? fmt::format("{:.1f} k", static_cast<double>(count) / 1e3)
                           : fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
}

boost::json::object GeometryJson(const Config& config) {
  boost::json::array layers;
  for (const LayerConfig& layer : config.layers) {
    layers.push_back(
        {{"kind", layer.sliding ? "sliding" : "full"}, {"head_size", layer.head_size}, {"kv_heads", layer.kv_heads}});
  }
  return {{"vocabulary", config.vocab},
          {"width", config.width},
          {"dense_width", config.hidden},
          {"heads", config.heads},
          {"experts", config.experts},
          {"active_experts", config.active_experts},
          {"expert_width", config.expert_hidden},
          {"window", config.window},
          {"max_positions", config.max_positions},
          {"canvas", config.canvas},
          {"softcap", config.softcap},
          {"layers", std::move(layers)},
          {"vision", config.vision.has_value()}};
}

void PrintJson(Program& program, const Inspected& model) {
  const Contents contents = ContentsOf(model);
  boost::json::array tensors;
  for (const TensorBytes& tensor : model.files.tensors()) {
    const Listed listed = ListedAs(contents, tensor);
    tensors.push_back({{"name", tensor.name},
                       {"shape", boost::json::value_from(listed.shape)},
                       {"dtype", Name(tensor.dtype)},
                       {"format", listed.format},
                       {"bytes", tensor.ByteCount()},
                       {"role", listed.role},
                       {"file", tensor.file}});
  }
  boost::json::object parameters;
  for (const auto& [format, share] : contents.formats)
    parameters[format] = {{"values", share.values}, {"bits_each", BitsEach(share)}};
  const MemoryPlan& plan = model.plan;
  const boost::json::object object{{"model", model.name},
                                   {"parameters", std::move(parameters)},
                                   {"computed_as", boost::json::value_from(contents.computed_as)},
                                   {"geometry", GeometryJson(model.config)},
                                   {"plan_bytes",
                                    {{"weights", plan.weights},
                                     {"adapters", plan.adapters},
                                     {"cache_per_session", plan.cache_per_session},
                                     {"skip_per_session", plan.skip_per_session},
                                     {"pass", plan.pass},
                                     {"tokenizer", plan.tokenizer},
                                     {"program", plan.program},
                                     {"total", plan.Total()}}},
                                   {"tensors", std::move(tensors)}};
  program.out.Write(JsonText(object) + "\n");
}

/// What the file calls the values, and what they are computed as where that has another name.
std::string TypeText(const TensorBytes& tensor, const Listed& listed) {
  if (listed.packed) return listed.format;
  const bool grouped = ParseWeightFormat(listed.format).value_or(kFloat32Weights).grouped();
  return fmt::format("{}{}{}", Name(tensor.dtype), grouped ? " as " : "", grouped ? listed.format : "");
}

std::string TensorTable(const Inspected& model) {
  const Contents contents = ContentsOf(model);
  TextTable table({"tensor", "shape", "type", "bytes", "role"}, {0, 1, 2, 4});
  for (const TensorBytes& tensor : model.files.tensors()) {
    const Listed listed = ListedAs(contents, tensor);
    table.Add({PrintableText(tensor.name), fmt::format("[{}]", fmt::join(listed.shape, ", ")), TypeText(tensor, listed),
               BytesText(static_cast<int64_t>(tensor.ByteCount())), listed.role});
  }
  return table.Aligned();
}

void PrintText(Program& program, const Inspected& model) {
  const Config& config = model.config;
  std::string text = PrintableText(model.name) + "\n";
  const auto row = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", what, value);
  };
  const Contents contents = ContentsOf(model);
  std::vector<std::string> formats;
  for (const auto& [format, share] : contents.formats) {
    formats.push_back(fmt::format("{} {} ({:.2f} bits)", CountText(share.values), format, BitsEach(share)));
  }
  const auto sliding = std::ranges::count_if(config.layers, &LayerConfig::sliding);
  row("parameters",
      fmt::format("{:.1f} M in {} tensors, {:.2f} bits each", static_cast<double>(contents.all.values) / 1e6,
                  model.files.tensors().size(), BitsEach(contents.all)));
  row("formats", fmt::format("{}", fmt::join(formats, ", ")));
  for (const auto& [kind, how] : contents.computed_as) row(kind.c_str(), "computed as " + how);
  row("canvas", fmt::format("{} tokens", config.canvas));
  row("vocabulary", fmt::format("{}", config.vocab));
  row("context", fmt::format("{} positions", config.max_positions));
  row("width", fmt::format("{}, dense {}", config.width, config.hidden));
  row("layers", fmt::format("{}: {} sliding (window {}), {} full", config.layers.size(), sliding, config.window,
                            static_cast<int64_t>(config.layers.size()) - sliding));
  row("heads", fmt::format("{}", config.heads));
  for (const LayerConfig& layer : config.layers) {
    const std::string kind = fmt::format("  {}: {} key/value heads of {}", layer.sliding ? "sliding" : "full",
                                         layer.kv_heads, layer.head_size);
    if (text.find(kind) == std::string::npos) text += "             " + kind + "\n";
  }
  row("experts", fmt::format("{} of {}, width {}", config.active_experts, config.experts, config.expert_hidden));
  row("vision", config.vision
                    ? fmt::format("{} layers, width {} (not used yet)", config.vision->layers, config.vision->width)
                    : "none");
  const MemoryPlan& plan = model.plan;
  row("memory",
      fmt::format("{}: weights {}{}, cache of a session {}, pass {}, tokenizer {}, program {}", BytesText(plan.Total()),
                  BytesText(plan.weights), plan.adapters > 0 ? ", adapters " + BytesText(plan.adapters) : "",
                  BytesText(plan.cache_per_session), BytesText(plan.pass), BytesText(plan.tokenizer),
                  BytesText(plan.program)));
  program.out.Write(text);
}

enum class Form { kSummary, kTensors, kJson };

}  // namespace

void AddInspect(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand(
      "inspect",
      "What a checkpoint is: geometry, memory plan, tensors. Reads no weights; checks the table of tensors.");
  verb->footer(
      "Examples:\n  dgemma inspect embedded\n  dgemma inspect DIR --tensors\n  dgemma inspect DIR --ctx 4096 --json");
  auto source = std::make_shared<ModelSource>();
  auto form = std::make_shared<Form>(Form::kSummary);
  verb->add_option("model", source->model, "a model folder or a GGUF file; without it the embedded model")
      ->check(NotEmpty)
      ->type_name("MODEL");
  auto* tensors = verb->add_flag_callback(
      "--tensors", [form] { *form = Form::kTensors; }, "also the tensors: shape, type, bytes, role");
  auto* json = verb->add_flag_callback("--json", [form] { *form = Form::kJson; }, "one JSON object, tensors included");
  tensors->excludes(json);
  AddLoadFlags(*verb, *source, ModelFlag::kNo);
  verb->callback([source, form, &program] {
    const auto model = Inspect(*source);
    if (!model) {
      program.Fail("inspect", model.error());
      return;
    }
    if (*form == Form::kJson) {
      PrintJson(program, *model);
    } else {
      PrintText(program, *model);
      if (*form == Form::kTensors) program.out.Write("\n" + TensorTable(*model));
    }
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
