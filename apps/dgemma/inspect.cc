// `dgemma inspect`: what a checkpoint is, from its configuration and its table of tensors. No weight is read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "engine/backend.h"
#include "engine/loaded_model.h"
#include "engine/memory_plan.h"
#include "files/checkpoint_files.h"
#include "model/config.h"
#include "model/tensor_list.h"
#include "model_source.h"
#include "progress_line.h"
#include "text/utf8.h"
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
  const MemoryPlan plan = PlanMemory(files, config, config.vocab, options, *kernels);
  return Inspected{.name = name, .files = std::move(files), .config = std::move(config), .plan = plan};
}

std::string ShapeText(const TensorBytes& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

// Values by storage type, such as "BF16 3.3 M".
std::map<std::string, uint64_t> ValuesByType(const CheckpointFiles& files) {
  std::map<std::string, uint64_t> values;
  for (const TensorBytes& tensor : files.tensors()) {
    uint64_t count = 1;
    for (const uint64_t extent : tensor.shape) count *= extent;
    values[std::string(Name(tensor.dtype))] += count;
  }
  return values;
}

std::map<std::string, std::string> RolesByName(const Config& config) {
  std::map<std::string, std::string> roles;
  for (const TensorSpec& spec : ListTensors(config)) roles[spec.name] = Name(spec.role);
  return roles;
}

std::string RoleOf(const std::map<std::string, std::string>& roles, std::string_view name) {
  const auto found = roles.find(std::string(name));
  return found != roles.end() ? found->second : "tied";
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
  const auto roles = RolesByName(model.config);
  boost::json::array tensors;
  for (const TensorBytes& tensor : model.files.tensors()) {
    tensors.push_back(
        {{"name", tensor.name},
         {"shape", boost::json::value_from(std::vector<uint64_t>(tensor.shape.begin(), tensor.shape.end()))},
         {"dtype", Name(tensor.dtype)},
         {"bytes", tensor.ByteCount()},
         {"role", RoleOf(roles, tensor.name)},
         {"file", tensor.file}});
  }
  const MemoryPlan& plan = model.plan;
  const boost::json::object object{{"model", model.name},
                                   {"parameters", boost::json::value_from(ValuesByType(model.files))},
                                   {"geometry", GeometryJson(model.config)},
                                   {"plan_bytes",
                                    {{"weights", plan.weights},
                                     {"cache_per_session", plan.cache_per_session},
                                     {"pass", plan.pass},
                                     {"tokenizer", plan.tokenizer},
                                     {"program", plan.program},
                                     {"total", plan.Total()}}},
                                   {"tensors", std::move(tensors)}};
  program.out.Write(boost::json::serialize(object) + "\n");
}

std::string TensorTable(const Inspected& model) {
  const auto roles = RolesByName(model.config);
  size_t widest = 0;
  for (const TensorBytes& tensor : model.files.tensors()) widest = std::max(widest, tensor.name.size());
  std::string table;
  for (const TensorBytes& tensor : model.files.tensors()) {
    table += fmt::format("  {:<{}}  {:<20} {:<5} {:>9}  {}\n", PrintableText(tensor.name), widest, ShapeText(tensor),
                         Name(tensor.dtype), BytesText(static_cast<int64_t>(tensor.ByteCount())),
                         RoleOf(roles, tensor.name));
  }
  return table;
}

void PrintText(Program& program, const Inspected& model) {
  const Config& config = model.config;
  std::string text = PrintableText(model.name) + "\n";
  const auto row = [&](const char* what, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", what, value);
  };
  std::vector<std::string> types;
  for (const auto& [type, values] : ValuesByType(model.files))
    types.push_back(fmt::format("{:.1f} M {}", static_cast<double>(values) / 1e6, type));
  const auto sliding = std::ranges::count_if(config.layers, &LayerConfig::sliding);
  row("parameters", fmt::format("{} in {} tensors", fmt::join(types, ", "), model.files.tensors().size()));
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
  row("memory", fmt::format("{}: weights {}, cache of a session {}, pass {}, tokenizer {}, program {}",
                            BytesText(plan.Total()), BytesText(plan.weights), BytesText(plan.cache_per_session),
                            BytesText(plan.pass), BytesText(plan.tokenizer), BytesText(plan.program)));
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
  verb->add_option("model", source->model, "the model's folder; without it the embedded model")
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
