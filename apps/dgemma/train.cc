// `dgemma train MODEL --data FILE --out DIR`: trains a model's weights, in full, with checkpoints that a stopped run goes on from.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <sstream>
#include <utility>

#include "base/try.h"
#include "engine/backend.h"
#include "engine/guard.h"
#include "engine/loaded_model.h"
#include "engine/memory_plan.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "machine.h"
#include "model_source.h"
#include "numbers.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "train/checkpoint.h"
#include "train/html_report.h"
#include "train/new_model.h"
#include "train/report_text.h"
#include "train/run_log.h"
#include "train/tensorboard.h"
#include "train/trainer.h"
#include "train_evaluate.h"
#include "verbs.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

struct TrainArguments {
  std::string model;
  std::string new_config, tokenizer;
  std::vector<std::string> data;
  std::string out;
  std::string config_file;
  std::string schedule = "cosine";
  std::string canvases = "one";
  std::string next_token = "text", fill = "both";
  TrainOptions options;
  std::vector<std::string> eval;
  int64_t eval_count = 100;
  int64_t save_every = 500;
  int64_t log_every = 10;
  int keep = 3;
  int threads = 0;
  bool no_shuffle = false, strict = false;
  bool resume = false, force = false, dry_run = false;
};

/// config.json, tokenizer.json and TOML files are no larger.
constexpr uint64_t kTextBytes = 256u << 20;

/// Every key of the file is a flag's name; flags of the command line win.
Result<void> ReadConfigFile(CLI::App& verb, const std::string& path) {
  if (path.empty()) return {};
  DG_TRY(const std::string text, ReadWholeFile(path, kTextBytes));
  std::istringstream stream(text);
  try {
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      if (item.name == "++" || item.name == "--") continue;  // begin and end of a section
      CLI::Option* option = verb.get_option_no_throw("--" + item.name);
      if (option == nullptr || item.name == "config") {
        return Fail(StatusCode::kInvalidArgument,
                    fmt::format("{}: {}: no flag of this name", path, Quoted(item.fullname())));
      }
      if (option->count() > 0) continue;
      if (option->get_items_expected_max() == 0 && item.inputs.size() == 1 && item.inputs.front() == "false") continue;
      option->add_result(item.inputs);
      option->run_callback();
    }
  } catch (const CLI::Error& error) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("{}: {}", path, Quoted(error.what())));
  }
  return {};
}

Result<void> FillOptions(TrainArguments& a, const Config& config) {
  TrainOptions& o = a.options;
  o.schedule.kind = a.schedule == "constant" ? ScheduleKind::kConstant
                    : a.schedule == "linear" ? ScheduleKind::kLinear
                                             : ScheduleKind::kCosine;
  o.targets.canvases = a.canvases == "all" ? CanvasesTrained::kAll : CanvasesTrained::kOne;
  o.targets.next_token = a.next_token == "answers" ? NextTokenTargets::kAnswers : NextTokenTargets::kText;
  o.targets.fill = a.fill == "none"     ? FillTargets::kNone
                   : a.fill == "canvas" ? FillTargets::kCanvas
                                        : FillTargets::kBoth;
  o.order = a.no_shuffle ? Order::kAsGiven : Order::kShuffled;
  o.examples.canvas = config.canvas;
  o.noise.vocab = config.vocab;
  return CheckTrainOptions(o);
}

/// All of a run that lives as long as it.
struct Run {
  std::filesystem::path folder;
  ModelBase base;
  LoadedModel loaded;
  std::unique_ptr<TrainKernels> kernels;
  std::unique_ptr<Trainer> trainer;
  RunIdentity identity;
  std::vector<EvaluationSuite> suites;
  ReportSubject subject;
  std::optional<RunLog> log;
  std::optional<EventFile> events;
  bool replaces_old_run = false;  ///< the folder's checkpoints go when the first one of this run is saved

  std::filesystem::path checkpoints() const { return folder / "checkpoints"; }
};

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

template <typename Line>
Result<void> Log(Run& run, int64_t step, const Line& line) {
  DG_CHECK_OK(run.log->Append(line));
  return run.events->Append(step, Now(), ScalarsOf(line));
}

