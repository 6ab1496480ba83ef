// `dgemma eval [MODEL] --data FILE`: answers the questions of JSONL files and says how many answers are right, task by task, by diffusion
// and token by token.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/try.h"
#include "engine/guard.h"
#include "evaluate.h"
#include "json_text.h"
#include "model_source.h"
#include "numbers.h"
#include "progress_line.h"
#include "text_table.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct EvalArguments {
  ModelSource source;
  std::vector<std::string> data;
  int64_t count = 100;
  int32_t steps = 0;
  std::string mode = "diffusion";
  uint64_t seed = 0;
  bool json = false;
};

/// What one suite's questions were worth in one way of decoding.
struct Score {
  std::string mode;
  EvaluationLine line;
};

GenerateOptions OptionsOf(const Engine& engine, const EvalArguments& a, DecodeMode mode) {
  GenerateOptions options = DefaultsOf(engine, a.source);
  options.mode = mode;
  options.seed = a.seed;
  if (a.steps > 0) options.steps = a.steps;
  return options;
}

/// Adds up suites, so that a table has one line a task.
std::map<std::string, TaskScore> ByTask(std::span<const Score> scores, const std::string& mode) {
  std::map<std::string, TaskScore> tasks;
  for (const Score& score : scores) {
    if (score.mode != mode) continue;
    for (const auto& [task, of_task] : score.line.tasks) tasks[task.empty() ? score.line.suite : task] += of_task;
  }
  return tasks;
}

std::string Table(std::span<const Score> scores, std::span<const std::string> modes) {
  std::vector<std::string> header = {"task", "answers"};
  std::vector<std::map<std::string, TaskScore>> columns;
  for (const std::string& mode : modes) {
    header.push_back(mode);
    if (mode == "diffusion") header.emplace_back("steps");
    columns.push_back(ByTask(scores, mode));
    TaskScore all;
    for (const auto& [task, score] : columns.back()) all += score;
    if (columns.back().size() > 1) columns.back()["~"] = all;  // sorts last
  }
  TextTable table(header);
  for (const auto& [task, first] : columns.front()) {
    std::vector<std::string> row = {task == "~" ? "all" : task, fmt::format("{}", first.answers)};
    for (size_t i = 0; i < modes.size(); ++i) {
      const TaskScore& score = columns[i].at(task);
      row.push_back(fmt::format("{:.1f} %", 100 * score.accuracy()));
      if (modes[i] == "diffusion") row.push_back(fmt::format("{:.1f}", score.steps_per_canvas()));
    }
    table.Add(std::move(row));
  }
  return table.Aligned();
}

std::string Json(std::span<const Score> scores, const Engine& engine) {
  boost::json::array all;
  for (const Score& score : scores) {
    for (const auto& [task, of_task] : score.line.tasks) {
      all.push_back(boost::json::object{{"suite", score.line.suite},
                                        {"task", task},
                                        {"mode", score.mode},
                                        {"answers", of_task.answers},
                                        {"correct", of_task.correct},
                                        {"canvases", of_task.canvases},
                                        {"denoise_passes", of_task.canvas_steps}});
    }
  }
  return JsonText(boost::json::object{{"model", engine.facts().name}, {"scores", all}}) + "\n";
}

Result<void> Eval(Program& program, const EvalArguments& a) {
  if (a.data.empty()) return Fail(StatusCode::kInvalidArgument, "--data: at least one file is needed");
  DG_TRY(const std::vector<EvaluationSuite> suites, ReadSuites(program, a.data, a.count));
  int64_t questions = 0;
  for (const EvaluationSuite& suite : suites) questions += std::ssize(suite.questions);
  std::vector<std::string> modes;
  if (a.mode != "ar") modes.emplace_back("diffusion");
  if (a.mode != "diffusion") modes.emplace_back("ar");
  DG_TRY(const std::unique_ptr<Engine> engine, LoadModel(program, a.source));
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  std::vector<Score> scores;
  int64_t done = 0;
  for (const std::string& mode : modes) {
    const DecodeMode decode = mode == "ar" ? DecodeMode::kAutoregressive : DecodeMode::kDiffusion;
    for (const EvaluationSuite& suite : suites) {
      DG_TRY(Evaluation evaluation,
             Evaluate(suite, *engine, {OptionsOf(*engine, a, decode), 0, stop.get_token()}, [&](int64_t) {
               ++done;
               line.Show(fmt::format("{} of {} answers", done, questions * std::ssize(modes)));
             }));
      scores.push_back({mode, std::move(evaluation.line)});
    }
  }
  line.Clear();
  program.out.Write(a.json ? Json(scores, *engine) : Table(scores, modes));
  return {};
}

}  // namespace

void AddEval(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("eval", "Counts right answers to questions with known answers, by task.");
  verb->footer(
      "Each line of FILE is a record as for training: its last answer is what counts as right. A Sudoku counts when "
      "it\n"
      "follows the rules; calls of tools count when names and arguments are the same; thoughts are not graded. steps "
      "are\n"
      "denoising steps a canvas, the mean over all canvases of a task.\n"
      "\n"
      "Examples:\n"
      "  dgemma tasks write heldout.jsonl --split heldout --count 100\n"
      "  dgemma eval --data heldout.jsonl\n"
      "  dgemma eval DIR --data heldout.jsonl --mode both --json\n"
      "  dgemma eval DIR --lora run/adapter --data sudoku.jsonl --steps 12");
  auto arguments = std::make_shared<EvalArguments>();
  verb->add_option("model", arguments->source.model, "a model folder, a GGUF file, or `embedded`")
      ->check(NotEmpty)
      ->type_name("MODEL");
  verb->add_option("--data", arguments->data, "questions and their answers, JSONL or CSV puzzles; several")
      ->check(NotEmpty)
      ->type_name("FILE");
  verb->add_option("--count", arguments->count, "questions of each file at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--mode", arguments->mode, "how answers are written: by diffusion, token by token, or both")
      ->check(CLI::IsMember({"diffusion", "ar", "both"}))
      ->capture_default_str()
      ->type_name("MODE");
  verb->add_option("--steps", arguments->steps, "denoising steps a canvas at most (default: the model's)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  verb->add_option("-s,--seed", arguments->seed, "of the noise")->check(IsSeed)->capture_default_str()->type_name("N");
  verb->add_flag("--json", arguments->json, "counts as JSON");
  AddLoadFlags(*verb, arguments->source, ModelFlag::kNo);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = Guarded([&] { return Eval(program, *arguments); });
    if (!done) program.Fail("eval", done.error());
  });
}

}  // namespace dgemma
