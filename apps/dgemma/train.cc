// `dgemma train MODEL --data FILE --out DIR`: trains a model's weights, or an adapter on frozen ones, with checkpoints that a stopped
// run goes on from.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <sstream>
#include <utility>

#include "base/try.h"
#include "embedded_model.h"
#include "engine/backend.h"
#include "engine/guard.h"
#include "engine/loaded_model.h"
#include "engine/memory_plan.h"
#include "evaluate.h"
#include "files/atomic_file.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "machine.h"
#include "model/adapter_files.h"
#include "model_source.h"
#include "numbers.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "train/checkpoint.h"
#include "train/html_report.h"
#include "train/new_model.h"
#include "train/report_text.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/tensorboard.h"
#include "train/trainer.h"
#include "train_arguments.h"
#include "verbs.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

/// config.json and tokenizer.json are no larger.
constexpr uint64_t kTextBytes = 256u << 20;

/// All of a run that lives as long as it.
struct Run {
  std::optional<FolderLock> lock{};
  std::filesystem::path folder{};
  ModelSource source{};  ///< of the model that the run began with
  ModelBase base;
  std::optional<Adapter> adapter{};  ///< what is trained, where it is no weights; values as the run began
  LoadedModel loaded{};
  std::unique_ptr<TrainKernels> kernels{};
  std::unique_ptr<Trainer> trainer{};
  WriteTrained write{};
  RunIdentity identity{};
  std::vector<EvaluationSuite> suites{};
  ReportSubject subject{};
  std::optional<RunLog> log{};
  std::optional<EventFile> events{};
  bool replaces_old_run = false;  ///< the folder's checkpoints go when the first one of this run is saved

  std::filesystem::path checkpoints() const { return folder / "checkpoints"; }
  std::filesystem::path result() const { return folder / (adapter ? "adapter" : "model"); }
  /// The model as a checkpoint has it.
  ModelSource Saved(const std::filesystem::path& checkpoint) const {
    if (!adapter) return {checkpoint.string(), source.options};
    ModelSource adapted = source;
    adapted.options.adapters = {{checkpoint.string(), 1.0f}};
    return adapted;
  }
};

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

template <typename Line>
Result<void> Log(Run& run, int64_t step, const Line& line) {
  DG_CHECK_OK(run.log->Append(line));
  return run.events->Append(step, Now(), ScalarsOf(line));
}

void PrintPlan(Program& program, const TrainArguments& a, const Run& run, const Config& config,
               std::span<const PlannedWeight> weights, const Dataset& data, const MemoryPlan& plan) {
  const int64_t values =
      std::transform_reduce(weights.begin(), weights.end(), int64_t{0}, std::plus<>(),
                            [](const PlannedWeight& w) { return static_cast<int64_t>(w.spec.Values()); });
  const auto millions = [](int64_t count) { return fmt::format("{:.2f} M", static_cast<double>(count) / 1e6); };
  const TrainOptions& o = a.options;
  const std::string trained =
      run.adapter ? fmt::format("{} parameters frozen in {}, {} trained in an adapter", millions(values),
                                FormatNames(weights), millions(AdapterValues(*run.adapter)))
                  : millions(values) + " parameters trained in float32";
  program.Note(fmt::format("model: {}, {} layers, canvas {}", trained, config.layers.size(), config.canvas));
  for (const std::string& line : Describe(data.statistics())) program.Note("data: " + line);
  program.Note(
      fmt::format("run: {} steps of {} examples ({:.1f} epochs), rate {:g} {} after {} steps of warm-up, seed {}",
                  o.steps, o.batch, static_cast<double>(o.steps * o.batch) / static_cast<double>(data.size()),
                  o.schedule.peak, a.schedule, o.schedule.warmup, o.seed));
  program.Note(fmt::format("memory: {} planned, {} of it weights; beside the program and the data",
                           BytesText(plan.weights + plan.pass), BytesText(plan.weights)));
}

void PrintStep(Program& program, const StepLine& line, const TrainOptions& options, double step_seconds) {
  const StepReport& report = line.report;
  int64_t rows = 0, correct = 0;
  for (const auto& [task, counts] : report.tasks) {
    rows += counts.rows;
    correct += counts.correct;
  }
  program.Note(fmt::format(
      "step {}/{}  diffusion {:.4f}  next token {:.4f}  right {:.1f} %  norm {:.2f}  rate {:.2e}  {:.0f} "
      "tok/s  {}  {} left",
      report.step + 1, options.steps, report.diffusion_loss, report.next_token_loss,
      100.0 * static_cast<double>(correct) / static_cast<double>(std::max<int64_t>(rows, 1)), report.gradient_norm,
      report.rate, static_cast<double>(report.rows) / step_seconds, BytesText(line.memory_bytes),
      DurationText(step_seconds * static_cast<double>(options.steps - report.step - 1))));
}

