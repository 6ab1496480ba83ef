// The tables. Every figure that is derived comes from the least time.
#include "bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "diffusion/rules.h"
#include "progress_line.h"
#include "text/utf8.h"
#include "text_table.h"

namespace dgemma {
namespace {

constexpr double kTie = 0.15;

std::string Print(const TextTable& table, TableForm form) {
  return form == TableForm::kMarkdown ? table.Markdown() : table.Aligned();
}

std::string Percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

std::string Billions(double operations) { return operations > 0 ? fmt::format("{:.4g}", operations / 1e9) : "-"; }

TextTable PassTable(const BenchReport& report) {
  TextTable table({"pass", "least ms", "median ms", "read", "int8 GOP", "bf16 GFLOP", "f32 GFLOP", "GB/s", "of reads",
                   "of peak", "of bound", "tok/s"});
  for (const PassFigures& pass : report.passes) {
    const double seconds = pass.least_ms / 1e3;
    const Operations& operations = pass.cost.operations;
    table.Add({pass.name, fmt::format("{:.2f}", pass.least_ms), fmt::format("{:.2f}", pass.median_ms),
               BytesText(std::llround(pass.cost.Bytes())), Billions(operations.integers), Billions(operations.bf16),
               Billions(operations.floats), fmt::format("{:.1f}", pass.cost.Bytes() / seconds / 1e9),
               Percent(pass.cost.Bytes() / seconds / report.machine.bytes),
               Percent(SecondsAtPeak(operations, report.machine) / seconds),
               Percent(LeastSeconds(pass.cost, report.machine) / seconds),
               pass.tokens > 0 ? fmt::format("{:.1f}", static_cast<double>(pass.tokens) / seconds) : ""});
  }
  return table;
}

TextTable PaceTable(const std::vector<Pace>& paces) {
  TextTable table({"steps a canvas", "passes", "tok/s", "passes merged", "tok/s merged"});
  for (const Pace& pace : paces) {
    table.Add({fmt::format("{}", pace.steps), fmt::format("{}", pace.steps + 1), fmt::format("{:.1f}", pace.apart),
               fmt::format("{}", pace.steps), fmt::format("{:.1f}", pace.merged)});
  }
  return table;
}

/// Passes of a canvas that compute all its rows when `left_out` of them are settled at once.
int32_t FullPasses(const SkipOptions& skip, int32_t steps, int64_t rows, int64_t left_out) {
  const std::vector<int32_t> argmax(static_cast<size_t>(rows), 0);
  const std::vector<uint8_t> accepted(static_cast<size_t>(rows), 1);
  std::vector<float> entropy(static_cast<size_t>(rows), 1.0f);
  std::fill_n(entropy.begin(), left_out, 0.0f);
  SettledRows settled({skip.settled_steps, skip.refresh_every, skip.full_passes}, rows);
  int32_t full = 0;
  for (int32_t step = 0; step < steps; ++step) {
    full += settled.full();
    const bool ends = step + 1 + skip.full_passes >= steps;
    settled.Update({argmax, accepted, entropy}, ends ? NextPass::kFull : NextPass::kMaySkip);
  }
  return full;
}

std::string SkipText(const BenchReport& report, TableForm form) {
  const std::vector<SkipPace> paces = SkipPacesOf(report);
  if (paces.empty()) return "";
  TextTable table(
      {"rows left out", "ms a pass", "steps", "full passes", "rows computed", "tok/s", "exact tok/s", "times faster"});
  for (const SkipPace& pace : paces) {
    table.Add({Percent(pace.left_out), fmt::format("{:.2f}", pace.pass_ms), fmt::format("{}", pace.steps),
               fmt::format("{}", pace.full_passes), Percent(pace.computed),
               fmt::format("{:.1f}", pace.tokens_per_second), fmt::format("{:.1f}", pace.exact),
               fmt::format("{:.2f}", pace.tokens_per_second / pace.exact)});
  }
  return fmt::format(
      "skipping {},{},{}, assumed: this share of a canvas's rows is settled from the first step on, the others never.\n"
      "Passes were measured with rows left out; how many settle depends on model and text (docs/SPEED.md).\n{}{}\n",
      report.skip.settled_steps, report.skip.refresh_every, report.skip.full_passes,
      form == TableForm::kMarkdown ? "\n" : "", Print(table, form));
}

std::string Memory(const BenchReport& report) {
  if (report.peak_bytes == 0) return fmt::format("{} planned for a full context", BytesText(report.plan_bytes));
  const double off = static_cast<double>(report.plan_bytes) / static_cast<double>(report.peak_bytes) - 1;
  return fmt::format("{} at its peak, {} planned for a full context ({:+.1f} %)", BytesText(report.peak_bytes),
                     BytesText(report.plan_bytes), 100 * off);
}

/// What the bound leaves out.
std::string SoftNote(const BenchReport& report) {
  const PassFigures* denoise = report.Find("denoise");
  if (denoise == nullptr) return "";
  const double seconds = SecondsAtPeak(denoise->cost.soft, report.machine);
  return fmt::format(
      "Soft embeddings are not in these operations and bounds: dense ones would add {} GFLOP to a denoising pass, "
      "{:.1f} ms at "
      "the peak;\nprobabilities too small to count are skipped, which leaves little in rows that are sure of their "
      "token.\n",
      Billions(denoise->cost.soft.floats), 1e3 * seconds);
}

std::string Title(const BenchReport& report) {
  return fmt::format("{}: {:.1f} M parameters, {}, {}", PrintableText(report.model),
                     static_cast<double>(report.parameters) / 1e6, PrintableText(report.dtype),
                     PrintableText(report.backend));
}

}  // namespace

const PassFigures* BenchReport::Find(std::string_view name) const {
  const auto found = std::ranges::find(passes, name, &PassFigures::name);
  return found == passes.end() ? nullptr : &*found;
}

std::vector<Pace> PacesOf(const BenchReport& report) {
  const PassFigures* step = report.Find("denoise");
  const PassFigures* commit = report.Find("commit");
  const PassFigures* merged = report.Find("commit + denoise");
  if (step == nullptr || commit == nullptr || merged == nullptr) return {};
  std::vector<Pace> paces;
  const double tokens = 1e3 * static_cast<double>(report.canvas_tokens);
  for (const int32_t steps : {12, 16, 24, 48}) {
    paces.push_back({steps, tokens / (steps * step->least_ms + commit->least_ms),
                     tokens / ((steps - 1) * step->least_ms + merged->least_ms)});
  }
  return paces;
}

std::vector<SkipPace> SkipPacesOf(const BenchReport& report) {
  const PassFigures* commit = report.Find("commit");
  const int64_t rows = report.canvas_tokens;
  const auto all = std::ranges::find(report.passes, rows, &PassFigures::rows);
  if (report.skip.settled_steps == 0 || commit == nullptr || rows == 0 || all == report.passes.end()) return {};
  std::vector<SkipPace> paces;
  for (const PassFigures& pass : report.passes) {
    if (pass.rows == 0 || pass.rows >= rows) continue;
    for (const Pace& exact : PacesOf(report)) {
      SkipPace pace;
      pace.left_out = 1 - static_cast<double>(pass.rows) / static_cast<double>(rows);
      pace.steps = exact.steps;
      pace.full_passes = FullPasses(report.skip, exact.steps, rows, rows - pass.rows);
      const auto partial = static_cast<double>(exact.steps - pace.full_passes);
      pace.computed = 1 - pace.left_out * partial / exact.steps;
      pace.pass_ms = pass.least_ms;
      pace.tokens_per_second = 1e3 * static_cast<double>(rows) /
                               (pace.full_passes * all->least_ms + partial * pass.least_ms + commit->least_ms);
      pace.exact = exact.apart;
      paces.push_back(pace);
    }
  }
  return paces;
}

bool Compared::tie() const { return std::max(ratio(), 1 / ratio()) <= 1 + kTie; }

std::vector<Compared> Compare(const BenchReport& first, const BenchReport& second) {
  std::vector<Compared> rows;
  for (const PassFigures& pass : first.passes) {
    if (const PassFigures* other = second.Find(pass.name)) rows.push_back({pass.name, pass.least_ms, other->least_ms});
  }
  return rows;
}

std::string MachineText(const MachineRates& machine) {
  return fmt::format(
      "this machine: reads {:.1f} GB/s, {:.0f} GOP/s int8, {:.0f} GFLOP/s bfloat16, {:.0f} GFLOP/s float32 ({}, {} "
      "thread{})",
      machine.bytes / 1e9, machine.integers / 1e9, machine.bf16 / 1e9, machine.floats / 1e9,
      PrintableText(machine.target), machine.threads, machine.threads == 1 ? "" : "s");
}

std::string ReportTable(const BenchReport& report, TableForm form) {
  const bool markdown = form == TableForm::kMarkdown;
  std::string text = fmt::format("{}{}{}\n\n", Title(report), markdown ? "\n\n" : "\n", MachineText(report.machine));
  text += Print(PassTable(report), form) + "\n";
  const std::vector<Pace> paces = PacesOf(report);
  if (!paces.empty()) text += Print(PaceTable(paces), form) + "\n";
  text += SkipText(report, form);
  text += fmt::format("memory {}; loaded in {:.0f} ms\n", Memory(report), report.load_ms);
  text += fmt::format("{}Shares are of the least times; {} tokens cached; experts read as if rows chose evenly.\n",
                      markdown ? "\n" : "", report.prompt_tokens);
  return text + SoftNote(report);
}

std::string ComparisonTable(const BenchReport& first, const BenchReport& second, TableForm form) {
  TextTable table({"pass", "first ms", "second ms", "first / second", ""});
  for (const Compared& row : Compare(first, second)) {
    table.Add({row.name, fmt::format("{:.2f}", row.first_ms), fmt::format("{:.2f}", row.second_ms),
               fmt::format("{:.2f}", row.ratio()), row.tie() ? "tie" : ""});
  }
  const char* end = form == TableForm::kMarkdown ? "\n\n" : "\n";
  return fmt::format("first:  {}{}second: {}{}{}{}", Title(first), end, Title(second), end,
                     form == TableForm::kMarkdown ? "" : "\n", Print(table, form));
}

}  // namespace dgemma
