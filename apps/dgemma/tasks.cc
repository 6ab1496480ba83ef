// `dgemma tasks`: generated tasks with known answers as training data, and a tokenizer made for them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/try.h"
#include "files/atomic_file.h"
#include "files/messages.h"
#include "json_text.h"
#include "model_source.h"
#include "numbers.h"
#include "progress_line.h"
#include "train/tasks.h"
#include "train/tokenizer_builder.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr uint64_t kTextsPerTask = 500;  // that a tokenizer is learnt from

struct TasksArguments {
  std::string action;
  std::string out;
  std::vector<std::string> tasks;
  uint64_t count = 1000;
  uint64_t seed = 0;
  std::string split = "train";
  int32_t vocabulary = 1024;
  bool force = false;
};

void List(Program& program) {
  for (const TaskInfo& task : Tasks()) program.out.Write(fmt::format("{:<14}{}\n", task.name, task.about));
}

Result<void> CheckOut(const TasksArguments& arguments) {
  if (arguments.out.empty()) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("OUT: is missing (`dgemma tasks {} OUT`)", arguments.action));
  }
  std::error_code ignored;
  if (arguments.force || !std::filesystem::exists(arguments.out, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument, arguments.out + ": exists (--force replaces it)");
}

/// The chosen kinds, all when none is named.
Result<std::vector<std::string>> ChosenTasks(const TasksArguments& arguments) {
  std::vector<std::string> known;
  for (const TaskInfo& task : Tasks()) known.emplace_back(task.name);
  for (const std::string& name : arguments.tasks) {
    if (std::ranges::find(known, name) == known.end()) {
      return Fail(StatusCode::kInvalidArgument,
                  "--task: " + Quoted(name) + " is none (`dgemma tasks list` lists them)");
    }
  }
  return arguments.tasks.empty() ? known : arguments.tasks;
}

/// Lines of a JSONL file, one of each kind in turn.
Result<void> Write(Program& program, const TasksArguments& arguments) {
  DG_TRY(const std::vector<std::string> tasks, ChosenTasks(arguments));
  DG_CHECK_OK(CheckOut(arguments));
  ProgressLine line(program);
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  DG_TRY(AtomicFile file, AtomicFile::Create(arguments.out));
  const Split split = arguments.split == "train" ? Split::kTrain : Split::kHeldOut;
  std::string buffer;
  for (uint64_t index = 0; index < arguments.count; ++index) {
    for (const std::string& task : tasks) {
      DG_TRY(const TaskExample example, MakeTask(task, {.seed = arguments.seed, .split = split, .index = index}));
      buffer += JsonText(TaskJson(example)) + "\n";
    }
    if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "interrupted");
    if (buffer.size() < kBufferBytes && index + 1 < arguments.count) continue;
    DG_CHECK_OK(file.Write(std::as_bytes(std::span(buffer))));
    buffer.clear();
    line.Show(fmt::format("writing {}% ({} of {} lines)", 100 * (index + 1) / arguments.count,
                          (index + 1) * tasks.size(), arguments.count * tasks.size()));
  }
  line.Clear();
  DG_CHECK_OK(file.Commit());
  program.Note(fmt::format("{}: {} lines, {}, {} of {} kind{}", arguments.out, arguments.count * tasks.size(),
                           arguments.split, arguments.count, tasks.size(), tasks.size() == 1 ? "" : "s"));
  return {};
}

Result<void> WriteTokenizer(Program& program, const TasksArguments& arguments) {
  DG_CHECK_OK(CheckOut(arguments));
  const std::vector<std::string> texts = TaskTexts(arguments.seed, kTextsPerTask);
  DG_TRY(const std::string json,
         BuildTokenizer(texts, {.vocabulary = arguments.vocabulary, .keywords = TaskKeywords()}));
  DG_CHECK_OK(SaveFile(arguments.out, std::as_bytes(std::span(json))));
  program.Note(fmt::format("{}: {} entries", arguments.out, arguments.vocabulary));
  return {};
}

Result<void> Do(Program& program, const TasksArguments& arguments) {
  if (arguments.action == "write") return Write(program, arguments);
  if (arguments.action == "tokenizer") return WriteTokenizer(program, arguments);
  List(program);
  return {};
}

}  // namespace

void AddTasks(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("tasks", "Generates tasks with known answers, to train and grade small models.");
  verb->footer(
      "list prints the kinds of tasks. write makes lines of training data: {\"task\",\"prompt\",\"completion\"}, or "
      "messages\n"
      "where tools or thoughts are part of it. tokenizer makes a tokenizer.json learnt from such texts.\n"
      "The same seed gives the same file. train and heldout never share an example, whatever the seed.\n"
      "\n"
      "Examples:\n"
      "  dgemma tasks list\n"
      "  dgemma tasks write train.jsonl --count 20000 --seed 1\n"
      "  dgemma tasks write test.jsonl --task sort,sudoku9 --count 500 --split heldout\n"
      "  dgemma tasks tokenizer tokenizer.json --vocab 1024");
  auto arguments = std::make_shared<TasksArguments>();
  verb->add_option("action", arguments->action, "list, write or tokenizer")
      ->required()
      ->type_name("{list,write,tokenizer}")
      ->check(CLI::IsMember({"list", "write", "tokenizer"}))
      ->option_text("{list,write,tokenizer} REQUIRED");
  verb->add_option("out", arguments->out, "the file to write")->type_name("OUT");
  verb->add_option("--task", arguments->tasks, "kinds of tasks (default: all)")
      ->delimiter(',')
      ->type_name("NAME[,NAME]");
  verb->add_option("--count", arguments->count, "examples of each kind")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32));
  verb->add_option("--seed", arguments->seed, "of the examples")->check(IsSeed)->capture_default_str();
  verb->add_option("--split", arguments->split, "train or heldout")
      ->capture_default_str()
      ->type_name("{train,heldout}")
      ->check(CLI::IsMember({"train", "heldout"}));
  verb->add_option("--vocab", arguments->vocabulary, "entries of the tokenizer")
      ->capture_default_str()
      ->check(CLI::Range(kFewestTokens, kMostTokens));
  verb->add_flag("-f,--force", arguments->force, "replace OUT");
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto done = Do(program, *arguments);
    if (!done) program.Fail("tasks", done.error());
  });
}

}  // namespace dgemma
