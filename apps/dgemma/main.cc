// The program: parses the command line and calls the chosen verb. What a verb does is in the file of its name.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cells.h"
#include "dgemma/dgemma.h"
#include "files/messages.h"
#include "help.h"
#include "verbs.h"

namespace {

constexpr const char* kAbout =
    "dgemma runs DiffusionGemma on your own machine: text that forms on a canvas, step by step.\n"
    "A small model is inside; `dgemma run \"json name=ada age=36 city=rome\"` needs nothing else.";

constexpr const char* kFooter =
    "`dgemma VERB --help` or `dgemma help VERB` has flags and examples.\n"
    "Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.";

// Flags that users of other programs type with one dash and several letters.
constexpr std::array kOneDash = {std::pair{"-sys", "--system"}, std::pair{"-cnv", "--chat"},
                                 std::pair{"-st", "--single-turn"}, std::pair{"-np", "--parallel"}};

std::vector<std::string> Arguments(int count, char** values) {
  std::vector<std::string> arguments(values + std::min(count, 1), values + count);
  const auto end = std::ranges::find(arguments, "--");
  for (auto argument = arguments.begin(); argument != end; ++argument) {
    for (const auto& [given, meant] : kOneDash) {
      if (*argument == given) *argument = meant;
    }
  }
  std::ranges::reverse(arguments);  // the order CLI11 wants
  return arguments;
}

// What is wrong when no verb was recognised.
std::string WithoutVerb(const std::string& first) {
  return dgemma::Quoted(first) + ": there is no such option (`dgemma --help` lists them)";
}

int Parse(CLI::App& app, dgemma::Program& program, std::vector<std::string> arguments) {
  const std::string first = arguments.empty() ? "" : arguments.back();
  if (arguments.empty()) {
    program.err.Write(dgemma::HelpPage(app, dgemma::TextColumns(program.err)));
    return dgemma::kExitUsage;
  }
  // Before CLI11 looks at it: --help behind a word that is no verb would show the list and hide the mistake.
  if (!first.starts_with('-') && dgemma::FindVerb(app, first) == nullptr) {
    program.Fail("", {dgemma::StatusCode::kInvalidArgument, dgemma::UnknownVerb(app, first)});
    return program.exit_code;
  }
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    program.out.Write(dgemma::HelpPage(chosen.empty() ? app : *chosen.front(), dgemma::TextColumns(program.out)));
  } catch (const CLI::CallForVersion&) {
    program.out.Write(std::string("dgemma ") + dgemma::Version() + "\n");
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string verb = chosen.empty() ? "" : chosen.front()->get_name();
    const std::string message =
        chosen.empty() ? WithoutVerb(first) : std::string(error.what()) + "; see `dgemma " + verb + " --help`";
    program.Fail(verb, {dgemma::StatusCode::kInvalidArgument, message});
    program.exit_code = dgemma::kExitUsage;
  }
  program.CheckOutput();
  return program.exit_code;
}

// Standard streams that the caller closed become /dev/null, or the next file opened would take their place.
void ReserveStandardStreams() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", O_RDWR);
  }
}

int Main(int count, char** values) {
  dgemma::UseUnicodeWidths();
  dgemma::Signals signals;
  dgemma::Program program(signals);
  CLI::App app(kAbout, "dgemma");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("dgemma ") + dgemma::Version());
  dgemma::AddRun(app, program);
  dgemma::AddServe(app, program);
  dgemma::AddSudoku(app, program);
  dgemma::AddInspect(app, program);
  dgemma::AddTokenize(app, program);
  dgemma::AddDetokenize(app, program);
  dgemma::AddConvert(app, program);
  dgemma::AddDump(app, program);
  dgemma::AddQuantize(app, program);
  dgemma::AddLora(app, program);
  dgemma::AddSynth(app, program);
  dgemma::AddTrain(app, program);
  dgemma::AddTasks(app, program);
  dgemma::AddEval(app, program);
  dgemma::AddBench(app, program);
  dgemma::AddDoctor(app, program);
  dgemma::AddCompletion(app, program);
  dgemma::AddVersion(app, program);
  dgemma::AddHelp(app, program);
  return Parse(app, program, Arguments(count, values));
}

}  // namespace

int main(int count, char** values) {
  ReserveStandardStreams();
  try {
    return Main(count, values);
  } catch (const std::bad_alloc&) {  // where not even the words for it could be allocated
    constexpr std::string_view kMessage = "dgemma: memory: an allocation failed\n";
    (void)!write(STDERR_FILENO, kMessage.data(), kMessage.size());
    return dgemma::kExitFailure;
  }
}
