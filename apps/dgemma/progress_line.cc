// The progress line and how it is worded.
#include "progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cells.h"

namespace dgemma {
namespace {

constexpr std::chrono::milliseconds kPatience{250};
constexpr std::chrono::milliseconds kBetween{100};

}  // namespace

ProgressLine::ProgressLine(Program& program)
    : program_(program), active_(program.loudness != Loudness::kQuiet && program.ErrTraits().can_redraw) {}

void ProgressLine::Show(const Progress& progress) {
  if (!active_) return;
  const Clock::time_point now = Clock::now();
  if (phase_ != progress.phase) {
    phase_ = progress.phase;
    begin_ = now;
  }
  if (now - begin_ < kPatience) return;
  const int64_t total = std::max<int64_t>(progress.total, 1);
  const int64_t percent = std::clamp<int64_t>(
      static_cast<int64_t>(100.0 * static_cast<double>(progress.done) / static_cast<double>(total)), 0, 100);
  const bool bytes = phase_ != "prefill";
  Show(bytes ? fmt::format("{} {}% ({} of {})", phase_, percent, BytesText(progress.done), BytesText(total))
             : fmt::format("{} {}% ({} of {} tokens)", phase_, percent, progress.done, total));
}

void ProgressLine::Show(std::string_view text) {
  const Clock::time_point now = Clock::now();
  if (!active_ || now - last_ < kBetween) return;
  last_ = now;
  const TerminalTraits traits = program_.ErrTraits();
  const int columns = SizeOf(program_.err.descriptor()).columns;
  program_.err.Write("\r\x1b[K" + LineOf(text, Look::kDim, traits.colors, columns - 1).bytes);
  shown_ = true;
}

void ProgressLine::Clear() {
  if (shown_) program_.err.Write("\r\x1b[K");
  shown_ = false;
  phase_.clear();
}

}  // namespace dgemma