/// A checkpoint, what its weights answer, and the report.
Result<void> SaveAndEvaluate(Program& program, const TrainArguments& a, Run& run, std::stop_token stop,
                             ProgressLine& waiting) {
  const int64_t taken = run.trainer->steps_taken();
  if (!run.trainer->optimizer().Finite()) {
    return Fail(StatusCode::kInternal,
                fmt::format("step {}: weights or moments are no longer finite (a smaller --rate?); the last "
                            "checkpoint is the one before",
                            taken));
  }
  DG_CHECK_OK(run.log->Sync());
  if (std::exchange(run.replaces_old_run, false)) RemoveCheckpoints(run.checkpoints());
  DG_TRY(const std::filesystem::path saved,
         SaveCheckpoint(run.write, run.trainer->optimizer(), *run.kernels, run.identity, run.checkpoints(), a.keep));
  for (const EvaluationSuite& suite : run.suites) {
    if (stop.stop_requested()) break;
    DG_TRY(const std::unique_ptr<Engine> engine, LoadEngine(run.Saved(saved)));
    const auto evaluation = Evaluate(suite, *engine, {engine->Defaults(), taken, stop}, [&](int64_t done) {
      waiting.Show(fmt::format("{}: {} of {} answers", suite.name, done, suite.questions.size()));
    });
    waiting.Clear();
    if (!evaluation && evaluation.error().code == StatusCode::kCancelled)
      break;  // the checkpoint is there; the run ends anyway
    if (!evaluation) return std::unexpected(evaluation.error());
    DG_CHECK_OK(Log(run, taken, evaluation->line));
    for (const SampleLine& sample : evaluation->samples) DG_CHECK_OK(run.log->Append(sample));
    const TaskScore all = evaluation->line.all();
    program.Note(fmt::format("{}: {} of {} right, {:.1f} steps a canvas", suite.name, all.correct, all.answers,
                             all.steps_per_canvas()));
  }
  return SaveHtmlReport(run.folder / "report.html", run.subject, run.log->history());
}

Result<void> RunSteps(Program& program, const TrainArguments& a, Run& run, int64_t data_size) {
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  const Clock::time_point begin = Clock::now();
  const int64_t first = run.trainer->steps_taken();
  const double seconds_before = run.log->history().last_step ? run.log->history().last_step->seconds : 0;
  int64_t saved = first;
  ProgressLine waiting(program);
  while (run.trainer->steps_taken() < a.options.steps) {
    waiting.Show(fmt::format("step {} of {}", run.trainer->steps_taken() + 1, a.options.steps));
    const auto report = run.trainer->Step(stop.get_token());
    if (!report) {  // nothing has changed since the step before, whose weights are worth keeping
      waiting.Clear();
      if (run.trainer->steps_taken() > saved) {
        stop.request_stop();  // no evaluation
        DG_CHECK_OK(SaveAndEvaluate(program, a, run, stop.get_token(), waiting));
        program.Note(fmt::format("saved after {} steps; --resume goes on from there", run.trainer->steps_taken()));
      }
      return std::unexpected(report.error());
    }
    const int64_t taken = run.trainer->steps_taken();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    StepLine line{*report, taken * a.options.batch};
    line.epoch = static_cast<double>(line.examples) / static_cast<double>(data_size);
    line.rows_per_second = static_cast<double>(report->rows) * static_cast<double>(taken - first) / seconds;
    line.seconds = seconds_before + seconds;
    line.memory_bytes = ResidentBytes();
    DG_CHECK_OK(Log(run, report->step, line));
    if (taken % a.log_every == 0 || taken == a.options.steps || taken == first + 1) {
      waiting.Clear();
      PrintStep(program, line, a.options, seconds / static_cast<double>(taken - first));
    }
    if (taken % a.save_every == 0 || taken == a.options.steps) {
      DG_CHECK_OK(SaveAndEvaluate(program, a, run, stop.get_token(), waiting));
      saved = taken;
    }
  }
  // An older result goes first, so that the new one appears whole; the checkpoint has the same weights.
  std::error_code ignored;
  std::filesystem::remove_all(run.result(), ignored);
  DG_CHECK_OK(SaveTrained(run.write, run.trainer->optimizer(), run.result()));
  program.Note(fmt::format("{}: the {} after {} steps; {}: the curves", run.result().string(),
                           run.adapter ? "adapter" : "model", run.trainer->steps_taken(),
                           (run.folder / "report.html").string()));
  return {};
}

