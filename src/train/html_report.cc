// The sections of the report in their order. Charts are svg_chart.cc's, the style report_style.h's.
#include "train/html_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string_view>

#include "files/atomic_file.h"
#include "train/report_style.h"
#include "train/report_text.h"
#include "train/svg_chart.h"

namespace dgemma {
namespace {

constexpr size_t kSmallCharts = 96;   // tasks with a curve
constexpr size_t kPrompts = 24;       // of samples
constexpr size_t kAnswers = 8;        // of a prompt
constexpr size_t kShownBytes = 4000;  // of a text
constexpr size_t kNameBytes = 100;    // of a name

using Evaluations = std::map<std::pair<int64_t, std::string>, EvaluationLine>;

/// The last evaluation of every suite.
std::map<std::string, const EvaluationLine*> LastOfSuites(const Evaluations& evaluations) {
  std::map<std::string, const EvaluationLine*> last;
  for (const auto& [key, line] : evaluations) last[line.suite] = &line;
  return last;
}

std::string Section(std::string_view title, const std::string& content) {
  return content.empty() ? "" : fmt::format("<section><h2>{}</h2>\n{}</section>\n", title, content);
}

std::string NameText(const std::string& text) { return EscapeHtml(text.empty() ? "(unnamed)" : text, kNameBytes); }

// --- Summary -------------------------------------------------------------------------------------------------------

/// `note` is text of ours or escaped.
std::string Tile(const std::string& name, const std::string& value, const std::string& note = "") {
  return fmt::format("<div><dt>{}</dt><dd>{}{}</dd></div>", name, value,
                     note.empty() ? "" : "<small>" + note + "</small>");
}

std::string LossTile(const std::string& name, const Series& loss) {
  if (loss.empty()) return "";
  const auto points = loss.points();
  return Tile(name, NumberText(Smoothed(points).back().y), "from " + NumberText(points.front().y));
}

std::string Tiles(const ReportSubject& subject, const RunHistory& history) {
  std::string out;
  if (history.last_step) {
    const StepLine& last = *history.last_step;
    const bool planned = subject.planned_steps > 0;
    const int64_t done = last.report.step + 1;
    out += Tile("Steps", CountText(done), planned ? "of " + CountText(subject.planned_steps) : "");
    const double left = static_cast<double>(subject.planned_steps - done) * last.seconds / static_cast<double>(done);
    out += Tile("Time", DurationText(last.seconds), planned && left > 0 ? "about " + DurationText(left) + " left" : "");
    out += Tile("Examples seen", CountText(last.examples),
                std::isfinite(last.epoch) ? fmt::format("{} epochs", NumberText(last.epoch)) : "");
  }
  out += LossTile("Diffusion loss", history.diffusion_loss);
  out += LossTile("Next-token loss", history.next_token_loss);
  for (const auto& [suite, line] : LastOfSuites(history.evaluations)) {
    const TaskScore all = line->all();
    if (all.answers == 0) continue;
    const std::string steps = all.canvases == 0 ? "" : NumberText(all.steps_per_canvas()) + " steps per canvas";
    out += Tile("Accuracy, " + NameText(suite), PercentText(all.accuracy()), steps);
  }
  if (!history.rows_per_second.empty()) out += Tile("Rows per second", NumberText(history.rows_per_second.last()->y));
  if (history.most_memory_bytes > 0) out += Tile("Peak memory", BytesText(history.most_memory_bytes));
  return out.empty() ? "" : "<dl class=\"tiles\">" + out + "</dl>\n";
}

std::string Facts(const ReportSubject& subject) {
  std::string out;
  const auto add = [&](const std::string& name, const std::string& value) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>", EscapeHtml(name, kNameBytes), EscapeHtml(value, kShownBytes));
  };
  if (subject.parameters > 0) {
    const bool part = subject.trained_parameters > 0 && subject.trained_parameters != subject.parameters;
    add("Parameters", CompactText(subject.parameters) +
                          (part ? fmt::format(", {} of them trained", CompactText(subject.trained_parameters)) : ""));
  }
  for (const auto& [name, value] : subject.facts) add(name, value);
  return out.empty() ? "" : Section("Run", "<dl class=\"facts card\">" + out + "</dl>\n");
}

std::string Head(const ReportSubject& subject, const RunHistory& history) {
  std::string out = fmt::format("<header><p class=\"soft\">Training report</p><h1>{}</h1>\n", NameText(subject.model));
  if (subject.planned_steps > 0 && history.last_step) {
    const double share =
        static_cast<double>(history.last_step->report.step + 1) / static_cast<double>(subject.planned_steps);
    out += fmt::format("<div class=\"progress\"><i style=\"width:{:.1f}%\"></i></div>\n",
                       100 * std::clamp(share, 0.0, 1.0));
  }
  return out + Tiles(subject, history) + "</header>\n";
}

// --- Charts --------------------------------------------------------------------------------------------------------

/// A line for every suite that has finite values.
std::vector<ChartLine> SuiteLines(const Evaluations& evaluations,
                                  const std::function<double(const EvaluationLine&)>& value) {
  std::map<std::string, Series> series;
  for (const auto& [key, line] : evaluations) {
    series[line.suite].Add(static_cast<double>(line.steps_taken), value(line));
  }
  std::vector<ChartLine> lines;
  for (const auto& [suite, points] : series) {
    lines.push_back({.name = suite.empty() ? "(unnamed)" : suite, .points = points.points(), .look = LineLook::kDots});
  }
  return lines;
}

ChartLine SmoothLine(std::string name, const Series& series) {
  return {.name = std::move(name), .points = series.points(), .look = LineLook::kSmoothed};
}

Chart Losses(const RunHistory& history) {
  Chart chart{
      .title = "Loss, nats",
      .lines = {SmoothLine("diffusion", history.diffusion_loss), SmoothLine("next token", history.next_token_loss)}};
  const auto add = [&](const char* what, const std::function<double(const EvaluationLine&)>& loss) {
    for (ChartLine& line : SuiteLines(history.evaluations, loss)) {
      if (line.points.empty()) continue;
      line.name += what;
      chart.lines.push_back(std::move(line));
    }
  };
  add(", diffusion", [](const EvaluationLine& line) { return line.diffusion_loss; });
  add(", next token", [](const EvaluationLine& line) { return line.next_token_loss; });
  return chart;
}

std::string Charts(const RunHistory& history) {
  const auto accuracy = [](const EvaluationLine& line) { return line.all().accuracy(); };
  const auto steps = [](const EvaluationLine& line) { return line.all().steps_per_canvas(); };
  std::string out = ChartFigure(Losses(history));
  out += ChartFigure({.title = "Accuracy, all tasks",
                      .lines = SuiteLines(history.evaluations, accuracy),
                      .scale = ChartScale::kShare});
  out += ChartFigure({.title = "Steps per canvas", .lines = SuiteLines(history.evaluations, steps)});
  out += ChartFigure({.title = "Learning rate", .lines = {{.name = "rate", .points = history.rate.points()}}});
  out += ChartFigure({.title = "Gradient norm, before clipping", .lines = {SmoothLine("norm", history.gradient_norm)}});
  out += ChartFigure({.title = "Speed", .lines = {SmoothLine("rows per second", history.rows_per_second)}});
  return out.empty() ? "" : Section("Curves", "<div class=\"charts\">\n" + out + "</div>\n");
}

/// Small charts of the first tasks, and how many are left out.
std::string SmallCharts(const std::map<std::string, std::vector<ChartLine>>& tasks, const std::string& legend) {
  std::string out;
  size_t shown = 0;
  for (const auto& [task, lines] : tasks) {
    if (shown++ < kSmallCharts) out += SmallChartFigure({.title = task.empty() ? "(unnamed)" : task, .lines = lines});
  }
  if (out.empty()) return "";
  if (tasks.size() > kSmallCharts) out += fmt::format("<p class=\"soft\">and {} more</p>", tasks.size() - kSmallCharts);
  return legend + "<div class=\"smalls\">\n" + out + "</div>\n";
}

std::string TaskCharts(const RunHistory& history) {
  std::map<std::string, std::vector<ChartLine>> tasks;
  std::string names;
  const auto suites = LastOfSuites(history.evaluations);
  size_t suite_at = 0;
  for (const auto& [suite, last] : suites) {
    std::map<std::string, Series> series;
    for (const auto& [key, line] : history.evaluations) {
      if (line.suite != suite) continue;
      for (const auto& [task, score] : line.tasks)
        series[task].Add(static_cast<double>(line.steps_taken), score.accuracy());
    }
    for (const auto& [task, points] : series) {
      std::vector<ChartLine>& lines = tasks[task];
      lines.resize(suites.size());  // the same colour for a suite everywhere
      lines[suite_at] = {.name = suite, .points = points.points()};
    }
    names += fmt::format("<li class=\"c{}\"><i></i>{}</li>", suite_at % 8, NameText(suite));
    ++suite_at;
  }
  std::string out = Section("Accuracy by task", SmallCharts(tasks, "<ul class=\"legend\">" + names + "</ul>\n"));
  std::map<std::string, std::vector<ChartLine>> rows;
  for (const auto& [task, series] : history.row_accuracy) rows[task] = {SmoothLine(task, series)};
  return out + Section("Canvas rows predicted right while training, by task", SmallCharts(rows, ""));
}

// --- Tables and samples --------------------------------------------------------------------------------------------

/// The cells of a task and a suite.
std::string ScoreCells(const TaskScore& score) {
  if (score.answers == 0) return "<td></td><td></td><td></td>";
  const double accuracy = std::clamp(score.accuracy(), 0.0, 1.0);
  return fmt::format("<td class=\"bar\" style=\"--part:{:.3f}\">{}</td><td><small>{} / {}</small></td><td>{}</td>",
                     accuracy, PercentText(score.accuracy()), CountText(score.correct), CountText(score.answers),
                     NumberText(score.steps_per_canvas()));
}

std::string LastEvaluations(const RunHistory& history) {
  const auto suites = LastOfSuites(history.evaluations);
  std::set<std::string> tasks;
  std::string names, columns;
  for (const auto& [suite, line] : suites) {
    for (const auto& [task, score] : line->tasks) tasks.insert(task);
    names += fmt::format("<th colspan=\"3\">{} <small>after {} steps</small></th>", NameText(suite),
                         CountText(line->steps_taken));
    columns += "<th>accuracy</th><th>right</th><th>steps per canvas</th>";
  }
  if (tasks.empty()) return "";
  std::string out = "<div class=\"scroll card\"><table><thead><tr><th></th>" + names + "</tr><tr><th>Task</th>" +
                    columns + "</tr></thead>\n<tbody>\n";
  for (const std::string& task : tasks) {
    out += "<tr><td>" + NameText(task) + "</td>";
    for (const auto& [suite, line] : suites) {
      const auto score = line->tasks.find(task);
      out += ScoreCells(score == line->tasks.end() ? TaskScore() : score->second);
    }
    out += "</tr>\n";
  }
  out += "</tbody><tfoot><tr><td>All</td>";
  for (const auto& [suite, line] : suites) out += ScoreCells(line->all());
  return Section("Last evaluation", out + "</tr></tfoot></table></div>\n");
}

/// Answers to one prompt, equal ones in a row once, at most kAnswers: the first and the last ones.
std::string Answers(std::span<const SampleLine* const> samples) {
  struct Run {
    const SampleLine* first;
    const SampleLine* last;
  };
  std::vector<Run> runs;
  for (const SampleLine* sample : samples) {
    if (!runs.empty() && runs.back().last->answer == sample->answer) {
      runs.back().last = sample;
    } else {
      runs.push_back({.first = sample, .last = sample});
    }
  }
  std::string out;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i > 0 && i + kAnswers <= runs.size()) continue;
    const auto& [first, last] = runs[i];
    const std::string until = first == last ? "" : " – " + CountText(last->steps_taken);
    const bool right = !first->expected.empty() && first->expected == first->answer;
    out += fmt::format("<div{}><span>step {}{}</span><pre>{}</pre></div>\n", right ? " class=\"right\"" : "",
                       CountText(first->steps_taken), until, EscapeHtml(first->answer, kShownBytes));
  }
  return out;
}

