// Shows an answer as it comes: the answer alone on standard output, or the live canvas on a terminal. One object an
// answer. Made by run, chat; the session calls it as its listener.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string_view>
#include <vector>

#include "dgemma/dgemma.h"
#include "figures.h"
#include "program.h"

namespace CLI {
class App;
}

namespace dgemma {

/// kAuto: the canvas on a terminal, otherwise plain.
enum class View { kAuto, kCanvas, kPlain, kHeat };

/// How the live view moves. Time spent in pauses is kept out of the figures.
struct ViewOptions {
  View view = View::kAuto;
  double frames_per_second = 20;
  std::chrono::milliseconds pause{-1};  ///< after each draft; -1: kWatchable for the embedded model, 0 for others
};

/// The embedded model needs about 2 ms a step: too quick to watch without a pause.
constexpr std::chrono::milliseconds kWatchable{120};

/// "auto", "canvas", "plain", "heat".
Result<View> ParseView(std::string_view text);
const char* Name(View view);

/// Adds --view, --view-fps and --slow to a verb.
void AddViewFlags(CLI::App& verb, ViewOptions& options);

/// How Generate ended: with an answer (perhaps a cancelled one), or with an error.
enum class Ending { kAnswer, kFailure };

class AnswerView : public Listener {
 public:
  /// Ends the line; nothing undecided and no hidden cursor stays behind. Called once, whatever happened.
  virtual void Finish(Ending ending) = 0;
  virtual Waiting waiting() const { return {}; }
};

/// kNothing: only progress, for --json.
enum class Show { kAnswer, kNothing };

/// What a view needs to know of one answer. `stop` is set when nobody reads any more, and ends pauses.
struct AnswerScene {
  Program& program;
  const Engine& engine;
  ViewOptions options;
  std::vector<int32_t> stop_tokens;
  std::stop_source stop;
  Show show = Show::kAnswer;
  std::function<std::chrono::steady_clock::time_point()> now = &std::chrono::steady_clock::now;
};

/// The view that options, terminal and NO_COLOR ask for.
std::unique_ptr<AnswerView> MakeAnswerView(AnswerScene scene);

}  // namespace dgemma