/// The outputs for people. A run that goes on keeps what it had logged up to its checkpoint.
Result<void> OpenLogs(const TrainArguments& a, const Dataset& data, Run& run) {
  if (!run.lock) {
    DG_TRY(run.lock, FolderLock::Take(run.folder));
  }
  RemoveStaleTemporaries(run.folder);
  const int64_t first = run.trainer->steps_taken();
  DG_TRY(RunLog log, RunLog::Open(run.folder / "metrics.jsonl", first));
  run.log.emplace(std::move(log));
  DG_TRY(EventFile events, EventFile::Create(run.folder, first, Now()));
  run.events.emplace(std::move(events));
  run.subject.model = a.new_config.empty() ? a.model : "new: " + a.new_config;
  run.subject.parameters = ParameterCount(run.loaded.model->config);
  run.subject.trained_parameters = run.trainer->optimizer().values();
  run.subject.planned_steps = a.options.steps;
  run.subject.dataset = &data.statistics();
  run.subject.facts = {{"Batch", fmt::format("{} examples", a.options.batch)},
                       {"Rate", fmt::format("{:g}, {}, {} steps of warm-up", a.options.schedule.peak, a.schedule,
                                            a.options.schedule.warmup)},
                       {"Seed", fmt::format("{}", a.options.seed)},
                       {"Machine", run.loaded.kernels->Description()}};
  if (!a.lora_file.empty()) run.subject.facts.emplace_back("Adapter", "going on with " + a.lora_file);
  if (a.lora.rank != 0) {
    run.subject.facts.emplace_back(
        "Adapter", fmt::format("rank {}, {} roles, {}", a.lora.rank, a.lora_roles, fmt::join(a.lora.targets, " ")));
  }
  return {};
}

/// kResourceExhausted when these float32 weights alone are more than there is; what is wrong with the configuration.
Result<void> CheckNewModel(const std::string& path, const std::string& config_text) {
  DG_TRY(const Config config, At(path, ParseConfig(config_text)));
  MemoryPlan plan;
  plan.weights = ParameterCount(config) * static_cast<int64_t>(sizeof(float));
  return CheckMemory(plan);
}

/// The folder as the run finds it, and what it goes on from.
struct FoundFolder {
  std::optional<FolderLock> lock{};
  std::optional<std::filesystem::path> resumed{};
};

/// Refuses what would lose an older run, or files that are no run's.
Result<void> CheckFolder(const TrainArguments& a, const std::optional<std::filesystem::path>& newest) {
  if (newest && !a.resume && !a.force) {
    return Fail(StatusCode::kInvalidArgument, a.out + ": holds a run already (--resume goes on, --force starts again)");
  }
  const bool goes_on = newest && a.resume;
  std::vector<std::string> inputs;
  if (!goes_on || a.TrainsAdapter()) inputs.push_back(a.model);
  if (!goes_on) inputs.push_back(a.lora_file);
  inputs.insert(inputs.end(), a.data.begin(), a.data.end());
  inputs.insert(inputs.end(), a.eval.begin(), a.eval.end());
  const std::filesystem::path folder = a.out;
  return CheckRunPlaces({folder / "checkpoints", folder / (a.TrainsAdapter() ? "adapter" : "model")}, goes_on, a.force,
                        inputs);
}

