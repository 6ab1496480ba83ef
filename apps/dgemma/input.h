// Text that comes in whole: a file named on the command line, a pipe on standard input. Bounded, any kind of file.
#pragma once

#include <string>

#include "dgemma/status.h"

namespace dgemma {

/// More than any context holds; a prompt file beyond it is a mistake.
constexpr size_t kMostInputBytes = size_t{64} << 20;

/// Everything up to the end of standard input.
Result<std::string> ReadStandardInput();

/// Everything in a file; "-" is standard input. Pipes such as /dev/fd/63 are fine.
Result<std::string> ReadInputFile(const std::string& path);

/// True when standard input is a terminal.
bool InputIsTerminal();

}  // namespace dgemma
