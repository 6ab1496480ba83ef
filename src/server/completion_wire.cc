// Errors, timings and times as several families write them.
#include "server/completion_wire.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

namespace dgemma {
namespace {

double Over(double part, double whole) { return whole > 0 ? Rounded(part / whole) : 0; }

double Milliseconds(double seconds) { return Rounded(seconds * 1e3); }

}  // namespace

HttpError ErrorOf(const Status& status) {
  HttpError error;
  error.message = status.message;
  const size_t colon = status.message.find(": ");
  switch (status.code) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
      error.status = 400;
      if (colon != std::string::npos) error.param = status.message.substr(0, colon);
      if (status.code == StatusCode::kUnsupported) error.code = "unsupported";
      break;
    case StatusCode::kNotFound:
      error.status = 404;
      break;
    case StatusCode::kResourceExhausted:
      error.status = 503;
      error.retry_after_s = 1;
      break;
    case StatusCode::kNonFinite:
      error.status = 500;
      error.message = "The model's numbers left the range of floating point.";
      error.code = "non_finite";
      break;
    case StatusCode::kInvalidFile:
    case StatusCode::kCancelled:
    case StatusCode::kIo:
    case StatusCode::kInternal:
      error.status = 500;
      error.message = "The answer failed inside the server.";
      error.code = "internal";
      break;
  }
  return error;
}

boost::json::object TimingsJson(std::span<const EndOfAnswer> ends, int32_t choices) {
  const Usage usage = UsageOf(ends, choices);
  double prefill = 0, first_text = 0, total = 0, passes = 0, accepted = 0;
  int64_t canvases = 0, canvas_tokens = 0;
  bool closed = true, converged = true;
  for (const EndOfAnswer& end : ends) {
    const Figures& figures = end.figures;
    prefill = std::max(prefill, figures.prefill_seconds);
    first_text = std::max(first_text, figures.first_text_seconds);
    total = std::max(total, figures.total_seconds);
    passes += static_cast<double>(figures.denoise_passes);
    accepted += end.accepted_per_pass * static_cast<double>(figures.denoise_passes);
    canvases += figures.canvases;
    canvas_tokens += end.canvas_tokens;
    closed = closed && (end.kind == EndKind::kTurn || end.kind == EndKind::kToolCalls);
    converged = converged && end.converged;
  }
  const double writing = total - prefill;
  const int64_t computed = usage.prompt_tokens - usage.cached_tokens;
  const auto answer_tokens = static_cast<double>(usage.answer_tokens);
  return {{"prompt_n", computed},
          {"cache_n", usage.cached_tokens},
          {"prompt_ms", Milliseconds(prefill)},
          {"prompt_per_second", Over(static_cast<double>(computed), prefill)},
          {"ttft_ms", Milliseconds(first_text)},
          {"predicted_n", usage.answer_tokens},
          {"predicted_ms", Milliseconds(writing)},
          {"predicted_per_second", Over(answer_tokens, writing)},
          {"diffusion_blocks", canvases},
          {"diffusion_steps", static_cast<int64_t>(passes)},
          {"passes_per_block", Over(passes, static_cast<double>(canvases))},
          {"accepted_per_pass", Over(accepted, passes)},
          {"canvas_tokens", canvas_tokens},
          {"answer_tokens", usage.answer_tokens},
          {"effective_tok_s", Over(answer_tokens, total)},
          {"turn_closed", closed},
          {"converged", converged},
          {"ended_by", ends.empty() ? "" : Json(Name(ends.front().kind))},
          {"seed", ends.empty() ? 0 : ends.front().figures.seed}};
}

std::string UtcTime(int64_t microseconds_since_1970) {
  const auto seconds = static_cast<std::time_t>(microseconds_since_1970 / 1'000'000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds), microseconds_since_1970 % 1'000'000);
}

}  // namespace dgemma