void PrintPlan(Program& program, const TrainArguments& a, const Config& config, std::span<const PlannedWeight> weights,
               const Dataset& data, int64_t planned_bytes) {
  const int64_t values =
      std::transform_reduce(weights.begin(), weights.end(), int64_t{0}, std::plus<>(),
                            [](const PlannedWeight& w) { return static_cast<int64_t>(w.spec.Values()); });
  const TrainOptions& o = a.options;
  program.Note(fmt::format("model: {:.2f} M parameters trained in float32, {} layers, canvas {}",
                           static_cast<double>(values) / 1e6, config.layers.size(), config.canvas));
  for (const std::string& line : Describe(data.statistics())) program.Note("data: " + line);
  program.Note(
      fmt::format("run: {} steps of {} examples ({:.1f} epochs), rate {:g} {} after {} steps of warm-up, seed {}",
                  o.steps, o.batch, static_cast<double>(o.steps * o.batch) / static_cast<double>(data.size()),
                  o.schedule.peak, a.schedule, o.schedule.warmup, o.seed));
  program.Note(
      fmt::format("memory: {} planned for weights, gradients, moments and passes, beside the program and the data",
                  BytesText(planned_bytes)));
}

void PrintStep(Program& program, const StepReport& report, const TrainOptions& options, double seconds,
               int64_t steps_timed) {
  const double step_seconds = seconds / static_cast<double>(std::max<int64_t>(steps_timed, 1));
  int64_t rows = 0, correct = 0;
  for (const auto& [task, counts] : report.tasks) {
    rows += counts.rows;
    correct += counts.correct;
  }
  program.Note(
      fmt::format("step {}/{}  diffusion {:.4f}  next token {:.4f}  right {:.1f} %  norm {:.2f}  rate {:.2e}  {:.0f} "
                  "tok/s  {} left",
                  report.step + 1, options.steps, report.diffusion_loss, report.next_token_loss,
                  100.0 * static_cast<double>(correct) / static_cast<double>(std::max<int64_t>(rows, 1)),
                  report.gradient_norm, report.rate, static_cast<double>(report.rows) / step_seconds,
                  DurationText(step_seconds * static_cast<double>(options.steps - report.step - 1))));
}

