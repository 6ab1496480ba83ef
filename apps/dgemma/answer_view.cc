// The plain view, and the choice between it and the live one.
#include "answer_view.h"

#include <CLI/CLI.hpp>
#include <array>
#include <utility>

#include "live_answer.h"
#include "numbers.h"
#include "progress_line.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::array kViews = {std::pair{"auto", View::kAuto}, std::pair{"canvas", View::kCanvas},
                               std::pair{"plain", View::kPlain}, std::pair{"heat", View::kHeat}};

// The answer alone on standard output as it becomes final; thoughts go to standard error.
class PlainAnswer final : public AnswerView {
 public:
  explicit PlainAnswer(AnswerScene scene) : scene_(std::move(scene)), progress_(scene_.program) {}

  void OnPrefill(int64_t done_tokens, int64_t total_tokens) override {
    progress_.Show({.phase = "reading", .done = done_tokens, .total = total_tokens});
  }
  void OnText(std::string_view text) override {
    progress_.Clear();
    if (scene_.show == Show::kNothing) return;
    Write(PrintableText(text));
    if (text.empty()) return;
    wrote_ = true;
    at_line_start_ = text.ends_with('\n');
  }
  void OnThought(std::string_view text) override {
    progress_.Clear();
    if (scene_.program.loudness == Loudness::kQuiet || scene_.show == Show::kNothing) return;
    scene_.program.err.Write(PrintableText(text));
    if (!text.empty()) thought_open_ = !text.ends_with('\n');
  }
  void Finish(Ending ending) override {
    progress_.Clear();
    if (thought_open_) scene_.program.err.Write("\n");
    const bool empty_answer = ending == Ending::kAnswer && !wrote_;
    if (scene_.show == Show::kAnswer && (empty_answer || !at_line_start_)) Write("\n");
  }

 private:
  void Write(std::string_view text) {
    scene_.program.out.Write(text);
    if (scene_.program.out.failed()) scene_.stop.request_stop();
  }

  AnswerScene scene_;
  ProgressLine progress_;
  bool wrote_ = false;
  bool at_line_start_ = true;
  bool thought_open_ = false;
};

}  // namespace

Result<View> ParseView(std::string_view text) {
  for (const auto& [name, view] : kViews) {
    if (text == name) return view;
  }
  return Fail(StatusCode::kInvalidArgument, Quoted(text) + " is no view (auto, canvas, plain, heat)");
}

const char* Name(View view) {
  for (const auto& [name, value] : kViews) {
    if (value == view) return name;
  }
  return "auto";
}

void AddViewFlags(CLI::App& verb, ViewOptions& options) {
  const auto refuse = [](const char* flag, const Status& status) { throw CLI::ValidationError(flag, status.message); };
  verb.add_option_function<std::string>(
          "--view",
          [&options, refuse](const std::string& text) {
            const auto view = ParseView(text);
            if (!view) refuse("--view", view.error());
            options.view = *view;
          },
          "how the answer is shown on a terminal; elsewhere always plain (default auto: canvas)")
      ->type_name("{auto,canvas,plain,heat}")
      ->group("View");
  verb.add_flag_callback(
          "--diffusion-visual", [&options] { options.view = View::kCanvas; }, "the same as --view canvas")
      ->group("View");
  verb.add_option_function<std::string>(
          "--view-fps,--fps",
          [&options, refuse](const std::string& text) {
            const auto value = ParseNumber<double>(text, 0.1, 240);
            if (!value) refuse("--view-fps", value.error());
            options.frames_per_second = *value;
          },
          "frames a second of the live view (default 20)")
      ->type_name("N")
      ->group("View");
  verb.add_option_function<std::string>(
          "--slow",
          [&options, refuse](const std::string& text) {
            const auto value = ParseNumber<int>(text, 0, 60'000);
            if (!value) refuse("--slow", value.error());
            options.pause = std::chrono::milliseconds(*value);
          },
          "pause after each step of the live view, not counted in the figures (default 120 for the embedded model, "
          "else 0)")
      ->type_name("MS")
      ->group("View");
}

std::unique_ptr<AnswerView> MakeAnswerView(AnswerScene scene) {
  const TerminalTraits traits = scene.program.OutTraits();
  if (scene.show == Show::kNothing || scene.options.view == View::kPlain || !traits.can_redraw) {
    return std::make_unique<PlainAnswer>(std::move(scene));
  }
  const DraftLook look = scene.options.view == View::kHeat ? DraftLook::kHeat : DraftLook::kCanvas;
  return std::make_unique<LiveAnswer>(std::move(scene), look);
}

}  // namespace dgemma
