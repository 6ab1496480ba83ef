// `dgemma synth OUT`: a checkpoint of random weights in a released shape, to measure speed and memory without the weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "base/try.h"
#include "embedded_model.h"
#include "engine/backend.h"
#include "files/bytes.h"
#include "model/synthesize.h"
#include "model_source.h"
#include "model_target.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "thread_count.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct SynthArguments {
  std::string out;
  std::string shape = "26b";
  std::string type = "int4";
  uint64_t seed = 0;
  bool force = false;
  int threads = 0;
};

Result<void> Synthesize(Program& program, const SynthArguments& arguments) {
  DG_CHECK_OK(CheckModelTarget(arguments.out, "", arguments.force));
  SynthesizeOptions options;
  options.seed = arguments.seed;
  options.threads = ThreadsFor(arguments.threads);
  if (arguments.type == "float32" || arguments.type == "bfloat16") {
    DG_TRY(options.plain, ParseWeightFormat(arguments.type));
  } else {
    DG_TRY(options.recipe, ParseRecipe(arguments.type));
  }
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  options.progress = [&](int64_t done, int64_t total) {
    line.Show({"writing", done, total});
    return !stop.stop_requested();
  };
  std::map<std::string, std::string> texts;
  for (const MemoryFile& file : EmbeddedModelFiles()) {
    if (std::string_view(file.name).starts_with("tokenizer")) texts[std::string(file.name)] = AsText(file.bytes);
  }
  return WriteSynthetic(arguments.shape, arguments.out, texts, options);
}

}  // namespace

void AddSynth(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("synth", "Writes a checkpoint of random weights, to measure speed and memory.");
  verb->footer(
      "Shapes: 26b, the released model without its vision tower, and mid, 407 M parameters in the same proportions.\n"
      "Types: int4 (experts int4, the rest int8), int8, a format of `dgemma quantize`, bfloat16, float32.\n"
      "The tokenizer is the embedded model's; what such a model writes means nothing. 26b takes 15 GB in int4, 26 GB "
      "in int8.\n"
      "\n"
      "Examples:\n"
      "  dgemma synth /tmp/26b-int4 --shape 26b --type int4\n"
      "  dgemma synth /tmp/mid-int8 --shape mid --type int8");
  auto arguments = std::make_shared<SynthArguments>();
  verb->add_option("out", arguments->out, "a folder")->check(NotEmpty)->type_name("OUT")->required();
  verb->add_option("--shape", arguments->shape, "26b or mid")
      ->capture_default_str()
      ->type_name(fmt::format("{{{}}}", fmt::join(SyntheticShapes(), ",")));
  verb->add_option("--type", arguments->type, "int4, int8, a format, bfloat16 or float32")
      ->capture_default_str()
      ->type_name("TYPE");
  verb->add_option("--seed", arguments->seed, "of the weights")->capture_default_str();
  verb->add_flag("-f,--force", arguments->force, "replace a model in OUT");
  verb->add_option("-t,--threads", arguments->threads, "threads (default: all cores)")->check(IsThreadCount);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = Synthesize(program, *arguments);
    if (!done) {
      program.Fail("synth", done.error());
      return;
    }
    program.Note(fmt::format("{}: shape {}, {}", arguments->out, arguments->shape, arguments->type));
  });
}

}  // namespace dgemma