std::string Samples(const RunHistory& history) {
  std::map<std::string_view, std::vector<const SampleLine*>> by_prompt;
  std::map<std::string_view, size_t> place;  // in the order in which they were first asked
  for (const SampleLine& sample : history.samples) {
    place.emplace(sample.prompt, place.size());
    by_prompt[sample.prompt].push_back(&sample);
  }
  std::vector<std::string_view> prompts;
  for (const auto& [prompt, samples] : by_prompt) prompts.push_back(prompt);
  // Those that were asked last come first.
  std::ranges::sort(prompts, {}, [&](std::string_view prompt) {
    return std::pair(-by_prompt[prompt].back()->steps_taken, place[prompt]);
  });
  std::string out;
  for (const std::string_view prompt : std::span(prompts).first(std::min(prompts.size(), kPrompts))) {
    const auto& samples = by_prompt[prompt];
    const SampleLine& last = *samples.back();
    out += fmt::format("<article class=\"sample card\"><div class=\"ask\"><span>{}</span><pre>{}</pre></div>\n{}",
                       last.task.empty() ? "prompt" : NameText(last.task), EscapeHtml(prompt, kShownBytes),
                       Answers(samples));
    if (!last.expected.empty() && last.expected != last.answer) {
      out += fmt::format("<div><span>expected</span><pre>{}</pre></div>\n", EscapeHtml(last.expected, kShownBytes));
    }
    out += "</article>\n";
  }
  return Section("Answers", out);
}

