// `dgemma bench`: what this machine can do, and what each pass of a model makes of it; two models or two reports
// compared; single
// operations. What is timed and how often is in bench_measure.h, the figures are printed in bench_report.h.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "base/try.h"
#include "bench_measure.h"
#include "bench_ops.h"
#include "bench_passes.h"
#include "bench_report.h"
#include "engine/backend.h"
#include "model/quantize.h"
#include "model/synthesize.h"
#include "numbers.h"
#include "settings.h"
#include "verbs.h"

namespace dgemma {
namespace {

enum class Form { kTable, kMarkdown, kJson };

struct BenchArguments {
  ModelSource source;
  std::vector<std::string> compared;
  int64_t prompt_tokens = 128;
  MeasureOptions measure;
  Settings settings;  // only --skip
  Form form = Form::kTable;
  bool ops = false;
  std::string shape, format;
  OpsToTime operations;

  TableForm table() const { return form == Form::kMarkdown ? TableForm::kMarkdown : TableForm::kAligned; }
};

/// Reports of these models and report files, in their order.
Result<std::vector<BenchReport>> Reports(Program& program, const std::vector<std::string>& sides,
                                         const BenchArguments& arguments) {
  std::vector<std::unique_ptr<PassBench>> models;
  for (const std::string& side : sides) {
    if (side.ends_with(".json")) continue;
    ModelSource source = arguments.source;
    source.model = side;
    DG_TRY(std::unique_ptr<PassBench> model, PassBench::Load(program, source, arguments.prompt_tokens));
    if (arguments.settings.skip && arguments.settings.skip->settled_steps > 0) DG_CHECK_OK(model->AddSkipping());
    models.push_back(std::move(model));
  }
  std::vector<BenchReport> measured, reports;
  if (!models.empty()) {
    MeasureOptions options = arguments.measure;
    options.threads = ThreadsFor(arguments.source.options.threads);
    options.skip = arguments.settings.skip.value_or(SkipOptions());
    DG_TRY(measured, Measure(program, models, options));
  }
  for (auto next = measured.begin(); const std::string& side : sides) {
    if (!side.ends_with(".json")) {
      reports.push_back(*next++);
      continue;
    }
    DG_TRY(BenchReport report, ReadReport(side));
    reports.push_back(std::move(report));
  }
  return reports;
}

Result<void> RunPasses(Program& program, const BenchArguments& arguments) {
  std::vector<std::string> sides = arguments.compared;
  if (sides.size() != 2) sides.insert(sides.begin(), arguments.source.model);
  if (arguments.compared.size() == 2 && !arguments.source.model.empty())
    return Fail(StatusCode::kInvalidArgument, "--compare: one model or report besides MODEL, or two without it");
  DG_TRY(const std::vector<BenchReport> reports, Reports(program, sides, arguments));
  if (reports.size() == 1) {
    program.out.Write(arguments.form == Form::kJson ? ReportJson(reports[0])
                                                    : ReportTable(reports[0], arguments.table()));
  } else {
    program.out.Write(arguments.form == Form::kJson ? ComparisonJson(reports[0], reports[1])
                                                    : ComparisonTable(reports[0], reports[1], arguments.table()));
  }
  return {};
}

Result<void> RunOps(Program& program, BenchArguments& arguments) {
  if (arguments.settings.skip)
    return Fail(StatusCode::kInvalidArgument, "--skip: not with --ops, which times no passes");
  if (!arguments.source.options.adapters.empty())
    return Fail(StatusCode::kInvalidArgument, "--lora: not with --ops, whose weights are random");
  if (!arguments.compared.empty())
    return Fail(StatusCode::kInvalidArgument, "--compare: not with --ops, whose figures are of operations");
  OpsToTime& ops = arguments.operations;
  const EngineOptions& options = arguments.source.options;
  std::string name = arguments.shape;
  if (!arguments.shape.empty()) {
    DG_TRY(const std::string text, SyntheticConfig(arguments.shape));
    DG_TRY(ops.config, ParseConfig(text));
  } else {
    name = IsEmbedded(arguments.source) ? "embedded" : arguments.source.model;
    DG_TRY(const CheckpointFiles files, OpenModelFiles(arguments.source.model));
    DG_TRY(ops.config, AtPath(name, ReadConfig(files)));
    TakeFormats(PlanWeights(files, ops.config, *MakeKernels(options, ops.config)), ops);
  }
  if (!arguments.format.empty()) {
    if (const auto recipe = ParseRecipe(arguments.format)) {
      ops.matrices = recipe->matrices;
      ops.experts = recipe->experts;
      ops.table = recipe->embedding;
    } else {
      DG_TRY(ops.matrices, ParseWeightFormat(arguments.format));
      ops.experts = ops.table = ops.matrices;
    }
  }
  ops.cached_tokens = arguments.prompt_tokens;
  if (arguments.measure.repeats > 0) ops.repeats = arguments.measure.repeats;
  const MachineRates machine = MeasureMachine(ThreadsFor(options.threads));
  DG_TRY(const std::vector<OpTiming> timings, TimeOps(ops, options));
  if (timings.empty()) {
    return Fail(
        StatusCode::kInvalidArgument,
        fmt::format("--only: no operation has {} in its name (without --only all are listed)", Quoted(ops.only)));
  }
  if (arguments.form == Form::kJson) {
    program.out.Write(OpsJson(timings, machine));
  } else {
    program.out.Write(fmt::format("{}: {} rows, matrices {}, experts {}, table {}\n{}\n\n{}", name, ops.config.canvas,
                                  Name(ops.matrices), Name(ops.experts), Name(ops.table), MachineText(machine),
                                  OpsTable(timings, machine, arguments.table())));
  }
  return {};
}

void AddOpsFlags(CLI::App& verb, const std::shared_ptr<BenchArguments>& arguments) {
  const char* group = "Operations";
  CLI::Option* ops =
      verb.add_flag("--ops", arguments->ops, "single operations in the model's shapes, random weights")->group(group);
  verb.add_option("--only", arguments->operations.only, "operations whose name contains this")
      ->needs(ops)
      ->type_name("TEXT")
      ->group(group);
  verb.add_option("--shape", arguments->shape, "shapes of `dgemma synth` instead of a model's: 26b, mid")
      ->needs(ops)
      ->check(NotEmpty)
      ->type_name("SHAPE")
      ->group(group);
  verb.add_option("--format", arguments->format, "of all weights: float32, bfloat16, int8-32, int4-32-min ...")
      ->needs(ops)
      ->check(NotEmpty)
      ->type_name("FORMAT")
      ->group(group);
  verb.add_option_function<std::string>(
          "--clock",
          [arguments](const std::string& text) {
            arguments->operations.clock = text == "cpu" ? OpClock::kProcess : OpClock::kWall;
          },
          "cpu counts the process's own time: for -t 1 on a machine with other work")
      ->needs(ops)
      ->check(CLI::IsMember({"wall", "cpu"}))
      ->type_name("{wall,cpu}")
      ->group(group);
}

}  // namespace

void AddBench(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand(
      "bench", "Measures this machine and times each pass of a model: prompts, steps, commits, single tokens.");
  verb->footer(
      "Examples:\n  dgemma bench\n  dgemma bench DIR -t 8 --json > before.json\n  dgemma bench --compare before.json "
      "after.json\n  dgemma bench --skip\n  dgemma bench DIR --compare OTHER-DIR\n  dgemma bench DIR --ops --only "
      "experts\n"
      "\n"
      "Every pass is run for about two seconds, three times at least unless it takes seconds; steps are forced (no "
      "early stop). With --skip also steps that leave out a quarter, a half and three quarters of a canvas's rows, and "
      "what a canvas would take if so many were settled.");
  auto arguments = std::make_shared<BenchArguments>();
  verb->add_option("model", arguments->source.model, "a model folder or a GGUF file; without it the embedded model")
      ->check(NotEmpty)
      ->type_name("MODEL");
  verb->add_option("--compare", arguments->compared, "a model or a report (.json) to compare with, or two of them")
      ->expected(1, 2)
      ->check(NotEmpty)
      ->type_name("OTHER");
  verb->add_option("--prompt", arguments->prompt_tokens, "cached tokens behind which passes are timed (default 128)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  verb->add_option("--prefill", arguments->measure.prefill, "lengths of prompts to time (default 128,512)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N,...");
  verb->add_option_function<std::string>(
          "-r,--repeats",
          [arguments](const std::string& text) {
            const auto value = ParseNumber<int>(text, 1, 1000);
            if (!value) throw CLI::ValidationError("--repeats", value.error().message);
            arguments->measure.repeats = *value;
          },
          "how often each is timed")
      ->type_name("N");
  auto* json = verb->add_flag_callback("--json", [arguments] { arguments->form = Form::kJson; }, "one JSON object");
  verb->add_flag_callback(
          "--markdown", [arguments] { arguments->form = Form::kMarkdown; }, "tables in markdown")
      ->excludes(json);
  AddSetting(*verb, arguments->settings, "skip");
  AddOpsFlags(*verb, arguments);
  AddLoadFlags(*verb, arguments->source, ModelFlag::kNo);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = arguments->ops ? RunOps(program, *arguments) : RunPasses(program, *arguments);
    if (!done) program.Fail("bench", done.error());
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
