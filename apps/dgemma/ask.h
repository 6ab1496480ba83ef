// One question to a session, shown as it is answered: the part that `run` and the chat have in common. Ctrl-C sets the
// stop token, a closed pipe too; the cursor is back before this returns.
#pragma once

#include "answer_view.h"
#include "dgemma/dgemma.h"
#include "program.h"

namespace dgemma {

struct Question {
  Program& program;
  const Engine& engine;
  Session& session;
  ViewOptions view;
  Show show = Show::kAnswer;
};

/// Generates and shows. The answer's figures are without pauses; a cancelled answer keeps its text.
Result<Answer> Ask(const Question& question, Request request);

/// Writes the line(s) of figures to standard error.
void ShowFigures(Program& program, const Answer& answer);

/// What a finished answer leaves as exit code: 130 when cancelled, 1 when the output failed (said once unless the
/// reader simply went away), otherwise 0.
int ExitCodeOf(Program& program, const Answer& answer);

}  // namespace dgemma