/// A run of weights does not go on as one of an adapter, nor the other way round.
Result<void> CheckKind(const TrainArguments& a, const std::filesystem::path& checkpoint) {
  std::error_code ignored;
  const bool adapter = std::filesystem::exists(checkpoint / "adapter_config.json", ignored);
  if (adapter == a.TrainsAdapter() || !std::filesystem::exists(checkpoint, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument,
              checkpoint.string() + (adapter ? ": trains an adapter (--lora-rank or --lora as it began)"
                                             : ": trains all weights (without --lora-rank and --lora)"));
}

/// The files that a run begins with, or goes on from.
Result<CheckpointFiles> OpenBase(const TrainArguments& a, const std::optional<std::filesystem::path>& resumed) {
  if (resumed && !a.TrainsAdapter()) return OpenCheckpoint(*resumed);
  if (a.new_config.empty()) return OpenModelFiles(a.model);
  DG_TRY(const std::string config_text, ReadWholeFile(a.new_config, kTextBytes));
  DG_TRY(const std::string tokenizer_text, ReadWholeFile(a.tokenizer, kTextBytes));
  DG_CHECK_OK(CheckNewModel(a.new_config, config_text));
  return NewModel(config_text, tokenizer_text, a.options.seed);
}

/// The adapter that a run begins with, or goes on from; none when weights are trained.
Result<std::optional<Adapter>> OpenAdapter(const TrainArguments& a, const Config& config,
                                           const std::optional<std::filesystem::path>& resumed) {
  if (!a.TrainsAdapter()) return std::nullopt;
  if (resumed || !a.lora_file.empty()) {
    DG_TRY(Adapter read, ReadAdapter(resumed ? resumed->string() : a.lora_file, config));
    return std::optional(std::move(read));
  }
  DG_TRY(Adapter made, NewAdapter(config, a.lora, a.options.seed));
  return std::optional(std::move(made));
}

/// Loads the model and makes the trainer of its weights or of the run's adapter; refuses before that what does not fit into memory.
Result<void> MakeTrainer(Program& program, const TrainArguments& a, Config config, const Dataset& data, Run& run) {
  const auto float32 = [](const TensorSpec&, const StoredTensor&) { return kFloat32Weights; };
  const FormatChoice format = run.adapter ? FormatChoice(ComputeFormat) : FormatChoice(float32);
  std::unique_ptr<Kernels> kernels = MakeKernels(run.source.options, config);
  std::vector<PlannedWeight> planned = PlanWeights(run.base.files, config, *kernels, format);
  const TrainLimits limits = LimitsOf(a.options);
  std::vector<AppliedAdapter> applied;
  if (run.adapter) applied.push_back({&*run.adapter, 1});
  const int64_t adapter_bytes = PlanAdapters(applied, *kernels, planned);
  MemoryPlan plan;
  plan.weights = PlannedWeightBytes(planned) + adapter_bytes;
  plan.pass = Trainer::PlannedBytes(config, run.adapter ? adapter_bytes : plan.weights, a.options) +
              PlannedScratchBytes(run.source.options, config, planned, limits.rows, limits.canvases) +
              PlannedTrainScratchBytes(run.source.options, config, planned, limits.rows);
  if (program.loudness != Loudness::kQuiet) PrintPlan(program, a, run, config, planned, data, plan);
  if (const auto enough = CheckMemory(plan); !enough) {
    Status status = enough.error();
    status.message += " (less: a smaller --pass-rows or --max-tokens, or --lora-rank)";
    return std::unexpected(std::move(status));
  }
  if (a.dry_run) return {};
  ProgressLine waiting(program);
  const LoadProgress loading = [&waiting](int64_t done, int64_t total) { waiting.Show({"loading", done, total}); };
  DG_TRY(run.loaded, LoadModel(run.base.files, std::move(config), std::move(kernels), loading, format));
  waiting.Clear();
  Model& model = *run.loaded.model;
  DG_CHECK_OK(AttachAdapters(applied, model.config, model.weights, *run.loaded.kernels));
  run.kernels = MakeTrainKernels(*run.loaded.kernels);
  const ListTrained trained =
      run.adapter ? TrainAdapters(model.config, model.weights) : TrainWeights(model.config, model.weights);
  run.write = run.adapter ? WriteTrainedAdapter(*run.adapter, model.config, model.weights, *run.kernels,
                                                a.model == "embedded" ? "" : a.model)
                          : WriteModel(run.base, model.config, *run.kernels);
  DG_TRY(run.trainer, Trainer::Create(model, *run.kernels, data, a.options, trained));
  return {};
}

/// Checks the arguments against what is in --out, and holds that folder where it exists.
Result<FoundFolder> OpenFolder(TrainArguments& a) {
  FoundFolder found;
  std::error_code ignored;
  const bool there = !a.out.empty() && std::filesystem::exists(a.out, ignored);
  if (there && !a.dry_run) {
    DG_TRY(found.lock, FolderLock::Take(a.out));
  }
  const auto newest = there ? NewestCheckpoint(std::filesystem::path(a.out) / "checkpoints") : std::nullopt;
  DG_CHECK_OK(CheckArguments(a, newest.has_value()));
  if (!a.dry_run) DG_CHECK_OK(CheckFolder(a, newest));
  if (!a.resume || !newest) return found;
  DG_CHECK_OK(CheckKind(a, *newest));
  if (a.model.empty() && a.new_config.empty()) a.model = newest->string();
  found.resumed = newest;
  return found;
}

Result<void> Train(Program& program, CLI::App& verb, TrainArguments& a) {
  DG_CHECK_OK(ReadConfigFile(verb, a.config_file));
  DG_TRY(FoundFolder found, OpenFolder(a));
  const auto& resumed = found.resumed;
  DG_TRY(CheckpointFiles files, OpenBase(a, resumed));
  const std::string opened = resumed && !a.TrainsAdapter() ? resumed->string() : a.model;
  DG_TRY(const Config config, AtPath(opened, ReadConfig(files)));
  DG_CHECK_OK(RequireCanvases(config));
  DG_CHECK_OK(FillOptions(a, config));
  DG_TRY(const Tokenizer tokenizer, ReadTokenizer(files, config));
  DG_TRY(const ExampleMaker maker, ExampleMaker::Create(tokenizer, a.options.examples));
  a.options.examples = maker.options();  // with the tokenizer's end of text
  DatasetOptions data_options;
  data_options.examples = a.options.examples;
  data_options.faults = a.strict ? FaultPolicy::kRefuse : FaultPolicy::kLeaveOut;
  ProgressLine waiting(program);
  waiting.Show("reading data");
  DG_TRY(const Dataset data, Dataset::Open(a.data, tokenizer, data_options));
  waiting.Clear();
  DG_TRY(ModelTexts texts, ReadTexts(files));
  DG_TRY(std::optional<Adapter> adapter, OpenAdapter(a, config, resumed));

  Run run{.lock = std::move(found.lock),
          .folder = a.out,
          .base = {std::move(files), std::move(texts)},
          .adapter = std::move(adapter),
          .identity = {data.fingerprint(), a.options.seed, a.options.batch, Recipe(a)}};
  if (run.adapter) run.identity.frozen = FingerprintOf(run.base.files, config);
  run.source.model = a.model;
  run.source.options.threads = a.threads;
  DG_TRY(run.suites, ReadSuites(program, a.eval, a.eval_count));
  DG_CHECK_OK(MakeTrainer(program, a, config, data, run));
  if (a.dry_run) return {};
  if (resumed) {
    DG_CHECK_OK(LoadOptimizer(*resumed, run.identity, *run.loaded.kernels, run.trainer->optimizer()));
    const int64_t taken = run.trainer->steps_taken();
    if (taken > a.options.steps) {
      return Fail(StatusCode::kInvalidArgument, fmt::format("steps: {} has taken {} already, more than {}",
                                                            resumed->string(), taken, a.options.steps));
    }
    program.Note(fmt::format("going on from step {}", taken));
  }
  run.replaces_old_run = !resumed;
  RemovePartialCheckpoints(run.checkpoints());
  DG_CHECK_OK(OpenLogs(a, data, run));
  return RunSteps(program, a, run, data.size());
}

}  // namespace

