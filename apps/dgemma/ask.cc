// Session, view and signals brought together for one answer.
#include "ask.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace dgemma {

Result<Answer> Ask(const Question& question, Request request) {
  std::stop_source stop;
  request.stop = stop.get_token();
  const auto view = MakeAnswerView({.program = question.program,
                                    .engine = question.engine,
                                    .options = question.view,
                                    .stop_tokens = request.options.stop_tokens,
                                    .stop = stop,
                                    .show = question.show});
  Result<Answer> answer = [&] {
    const Signals::Scope scope(question.program.signals, Stopping(stop));
    return question.session.Generate(request, view.get());
  }();
  view->Finish(answer ? Ending::kAnswer : Ending::kFailure);
  if (answer) answer->figures = Without(answer->figures, view->waiting());
  return answer;
}

void ShowFigures(Program& program, const Answer& answer) {
  if (program.loudness == Loudness::kQuiet || program.out.failed()) return;
  const Colors colors = program.ErrTraits().colors;
  const auto line = [&](const std::string& text) {
    const bool dim = colors != Colors::kNone;
    program.err.Write((dim ? "\x1b[2m" : "") + text + (dim ? "\x1b[0m\n" : "\n"));
  };
  line(FiguresLine(answer));
  if (program.loudness == Loudness::kVerbose) line(MoreFigures(answer));
}

int ExitCodeOf(Program& program, const Answer& answer) {
  if (program.out.failed()) {
    if (program.out.error() != EPIPE) {
      program.Fail("", {StatusCode::kIo, std::string("standard output: ") + std::strerror(program.out.error())});
    }
    return kExitFailure;
  }
  if (answer.finish != FinishReason::kCancelled) return kExitOk;
  const int code = program.signals.exit_code();
  return code != 0 ? code : kExitInterrupted;
}

}  // namespace dgemma
