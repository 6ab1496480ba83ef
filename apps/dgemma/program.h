// What every verb is given: the output streams, what is known of their terminals, signals, and the exit code to leave.
// Made once in main and passed down; there is no other shared state.
#pragma once

#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "exit_code.h"
#include "output.h"
#include "signals.h"
#include "terminal.h"

namespace CLI {
class App;
}

namespace dgemma {

enum class Loudness { kQuiet, kNormal, kVerbose };

struct Program {
  Signals& signals;
  Output out;
  Output err;
  ColorWish color = ColorWish::kAuto;
  Loudness loudness = Loudness::kNormal;
  int exit_code = kExitOk;
  bool complained = false;  ///< a failure has been written

  explicit Program(Signals& program_signals, int out_descriptor = 1, int err_descriptor = 2)
      : signals(program_signals), out(out_descriptor), err(err_descriptor) {}

  TerminalTraits OutTraits() const { return DescribeTerminal(out.descriptor(), color); }
  TerminalTraits ErrTraits() const { return DescribeTerminal(err.descriptor(), color); }

  /// Writes a line for people to standard error, unless quiet. Control characters in it are made visible.
  void Note(std::string_view line);
  /// After the verb: a refused write to standard output is a failure, and worth words unless the reader went away.
  void CheckOutput();
  /// Writes "dgemma VERB: message" to standard error and remembers the failure's exit code. What a signal cancelled is
  /// no failure of the verb: "dgemma: message", and the exit code is the signal's.
  void Fail(std::string_view verb, const Status& status);
};

/// Adds --quiet, --verbose and --no-color to a verb. --quiet and --verbose exclude each other.
void AddCommonFlags(CLI::App& verb, Program& program);

}  // namespace dgemma