/// A checkpoint, what its weights answer, and the report.
Result<void> SaveAndEvaluate(Program& program, const TrainArguments& a, Run& run, std::stop_token stop) {
  const int64_t taken = run.trainer->steps_taken();
  if (!run.trainer->optimizer().Finite()) {
    return Fail(StatusCode::kInternal,
                fmt::format("step {}: weights or moments are no longer finite (a smaller --rate?); the last "
                            "checkpoint is the one before",
                            taken));
  }
  DG_CHECK_OK(run.log->Sync());
  if (std::exchange(run.replaces_old_run, false)) {
    std::error_code ignored;
    std::filesystem::remove_all(run.checkpoints(), ignored);
  }
  DG_TRY(const std::filesystem::path saved, SaveCheckpoint(run.base, run.loaded.model->config, run.trainer->optimizer(),
                                                           *run.kernels, run.identity, run.checkpoints(), a.keep));
  for (const EvaluationSuite& suite : run.suites) {
    if (stop.stop_requested()) break;
    const auto evaluation = Evaluate(suite, saved, taken, a.threads, stop);
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
  while (run.trainer->steps_taken() < a.options.steps) {
    const auto report = run.trainer->Step(stop.get_token());
    if (!report) {
      if (report.error().code == StatusCode::kCancelled && run.trainer->steps_taken() > saved) {
        DG_CHECK_OK(SaveAndEvaluate(program, a, run, stop.get_token()));
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
    DG_CHECK_OK(Log(run, report->step, line));
    if (taken % a.log_every == 0 || taken == a.options.steps || taken == first + 1)
      PrintStep(program, *report, a.options, seconds, taken - first);
    if (taken % a.save_every == 0 || taken == a.options.steps) {
      DG_CHECK_OK(SaveAndEvaluate(program, a, run, stop.get_token()));
      saved = taken;
    }
  }
  // An older result goes first, so that the new one appears whole; the checkpoint has the same weights.
  std::error_code ignored;
  std::filesystem::remove_all(run.folder / "model", ignored);
  const SavedWeights which = a.options.optimizer.average > 0 ? SavedWeights::kAverage : SavedWeights::kCurrent;
  return SaveModel(run.base, run.loaded.model->config, run.trainer->optimizer(), *run.kernels, which,
                   run.folder / "model");
}

/// The outputs for people. A run that goes on keeps what it had logged up to its checkpoint.
Result<void> OpenLogs(const TrainArguments& a, const Dataset& data, Run& run) {
  std::error_code error;
  std::filesystem::create_directories(run.folder, error);
  if (error) return Fail(StatusCode::kIo, fmt::format("{}: {}", run.folder.string(), error.message()));
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
  run.subject.facts = {{"batch", fmt::format("{} examples", a.options.batch)},
                       {"rate", fmt::format("{:g}, {}, {} steps of warm-up", a.options.schedule.peak, a.schedule,
                                            a.options.schedule.warmup)},
                       {"seed", fmt::format("{}", a.options.seed)},
                       {"machine", run.loaded.kernels->Description()}};
  return {};
}

/// Everything that a step depends on besides data, seed and batch, as a text. The number of steps is not in it: a run may be
/// prolonged.
std::string Recipe(const TrainArguments& a) {
  const TrainOptions& o = a.options;
  return fmt::format(
      "rate {} {} {} {}, adam {} {} {} {} {} {}, loss {} {} {}, noise {} {} {}, {} {} {} {}, {} tokens, {} rows",
      o.schedule.peak, o.schedule.end, a.schedule, o.schedule.warmup, o.optimizer.beta1, o.optimizer.beta2,
      o.optimizer.eps, o.optimizer.decay, o.optimizer.clip, o.optimizer.average, o.objective.diffusion_weight,
      o.objective.next_token_weight, o.objective.feedback_passes, o.noise.t_min, o.noise.t_max, o.noise.self_condition,
      a.canvases, a.next_token, a.fill, a.no_shuffle, o.examples.max_tokens, o.pass_rows);
}

/// kResourceExhausted when these float32 weights alone are more than there is.
Result<void> CheckNewModel(const std::string& config_text) {
  DG_TRY(const Config config, At("config.json", ParseConfig(config_text)));
  MemoryPlan plan;
  plan.weights = ParameterCount(config) * static_cast<int64_t>(sizeof(float));
  return CheckMemory(plan);
}

Result<void> Train(Program& program, CLI::App& verb, TrainArguments& a) {
  DG_CHECK_OK(ReadConfigFile(verb, a.config_file));
  if (a.resume && a.force) return Fail(StatusCode::kInvalidArgument, "--resume and --force: give one of them");
  if (a.data.empty()) return Fail(StatusCode::kInvalidArgument, "--data: at least one file is needed");
  if (a.out.empty() && !a.dry_run) return Fail(StatusCode::kInvalidArgument, "--out: a folder is needed");
  if (a.new_config.empty() != a.tokenizer.empty())
    return Fail(StatusCode::kInvalidArgument, "--new and --tokenizer: give both or none");
  if (a.new_config.empty() == a.model.empty())
    return Fail(StatusCode::kInvalidArgument, "give either MODEL or --new with --tokenizer");
  const std::filesystem::path folder = a.out;
  const auto newest = a.out.empty() ? std::nullopt : NewestCheckpoint(folder / "checkpoints");
  if (newest && !a.resume && !a.force && !a.dry_run) {
    return Fail(StatusCode::kInvalidArgument, a.out + ": holds a run already (--resume goes on, --force starts again)");
  }
  const bool resume = a.resume && newest;
  const auto open = [&]() -> Result<CheckpointFiles> {
    if (resume) return OpenCheckpoint(*newest);
    if (a.new_config.empty()) return OpenModelFiles(a.model);
    DG_TRY(const std::string config_text, ReadWholeFile(a.new_config, kTextBytes));
    DG_TRY(const std::string tokenizer_text, ReadWholeFile(a.tokenizer, kTextBytes));
    DG_CHECK_OK(CheckNewModel(config_text));
    return NewModel(config_text, tokenizer_text, a.options.seed);
  };
  DG_TRY(CheckpointFiles files, open());
  DG_TRY(const Config config, ReadConfig(files));
  DG_CHECK_OK(RequireCanvases(config));
  DG_CHECK_OK(FillOptions(a, config));
  DG_TRY(const Tokenizer tokenizer, ReadTokenizer(files, config));
  DG_TRY(const ExampleMaker maker, ExampleMaker::Create(tokenizer, a.options.examples));
  a.options.examples = maker.options();  // with the tokenizer's end of text
  DatasetOptions data_options;
  data_options.examples = a.options.examples;
  data_options.faults = a.strict ? FaultPolicy::kRefuse : FaultPolicy::kLeaveOut;
  DG_TRY(const Dataset data, Dataset::Open(a.data, tokenizer, data_options));

  EngineOptions engine_options;
  engine_options.threads = a.threads;
  const auto all = [](const TensorSpec&) { return true; };
  const auto float32 = [](const TensorSpec&, const StoredTensor&) { return kFloat32Weights; };
  DG_TRY(ModelTexts texts, ReadTexts(files));
  Run run{folder,  {std::move(files), std::move(texts)},
          {},      nullptr,
          nullptr, {data.fingerprint(), a.options.seed, a.options.batch, Recipe(a)},
          {},      {},
          {},      {}};
  for (const std::string& path : a.eval) {
    DG_TRY(EvaluationSuite suite, ReadSuite(path, a.eval_count));
    run.suites.push_back(std::move(suite));
  }
  std::unique_ptr<Kernels> kernels = MakeKernels(engine_options, config);
  const std::vector<PlannedWeight> planned = PlanWeights(run.base.files, config, *kernels, float32);
  const TrainLimits limits = LimitsOf(a.options);
  MemoryPlan plan;
  plan.weights = PlannedWeightBytes(planned);
  plan.pass = Trainer::PlannedBytes(config, planned, a.options, all) +
              PlannedScratchBytes(engine_options, config, planned, limits.rows, limits.canvases) +
              PlannedTrainScratchBytes(engine_options, config, planned, limits.rows);
  if (program.loudness != Loudness::kQuiet) PrintPlan(program, a, config, planned, data, plan.Total());
  DG_CHECK_OK(CheckMemory(plan));
  if (a.dry_run) return {};
  DG_TRY(run.loaded, LoadModel(run.base.files, config, std::move(kernels), {}, float32));
  Weights weights = run.loaded.model->weights;  // the same memory
  run.kernels = MakeTrainKernels(*run.loaded.kernels);
  DG_TRY(run.trainer, Trainer::Create(*run.loaded.model, weights, *run.kernels, data, a.options, all));
  if (resume) {
    DG_CHECK_OK(LoadOptimizer(*newest, run.identity, *run.loaded.kernels, run.trainer->optimizer()));
    program.Note(fmt::format("going on from step {}", run.trainer->steps_taken()));
  }
  run.replaces_old_run = !resume;
  RemovePartialCheckpoints(run.checkpoints());
  DG_CHECK_OK(OpenLogs(a, data, run));
  return RunSteps(program, a, run, data.size());
}

void AddFlags(CLI::App& verb, TrainArguments& a) {
  TrainOptions& o = a.options;
  verb.add_option("model", a.model, "a model folder, or `embedded`")->check(NotEmpty)->type_name("MODEL");
  verb.add_option("--new", a.new_config, "start from random weights of this config.json")
      ->check(NotEmpty)
      ->type_name("CONFIG");
  verb.add_option("--tokenizer", a.tokenizer, "tokenizer.json of the new model")->check(NotEmpty)->type_name("FILE");
  verb.add_option("--data", a.data, "JSONL (messages, or prompt and completion) or CSV puzzles; several")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb.add_option("--eval", a.eval, "JSONL of questions that every checkpoint answers; several")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb.add_option("--eval-count", a.eval_count, "questions of each such file")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--out", a.out,
                  "folder of the run: checkpoints/, model/, report.html, metrics.jsonl, TensorBoard events")
      ->check(NotEmpty)
      ->type_name("DIR");
  verb.add_option("--config", a.config_file, "TOML file whose keys are flags: `steps = 1000`")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb.add_option("--steps", o.steps, "optimiser steps")->capture_default_str()->type_name("N");
  verb.add_option("--batch", o.batch, "examples of a step")->capture_default_str()->type_name("N");
  verb.add_option("--pass-rows", o.pass_rows, "rows of one pass: more is faster and takes more memory")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--max-tokens", o.examples.max_tokens, "longest example; longer ones are left out and counted")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--rate", o.schedule.peak, "peak learning rate")->capture_default_str()->type_name("X");
  verb.add_option("--end-rate", o.schedule.end, "last rate as a share of the peak")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--schedule", a.schedule, "course of the rate")
      ->check(CLI::IsMember({"cosine", "linear", "constant"}))
      ->capture_default_str()
      ->type_name("NAME");
  verb.add_option("--warmup", o.schedule.warmup, "steps to the peak")->capture_default_str()->type_name("N");
  verb.add_option("--beta1", o.optimizer.beta1, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--beta2", o.optimizer.beta2, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--eps", o.optimizer.eps, "AdamW")->capture_default_str()->type_name("X");
  verb.add_option("--decay", o.optimizer.decay, "weight decay of matrices")->capture_default_str()->type_name("X");
  verb.add_option("--clip", o.optimizer.clip, "largest norm of the gradients; 0: none")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--ema", o.optimizer.average,
                  "average of the weights: share kept by a step, as 0.999; model/ then holds the average")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--diffusion-weight", o.objective.diffusion_weight, "of the canvas loss")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--next-token-weight", o.objective.next_token_weight, "of the autoregressive loss")
      ->capture_default_str()
      ->type_name("X");
  verb.add_option("--feedback-passes", o.objective.feedback_passes, "passes without gradient that feed the trained one")
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--self-condition", o.noise.self_condition, "probability that an example is fed its prediction")
      ->capture_default_str()
      ->type_name("P");
  verb.add_option("--t-min", o.noise.t_min, "smallest share of noise")->capture_default_str()->type_name("T");
  verb.add_option("--t-max", o.noise.t_max, "largest share of noise")->capture_default_str()->type_name("T");
  verb.add_option("--canvases", a.canvases, "canvases of an example that a step trains")
      ->check(CLI::IsMember({"one", "all"}))
      ->capture_default_str()
      ->type_name("WHICH");
  verb.add_option("--next-token", a.next_token, "what the autoregressive loss covers")
      ->check(CLI::IsMember({"text", "answers"}))
      ->capture_default_str()
      ->type_name("WHAT");
  verb.add_option("--fill", a.fill, "losses that cover the fill behind an answer; `canvas` is faster")
      ->check(CLI::IsMember({"both", "canvas", "none"}))
      ->capture_default_str()
      ->type_name("WHICH");
  verb.add_flag("--no-shuffle", a.no_shuffle, "take examples in the order of the files");
  verb.add_flag("--strict", a.strict, "the first faulty line ends the run before it starts");
  verb.add_option("-s,--seed", o.seed, "of order, noise and new weights")
      ->check(IsSeed)
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--save-every", a.save_every, "steps between checkpoints")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--keep", a.keep, "checkpoints that stay")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->type_name("N");
  verb.add_option("--log-every", a.log_every, "steps between lines")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->type_name("N");
  auto* resume = verb.add_flag("--resume", a.resume,
                               "go on from the newest checkpoint in DIR, if there is one; MODEL is then not read");
  verb.add_flag("-f,--force", a.force, "start again where DIR holds a run")->excludes(resume);
  verb.add_flag("--dry-run", a.dry_run, "print the plan and end");
  verb.add_option("-t,--threads", a.threads, "threads (default: all cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

}  // namespace