std::string DatasetSection(const DatasetStatistics& dataset) {
  std::string out = fmt::format("<p>{} records, {} used, {} examples.</p>\n", CountText(dataset.records),
                                CountText(dataset.used), CountText(dataset.examples));
  std::string lengths;
  const auto add = [&](const char* what, const LengthCounts& counts) {
    lengths += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", what,
                           CountText(counts.Quantile(0)), CountText(counts.Quantile(0.5)),
                           CountText(counts.Quantile(0.95)), CountText(counts.Quantile(1)));
  };
  add("Tokens before an answer", dataset.context_tokens);
  add("Tokens of an answer", dataset.answer_tokens);
  add("Canvases of an answer", dataset.answer_canvases);
  out +=
      "<div class=\"scroll card\"><table><thead><tr><th></th><th>least</th><th>median</th><th>95 "
      "%</th><th>most</th></tr></thead>"
      "<tbody>" +
      lengths + "</tbody></table></div>\n";
  std::string faults;
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    const FaultCount& fault = dataset.faults[kind];
    if (fault.records == 0) continue;
    std::string first;
    for (const std::string& message : fault.first)
      first += (first.empty() ? "" : "<br>") + EscapeHtml(message, kShownBytes);
    faults += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"wrap\">{}</td></tr>\n",
                          EscapeHtml(Name(static_cast<FaultKind>(kind))), CountText(fault.records), first);
  }
  if (faults.empty()) return Section("Data", out + "<p>No faults.</p>\n");
  return Section("Data", out +
                             "<h3 class=\"after\">Left out</h3>\n<div class=\"scroll "
                             "card\"><table><thead><tr><th>Fault</th><th>records</th>"
                             "<th class=\"wrap\">the first ones</th></tr></thead><tbody>\n" +
                             faults + "</tbody></table></div>\n");
}

}  // namespace

std::string HtmlReport(const ReportSubject& subject, const RunHistory& history) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{} – training report</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<main>\n",
      NameText(subject.model), kReportStyle);
  out += Head(subject, history) + Charts(history) + TaskCharts(history) + LastEvaluations(history) + Samples(history);
  out += Facts(subject);
  if (subject.dataset != nullptr) out += DatasetSection(*subject.dataset);
  out += "<footer>Curves are means of neighbouring steps; bold lines of loss, norm and speed are smoothed.";
  if (history.lines_left_out > 0)
    out += fmt::format(" {} unreadable lines of the log left out.", CountText(history.lines_left_out));
  return out + "</footer>\n</main>\n</body>\n</html>\n";
}

Result<void> SaveHtmlReport(const std::filesystem::path& path, const ReportSubject& subject,
                            const RunHistory& history) {
  const std::string page = HtmlReport(subject, history);
  return SaveFile(path, std::as_bytes(std::span(page)));
}

}  // namespace dgemma
