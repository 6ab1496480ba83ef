// The exit codes of the program, documented in `dgemma --help`, and how a failure of the library becomes one.
// Used by every verb; the library itself knows nothing of exit codes.
#pragma once

#include "dgemma/status.h"

namespace dgemma {

constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;        ///< a file, the model or the system failed; or the answer is wrong (sudoku)
constexpr int kExitUsage = 2;          ///< the command line is wrong
constexpr int kExitInterrupted = 130;  ///< Ctrl-C

/// kInvalidArgument is the caller's mistake, kCancelled was asked for, everything else is a failure.
inline int ExitCodeFor(const Status& status) {
  if (status.code == StatusCode::kInvalidArgument) return kExitUsage;
  return status.code == StatusCode::kCancelled ? kExitInterrupted : kExitFailure;
}

}  // namespace dgemma