void AddTrain(CLI::App& app, Program& program) {
  CLI::App* verb =
      app.add_subcommand("train", "Trains a model or an adapter (LoRA): diffusion and next-token loss, checkpoints.");
  verb->footer(
      "Data: one JSON object a line, {\"prompt\": ..., \"completion\": ...} or {\"messages\": [{\"role\", "
      "\"content\"}, ...]};\n"
      "or CSV with columns puzzle,solution. Lines that cannot be used are counted and left out.\n"
      "DIR/checkpoints/step-N are ordinary model folders (or PEFT adapters) with the optimiser's state; DIR/model\n"
      "(or DIR/adapter) is the result;\n"
      "DIR/report.html shows the curves, metrics.jsonl and the TensorBoard events have the figures.\n"
      "Ctrl-C saves a checkpoint and ends; --resume goes on from it, bit by bit as if nothing had happened.\n"
      "\n"
      "Examples:\n"
      "  dgemma train embedded --data my.jsonl --out run --steps 500 --rate 3e-4\n"
      "  dgemma train DIR --data my.jsonl --out run --lora-rank 16 --steps 800 --rate 1.5e-4\n"
      "  dgemma train DIR --data train.jsonl --data more.csv --eval heldout.jsonl --out run --resume\n"
      "  dgemma train --new config.json --tokenizer tokenizer.json --data train.jsonl --out run --config run.toml");
  auto arguments = std::make_shared<TrainArguments>();
  arguments->options.examples.max_tokens = 1024;
  AddTrainFlags(*verb, *arguments);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, verb, &program] {
    const auto trained = Guarded([&] { return Train(program, *verb, *arguments); });
    if (!trained) program.Fail("train", trained.error());
  });
}

}  // namespace dgemma
