// `dgemma run`: one prompt and its answer, or a chat when there is no prompt and a terminal to type on.
#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "answer_view.h"
#include "ask.h"
#include "base/try.h"
#include "chat.h"
#include "embedded_model.h"
#include "input.h"
#include "json_text.h"
#include "model_source.h"
#include "prompt.h"
#include "settings.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr const char* kHelp = "Answers a prompt, or starts a chat when no prompt is given on a terminal.";

constexpr const char* kExamples =
    "One argument is the MODEL when it is a folder, or is written as a path or ends in .gguf; otherwise it is the "
    "PROMPT. "
    "Without a MODEL the small embedded model answers.\n"
    "\n"
    "Examples:\n"
    "  dgemma run \"json name=ada age=36 city=rome\"  # the embedded model, drawn live\n"
    "  dgemma run ~/models/diffusiongemma \"Why is the sky blue?\"\n"
    "  dgemma run model.gguf \"Why is the sky blue?\"\n"
    "  echo \"upper hello\" | dgemma run\n"
    "  git diff | dgemma run -m DIR \"Write a commit message.\" -f -\n"
    "  dgemma run --json \"upper cat\"               # one object: text and figures\n"
    "  dgemma run                                  # a chat; /help lists its commands\n"
    "\n"
    "Without a terminal, or with --view plain, the answer alone goes to standard output; progress and the line of "
    "figures go to standard error (-q leaves them out). A lone - as PROMPT reads standard input.\n"
    "Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.";

enum class Form { kText, kJson };
enum class Turns { kAuto, kOne, kMany };

struct RunArguments {
  PromptArguments prompt;
  ModelSource source;
  Settings settings;
  ViewOptions view;
  std::string system;
  Thinking thinking = Thinking::kOff;
  Form form = Form::kText;
  Turns turns = Turns::kAuto;
};

Result<int> Answered(Program& program, const RunArguments& run, Engine& engine, const std::string& prompt) {
  Request request;
  if (!run.system.empty()) request.chat.push_back({.role = "system", .text = run.system, .thought = {}});
  request.chat.push_back({.role = "user", .text = prompt, .thought = {}});
  request.thinking = run.thinking;
  DG_TRY(request.options, Resolve(run.settings, DefaultsOf(engine, run.source)));
  DG_TRY(const std::unique_ptr<Session> session, engine.NewSession());
  const Question question{.program = program,
                          .engine = engine,
                          .session = *session,
                          .view = run.view,
                          .show = run.form == Form::kJson ? Show::kNothing : Show::kAnswer};
  DG_TRY(const Answer answer, Ask(question, std::move(request)));
  if (run.form == Form::kJson) {
    boost::json::object object = AnswerJson(answer);
    object["model"] = engine.facts().name;
    program.out.Write(JsonText(object) + "\n");
  } else {
    ShowFigures(program, answer);
  }
  return ExitCodeOf(program, answer);
}

Result<int> Chatted(Program& program, const RunArguments& run, Engine& engine, std::optional<std::string> prompt) {
  DG_TRY(const GenerateOptions options, Resolve(run.settings, DefaultsOf(engine, run.source)));
  return RunChat({.program = program,
                  .engine = engine,
                  .defaults = DefaultsOf(engine, run.source),
                  .settings = run.settings,
                  .view = run.view,
                  .conversation = {.system = run.system, .turns = {}},
                  .thinking = run.thinking,
                  .turns_seen = IsEmbedded(run.source) ? TurnsSeen::kNone : TurnsSeen::kAll,
                  .first_prompt = std::move(prompt)});
}

Result<int> Run(Program& program, RunArguments& run) {
  run.prompt.model = run.source.model;
  DG_CHECK_OK(Decide(run.prompt));
  run.source.model = run.prompt.model;
  // Contradictions that no model can resolve are found before a long loading; the defaults stand in for the model's.
  DG_CHECK_OK(Resolve(run.settings, {}));
  DG_CHECK_OK(CheckExists(run.source));
  std::optional<std::string> prompt;
  if (run.turns != Turns::kMany || run.prompt.prompt || run.prompt.file) {
    DG_TRY(prompt, PromptText(run.prompt));
  }
  const bool chat = run.turns == Turns::kMany || (run.turns == Turns::kAuto && !prompt);
  const bool can_chat = InputIsTerminal() && program.OutTraits().is_terminal;
  if (chat && run.form == Form::kJson)
    return Fail(StatusCode::kInvalidArgument, "--json: needs a prompt (a chat has no JSON form)");
  if (!prompt && !(chat && can_chat)) {
    return Fail(StatusCode::kInvalidArgument,
                "no prompt (give PROMPT, --prompt, --file or standard input; a chat needs a terminal)");
  }
  if (chat && !can_chat) return Fail(StatusCode::kInvalidArgument, "--chat: needs a terminal for input and output");
  if (run.view.pause.count() < 0) run.view.pause = IsEmbedded(run.source) ? kWatchable : std::chrono::milliseconds(0);
  DG_TRY(const std::unique_ptr<Engine> engine,
         chat ? LoadForChat(program, run.source) : LoadModel(program, run.source));
  if (IsEmbedded(run.source) && !run.system.empty()) program.Note(kOnlyPrompts);
  return chat ? Chatted(program, run, *engine, std::move(prompt)) : Answered(program, run, *engine, *prompt);
}

}  // namespace

void AddRun(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("run", kHelp);
  verb->footer(kExamples);
  auto run = std::make_shared<RunArguments>();
  verb->add_option("arguments", run->prompt.positional, "a folder, a text, or both")->type_name("[MODEL] [PROMPT]");
  verb->add_option("-p,--prompt", run->prompt.prompt, "the prompt")->type_name("TEXT");
  verb->add_option("-f,--file", run->prompt.file, "a file with the prompt, or what follows PROMPT; - is standard input")
      ->type_name("FILE");
  verb->add_option("--system", run->system, "instructions put before the conversation (also -sys)")->type_name("TEXT");
  verb->add_flag_callback("--think", [run] { run->thinking = Thinking::kOn; }, "let the model think first");
  auto* json = verb->add_flag_callback(
      "--json", [run] { run->form = Form::kJson; }, "print one JSON object instead of the text");
  auto* chat = verb->add_flag_callback(
      "--chat", [run] { run->turns = Turns::kMany; }, "chat on after the first answer (also -cnv)");
  auto* single = verb->add_flag_callback("--single-turn", [run] { run->turns = Turns::kOne; }, "never chat (also -st)");
  chat->excludes(single)->excludes(json);
  AddLoadFlags(*verb, run->source, ModelFlag::kYes);
  AddSettings(*verb, run->settings);
  AddViewFlags(*verb, run->view);
  AddCommonFlags(*verb, program);
  verb->callback([run, &program] {
    const auto code = Run(program, *run);
    if (code) {
      program.exit_code = *code;
    } else {
      program.Fail("run", code.error());
    }
  });
}

}  // namespace dgemma
