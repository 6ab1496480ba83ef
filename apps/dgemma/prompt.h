// Which model and which prompt a command line of `run` means, and the prompt's text. Decided by rules that `run --help`
// states; no model is loaded here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dgemma/status.h"

namespace dgemma {

/// What the user gave, undecided.
struct PromptArguments {
  std::vector<std::string> positional;  ///< at most two
  std::optional<std::string> prompt;    ///< -p
  std::optional<std::string> file;      ///< -f
  std::string model;                    ///< -m
};

/// Moves a positional that names a model into `model` and the other into `prompt`. One positional is a model when it is
/// an existing folder or is written as a path (begins with / ./ ../ or ends in .gguf, no white space); otherwise it is
/// the prompt. kInvalidArgument when there are too many, or the first of two is no model: words of an unquoted prompt.
Result<void> Decide(PromptArguments& arguments);

/// The prompt: -p or PROMPT, then a blank line and the file of -f; without both, standard input unless that is a
/// terminal. Nothing when a chat should be started. One newline at the end is dropped. kInvalidArgument when it is
/// empty.
Result<std::optional<std::string>> PromptText(const PromptArguments& arguments);

}  // namespace dgemma
