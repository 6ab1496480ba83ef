// Messages of the program, and the flags that all verbs share.
#include "program.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "text/utf8.h"

namespace dgemma {
namespace {

// One line whatever the text: messages may quote file names.
std::string OneLine(std::string_view text) {
  std::string line = PrintableText(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

}  // namespace

void Program::Note(std::string_view line) {
  if (loudness != Loudness::kQuiet) err.Write(OneLine(line) + "\n");
}

void Program::Fail(std::string_view verb, const Status& status) {
  exit_code = ExitCodeFor(status);
  const std::string name = verb.empty() ? "dgemma: " : "dgemma " + std::string(verb) + ": ";
  err.Write(name + OneLine(status.message) + "\n");
}

void AddCommonFlags(CLI::App& verb, Program& program) {
  auto* quiet = verb.add_flag_callback(
      "-q,--quiet", [&program] { program.loudness = Loudness::kQuiet; }, "no figures, no progress; errors only");
  auto* verbose = verb.add_flag_callback(
      "-v,--verbose", [&program] { program.loudness = Loudness::kVerbose; }, "more figures on standard error");
  verb.add_flag_callback(
      "--no-color", [&program] { program.color = ColorWish::kNever; }, "no colours (so does the variable NO_COLOR)");
  quiet->excludes(verbose);
}

}  // namespace dgemma
