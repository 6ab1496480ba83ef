// `dgemma sudoku`: a model fills a grid on its canvas; the answer is checked by the rules.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "ask.h"
#include "base/try.h"
#include "figures.h"
#include "json_text.h"
#include "model_source.h"
#include "numbers.h"
#include "settings.h"
#include "sudoku_view.h"
#include "train/csv_puzzles.h"
#include "train/sudoku.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr const char* kHelp =
    "Lets a model fill a sudoku and checks it by the rules. Without a PUZZLE one is made from --seed.";

constexpr const char* kExamples =
    "A search solves any of these at once; the point is to watch a canvas satisfy rules that hold for all of it.\n"
    "\n"
    "Examples:\n"
    "  dgemma sudoku\n"
    "  dgemma sudoku --seed 7 --blanks 8\n"
    "  dgemma sudoku \"3241 4132 ..14 1.2.\"\n"
    "Exit codes: 0 solved, 1 not solved (or a failure), 2 usage, 130 interrupted.";

constexpr int kMostBlanks = 64;

struct SudokuArguments {
  std::string puzzle;
  int size = 4;
  int blanks = 0;  ///< 0: as is usual for the size
  ModelSource source;
  Settings settings;
  ViewOptions view;
  Show show = Show::kAnswer;
};

SudokuBoard MakePuzzle(uint64_t seed, int side, int blanks) {
  TaskRandom random(seed, "dgemma sudoku", 0, 0);
  const SudokuBoard solution = RandomSudokuSolution(side, random);
  if (blanks == 0) blanks = side == 4 ? 6 : side == 6 ? 16 : 40;
  return RandomSudokuPuzzle(solution, std::max(0, solution.cell_count() - blanks), random);
}

Result<SudokuBoard> ChoosePuzzle(const SudokuArguments& arguments) {
  if (arguments.puzzle.empty()) {
    return MakePuzzle(arguments.settings.seed.value_or(0), arguments.size, arguments.blanks);
  }
  auto puzzle = ReadSudokuBoard(arguments.puzzle);
  if (!puzzle) return std::unexpected(puzzle.error().At("PUZZLE"));
  if (CountSudokuSolutions(*puzzle, 1) == 0) return Fail(StatusCode::kInvalidArgument, "PUZZLE: has no solution");
  return puzzle;
}

void Report(Program& program, const SudokuArguments& arguments, const SudokuBoard& puzzle, const Answer& answer) {
  const bool cancelled = answer.finish == FinishReason::kCancelled;
  const auto checked = CheckSudoku(puzzle, answer.text);
  const std::string wrong = checked ? "" : checked.error().message;
  if (arguments.show == Show::kNothing) {
    boost::json::object object = AnswerJson(answer);
    object["puzzle"] = puzzle.Text('.', ' ');
    object["solved"] = checked.has_value();
    object["steps"] = answer.figures.denoise_passes;
    if (!checked) object["wrong"] = cancelled ? "interrupted" : wrong;
    program.out.Write(JsonText(object) + "\n");
  } else {
    const int64_t steps = answer.figures.denoise_passes;
    const std::string verdict = cancelled ? fmt::format("interrupted after {} step{}", steps, steps == 1 ? "" : "s")
                                          : fmt::format("{} in {} step{}{}{}", checked ? "solved" : "not solved", steps,
                                                        steps == 1 ? "" : "s", wrong.empty() ? "" : ": ", wrong);
    if (program.loudness != Loudness::kQuiet) {
      program.out.Write(verdict + "\n");
    } else if (!checked && !cancelled) {
      program.err.Write("dgemma sudoku: " + verdict + "\n");
    }
    ShowFigures(program, answer);
  }
  program.exit_code = ExitCodeOf(program, answer);
  if (program.exit_code == kExitOk && !checked) program.exit_code = kExitFailure;
}

Result<void> Solve(Program& program, SudokuArguments& arguments) {
  DG_TRY(const SudokuBoard puzzle, ChoosePuzzle(arguments));
  DG_CHECK_OK(Resolve(arguments.settings, {}));
  DG_TRY(const std::unique_ptr<Engine> engine, LoadModel(program, arguments.source));
  DG_TRY(const std::unique_ptr<Session> session, engine->NewSession());
  if (arguments.view.pause.count() < 0) {
    arguments.view.pause = IsEmbedded(arguments.source) ? 3 * kWatchable : std::chrono::milliseconds(0);
  }
  std::stop_source stop;
  Request request;
  request.chat.push_back({.role = "user", .text = PuzzlePrompt(puzzle), .thought = {}});
  DG_TRY(request.options, Resolve(arguments.settings, engine->Defaults()));
  request.stop = stop.get_token();
  if (arguments.show == Show::kAnswer && !program.OutTraits().can_redraw && program.loudness != Loudness::kQuiet) {
    program.out.Write("puzzle " + puzzle.Text('.', ' ') + "\n");
  }
  SudokuView view({.program = program,
                   .engine = *engine,
                   .options = arguments.view,
                   .stop_tokens = request.options.stop_tokens,
                   .stop = stop,
                   .show = arguments.show},
                  puzzle);
  auto answer = [&] {
    const Signals::Scope scope(program.signals, Stopping(stop));
    return session->Generate(request, &view);
  }();
  view.Finish(answer ? Ending::kAnswer : Ending::kFailure);
  if (!answer) return std::unexpected(answer.error());
  answer->figures = Without(answer->figures, view.waiting());
  Report(program, arguments, puzzle, *answer);
  return {};
}

}  // namespace

void AddSudoku(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("sudoku", kHelp);
  verb->footer(kExamples);
  auto arguments = std::make_shared<SudokuArguments>();
  verb->add_option("puzzle", arguments->puzzle, "16, 36 or 81 cells, . or 0 where empty")->type_name("PUZZLE");
  verb->add_option("--size", arguments->size, "rows and columns of a made puzzle: 4, 6 or 9")
      ->check(CLI::IsMember({4, 6, 9}))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option_function<std::string>(
          "--blanks",
          [arguments](const std::string& text) {
            const auto value = ParseNumber<int>(text, 1, kMostBlanks);
            if (!value) throw CLI::ValidationError("--blanks", value.error().message);
            arguments->blanks = *value;
          },
          "empty cells of a made puzzle (default: 6, 16 or 40 by its size; fewer where it would have two solutions)")
      ->type_name("N");
  verb->add_flag_callback("--json", [arguments] { arguments->show = Show::kNothing; }, "print one JSON object");
  AddLoadFlags(*verb, arguments->source, ModelFlag::kYes);
  AddSettings(*verb, arguments->settings);
  AddViewFlags(*verb, arguments->view);
  AddCommonFlags(*verb, program);
  verb->callback([arguments, &program] {
    const auto solved = Solve(program, *arguments);
    if (!solved) program.Fail("sudoku", solved.error());
  });
}

}  // namespace dgemma