void AddTrain(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("train", "Trains a model: diffusion and next-token loss, AdamW, checkpoints.");
  verb->footer(
      "Data: one JSON object a line, {\"prompt\": ..., \"completion\": ...} or {\"messages\": [{\"role\", "
      "\"content\"}, ...]};\n"
      "or CSV with columns puzzle,solution. Lines that cannot be used are counted and left out.\n"
      "DIR/checkpoints/step-N are ordinary model folders with the optimiser's state; DIR/model is the result;\n"
      "DIR/report.html shows the curves, metrics.jsonl and the TensorBoard events have the figures.\n"
      "Ctrl-C saves a checkpoint and ends; --resume goes on from it, bit by bit as if nothing had happened.\n"
      "\n"
      "Examples:\n"
      "  dgemma train embedded --data my.jsonl --out run --steps 500 --rate 3e-4\n"
      "  dgemma train DIR --data train.jsonl --data more.csv --eval heldout.jsonl --out run --resume\n"
      "  dgemma train --new config.json --tokenizer tokenizer.json --data train.jsonl --out run --config run.toml");
  auto arguments = std::make_shared<TrainArguments>();
  arguments->options.examples.max_tokens = 1024;
  AddFlags(*verb, *arguments);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, verb, &program] {
    const auto trained = Guarded([&] { return Train(program, *verb, *arguments); });
    if (!trained) program.Fail("train", trained.error());
  });
}

}  // namespace dgemma
