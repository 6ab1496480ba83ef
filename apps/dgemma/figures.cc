// Computing and wording of figures.
#include "figures.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value_from.hpp>
#include <utility>

namespace dgemma {
namespace {

double Over(int64_t part, double whole) { return whole > 0 ? static_cast<double>(part) / whole : 0; }

std::string Milliseconds(double seconds) {
  return seconds < 10 ? fmt::format("{:.{}f} ms", seconds * 1e3, seconds < 0.1 ? 1 : 0)
                      : fmt::format("{:.1f} s", seconds);
}

std::string Count(int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

}  // namespace

Rates RatesOf(const Figures& figures) {
  const int64_t passes = figures.denoise_passes + figures.commit_passes;
  return {.passes_per_canvas = Over(passes, static_cast<double>(figures.canvases)),
          .tokens_per_pass = Over(figures.answer_tokens, static_cast<double>(passes)),
          .tokens_per_second = Over(figures.answer_tokens, figures.total_seconds - figures.prefill_seconds),
          .row_share = Over(figures.denoise_rows, static_cast<double>(figures.full_rows))};
}

Figures Without(Figures figures, const Waiting& waiting) {
  figures.total_seconds -= waiting.total_seconds;
  figures.first_text_seconds -= figures.first_text_seconds > 0 ? waiting.before_text_seconds : 0;
  return figures;
}

std::string FiguresLine(const Answer& answer) {
  const Figures& figures = answer.figures;
  const Rates rates = RatesOf(figures);
  const bool said_something = !answer.text.empty() || !answer.tool_calls.empty();
  std::string line =
      said_something ? fmt::format("ttft {}", Milliseconds(figures.first_text_seconds)) : "(empty answer)";
  if (figures.canvases > 0) line += fmt::format(", {:.1f} passes/canvas", rates.passes_per_canvas);
  if (figures.denoise_rows < figures.full_rows) line += fmt::format(", rows {:.0f} %", 100 * rates.row_share);
  line += fmt::format(", {:.1f} tok/pass, {:.0f} tok/s, {}", rates.tokens_per_pass, rates.tokens_per_second,
                      Count(figures.answer_tokens, "token", "tokens"));
  if (figures.canvases > 1) line += fmt::format(", {} canvases", figures.canvases);
  line += fmt::format(", seed {}", figures.seed);
  if (answer.finish != FinishReason::kStop) line += fmt::format(", {}", Name(answer.finish));
  return line;
}

std::string MoreFigures(const Answer& answer) {
  const Figures& figures = answer.figures;
  return fmt::format("prompt {} ({} cached) in {} | first draft {} | {} denoising, {} commit | total {}",
                     Count(figures.prompt_tokens, "token", "tokens"), figures.cached_tokens,
                     Milliseconds(figures.prefill_seconds), Milliseconds(figures.first_draft_seconds),
                     Count(figures.denoise_passes, "pass", "passes"), Count(figures.commit_passes, "pass", "passes"),
                     Milliseconds(figures.total_seconds));
}

boost::json::object FiguresJson(const Figures& figures) {
  const Rates rates = RatesOf(figures);
  return {{"prompt_tokens", figures.prompt_tokens},
          {"cached_tokens", figures.cached_tokens},
          {"answer_tokens", figures.answer_tokens},
          {"canvases", figures.canvases},
          {"denoise_passes", figures.denoise_passes},
          {"commit_passes", figures.commit_passes},
          {"prefill_ms", figures.prefill_seconds * 1e3},
          {"first_draft_ms", figures.first_draft_seconds * 1e3},
          {"ttft_ms", figures.first_text_seconds * 1e3},
          {"total_ms", figures.total_seconds * 1e3},
          {"passes_per_canvas", rates.passes_per_canvas},
          {"tokens_per_pass", rates.tokens_per_pass},
          {"tokens_per_second", rates.tokens_per_second},
          {"denoise_rows", figures.denoise_rows},
          {"full_rows", figures.full_rows},
          {"row_share", rates.row_share},
          {"seed", figures.seed}};
}

boost::json::object AnswerJson(const Answer& answer) {
  boost::json::array calls;
  for (const FunctionCall& call : answer.tool_calls) {
    calls.push_back(boost::json::object{{"name", call.name}, {"arguments", call.arguments_json}});
  }
  return {{"text", answer.text},
          {"thought", answer.thought},
          {"tool_calls", std::move(calls)},
          {"tokens", boost::json::value_from(answer.tokens)},
          {"finish", Name(answer.finish)},
          {"figures", FiguresJson(answer.figures)}};
}

}  // namespace dgemma
