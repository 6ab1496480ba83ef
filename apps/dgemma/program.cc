// Messages of the program, and the flags that all verbs share.
#include "program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <system_error>

#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr size_t kLongestMessage = 2000;

// One line of bounded length whatever the text: messages may quote file names.
std::string OneLine(std::string_view text) {
  std::string line = PrintableText(text.substr(0, kLongestMessage));
  if (text.size() > kLongestMessage) line += "...";
  std::ranges::replace(line, '\n', ' ');
  return line;
}

}  // namespace

void Program::Note(std::string_view line) {
  if (loudness != Loudness::kQuiet) err.Write(OneLine(line) + "\n");
}

void Program::Fail(std::string_view verb, const Status& status) {
  const bool cancelled = status.code == StatusCode::kCancelled;
  exit_code = cancelled && signals.exit_code() != 0 ? signals.exit_code() : ExitCodeFor(status);
  complained = true;
  const std::string name = verb.empty() || cancelled ? "dgemma: " : "dgemma " + std::string(verb) + ": ";
  err.Write(name + OneLine(status.message) + "\n");
}

void Program::CheckOutput() {
  if (!out.failed()) return;
  if (exit_code == kExitOk) exit_code = kExitFailure;
  if (out.error() == EPIPE || complained) return;
  Fail("", {StatusCode::kIo, "standard output: " + std::generic_category().message(out.error())});
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
