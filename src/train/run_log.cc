// Lines of metrics.jsonl written, read and cut. What the lines mean for a report is run_history.cc's.
#include "train/run_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <functional>
#include <span>
#include <string_view>
#include <system_error>

#include "base/try.h"
#include "files/atomic_file.h"
#include "files/json.h"
#include "files/mapped_file.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace fs = std::filesystem;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kMaxCount = int64_t{1} << 50;  // of a count that is read: sums of kMaxLineTasks of them fit
constexpr size_t kMaxLineTasks = 4096;           // of a line that is read
constexpr uint64_t kMaxLineBytes = 16 << 20;

std::string JsonString(std::string_view text) {
  return boost::json::serialize(boost::json::string(ReplaceInvalidUtf8(text)));
}

/// An object, field by field.
class ObjectText {
 public:
  void Add(std::string_view key, int64_t value) { AddText(key, fmt::format("{}", value)); }
  void Add(std::string_view key, double value) {
    AddText(key, std::isfinite(value) ? fmt::format("{}", value) : "null");
  }
  void Add(std::string_view key, std::string_view value) { AddText(key, JsonString(value)); }
  void Add(std::string_view key, const ObjectText& value) { AddText(key, value.text()); }
  std::string text() const { return "{" + fields_ + "}"; }

 private:
  void AddText(std::string_view key, std::string_view value) {
    fields_ += fmt::format("{}{}:{}", fields_.empty() ? "" : ",", JsonString(key), value);
  }

  std::string fields_;
};

int64_t Count(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_int64() ? std::clamp<int64_t>(value->get_int64(), 0, kMaxCount) : 0;
}

double Measure(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_number() ? value->to_number<double>() : kNone;
}

std::string Text(const boost::json::object& object, std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

/// Calls `visit` with every task of a line and its object.
void VisitTasks(const boost::json::object& line,
                const std::function<void(const std::string&, const boost::json::object&)>& visit) {
  const boost::json::value* tasks = line.if_contains("tasks");
  if (tasks == nullptr || !tasks->is_object()) return;
  size_t left = kMaxLineTasks;
  for (const auto& [name, task] : tasks->get_object()) {
    if (left-- == 0) break;
    if (task.is_object()) visit(std::string(name), task.get_object());
  }
}

StepLine ReadStep(const boost::json::object& object) {
  StepLine line{.report = {.step = Count(object, "step"),
                           .diffusion_loss = Measure(object, "diffusion_loss"),
                           .next_token_loss = Measure(object, "next_token_loss"),
                           .gradient_norm = Measure(object, "gradient_norm"),
                           .rate = Measure(object, "rate"),
                           .rows = Count(object, "rows"),
                           .tasks = {}},
                .examples = Count(object, "examples"),
                .epoch = Measure(object, "epoch"),
                .rows_per_second = Measure(object, "rows_per_second"),
                .seconds = Measure(object, "seconds"),
                .memory_bytes = Count(object, "memory_bytes")};
  VisitTasks(object, [&](const std::string& name, const boost::json::object& task) {
    line.report.tasks[name] = {.rows = Count(task, "rows"), .correct = Count(task, "correct")};
  });
  return line;
}

EvaluationLine ReadEvaluation(const boost::json::object& object) {
  EvaluationLine line{.suite = Text(object, "suite"),
                      .steps_taken = Count(object, "steps_taken"),
                      .tasks = {},
                      .diffusion_loss = Measure(object, "diffusion_loss"),
                      .next_token_loss = Measure(object, "next_token_loss"),
                      .seconds = Measure(object, "seconds")};
  VisitTasks(object, [&](const std::string& name, const boost::json::object& task) {
    TaskScore& score = line.tasks[name];
    score.answers = Count(task, "answers");
    score.correct = Count(task, "correct");
    score.canvases = Count(task, "canvases");
    score.canvas_steps = Count(task, "canvas_steps");
  });
  return line;
}

SampleLine ReadSample(const boost::json::object& object) {
  return {.steps_taken = Count(object, "steps_taken"),
          .task = Text(object, "task"),
          .prompt = Text(object, "prompt"),
          .answer = Text(object, "answer"),
          .expected = Text(object, "expected")};
}

/// Whether the line was written by a run that had not yet taken more than `first_step` steps.
bool IsBefore(const boost::json::object& line, int64_t first_step) {
  if (line.contains("steps_taken")) return Count(line, "steps_taken") <= first_step;
  return !line.contains("step") || Count(line, "step") < first_step;
}

void AddLine(const boost::json::object& line, RunHistory& history) {
  const std::string kind = Text(line, "kind");
  if (kind == "step") history.Add(ReadStep(line));
  if (kind == "evaluation") history.Add(ReadEvaluation(line));
  if (kind == "sample") history.Add(ReadSample(line));
}

/// Calls `visit` with each line, newline included, and its object; nullptr where the line is none.
Result<void> VisitLines(std::string_view text,
                        const std::function<Result<void>(std::string_view, const boost::json::object*)>& visit) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end == std::string_view::npos ? end : end + 1);
    text.remove_prefix(line.size());
    const auto value = end == std::string_view::npos || line.size() > kMaxLineBytes
                           ? Fail(StatusCode::kInvalidFile, "torn or too long")
                           : ParseJson(line, {.bytes = kMaxLineBytes});
    DG_CHECK_OK(visit(line, value && value->is_object() ? &value->get_object() : nullptr));
  }
  return {};
}

/// The bytes of a log; nothing where there is no file or an empty one.
Result<std::optional<MappedFile>> MapLog(const fs::path& path) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status) || (fs::is_regular_file(status) && fs::file_size(path, code) == 0 && !code)) {
    return std::nullopt;
  }
  DG_TRY(MappedFile file, MappedFile::Open(path));
  return file;
}

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

std::string JsonLine(const StepLine& line) {
  ObjectText object;
  object.Add("kind", std::string_view("step"));
  object.Add("step", line.report.step);
  object.Add("examples", line.examples);
  object.Add("epoch", line.epoch);
  object.Add("diffusion_loss", line.report.diffusion_loss);
  object.Add("next_token_loss", line.report.next_token_loss);
  object.Add("gradient_norm", line.report.gradient_norm);
  object.Add("rate", line.report.rate);
  object.Add("rows", line.report.rows);
  object.Add("rows_per_second", line.rows_per_second);
  object.Add("seconds", line.seconds);
  object.Add("memory_bytes", line.memory_bytes);
  ObjectText tasks;
  for (const auto& [name, rows] : line.report.tasks) {
    ObjectText task;
    task.Add("rows", rows.rows);
    task.Add("correct", rows.correct);
    tasks.Add(name, task);
  }
  object.Add("tasks", tasks);
  return object.text() + "\n";
}

std::string JsonLine(const EvaluationLine& line) {
  const TaskScore all = line.all();
  ObjectText object;
  object.Add("kind", std::string_view("evaluation"));
  object.Add("suite", std::string_view(line.suite));
  object.Add("steps_taken", line.steps_taken);
  object.Add("accuracy", all.accuracy());
  object.Add("steps_per_canvas", all.steps_per_canvas());
  object.Add("diffusion_loss", line.diffusion_loss);
  object.Add("next_token_loss", line.next_token_loss);
  object.Add("seconds", line.seconds);
  ObjectText tasks;
  for (const auto& [name, score] : line.tasks) {
    ObjectText task;
    task.Add("answers", score.answers);
    task.Add("correct", score.correct);
    task.Add("accuracy", score.accuracy());
    task.Add("canvases", score.canvases);
    task.Add("canvas_steps", score.canvas_steps);
    tasks.Add(name, task);
  }
  object.Add("tasks", tasks);
  return object.text() + "\n";
}

std::string JsonLine(const SampleLine& line) {
  ObjectText object;
  object.Add("kind", std::string_view("sample"));
  object.Add("steps_taken", line.steps_taken);
  if (!line.task.empty()) object.Add("task", std::string_view(line.task));
  object.Add("prompt", std::string_view(line.prompt));
  object.Add("answer", std::string_view(line.answer));
  if (!line.expected.empty()) object.Add("expected", std::string_view(line.expected));
  return object.text() + "\n";
}

Result<RunHistory> ReadRunLog(const fs::path& path) {
  std::error_code code;
  if (!fs::exists(path, code)) return Fail(StatusCode::kNotFound, path.string() + ": no such file");
  DG_TRY(const std::optional<MappedFile> file, MapLog(path));
  RunHistory history;
  if (!file) return history;
  DG_CHECK_OK(VisitLines(TextOf(*file), [&](std::string_view, const boost::json::object* line) -> Result<void> {
    if (line == nullptr) ++history.lines_left_out;
    if (line != nullptr) AddLine(*line, history);
    return {};
  }));
  return history;
}

Result<RunLog> RunLog::Open(const fs::path& path, int64_t first_step, FileSystem& system) {
  DG_TRY(const std::optional<MappedFile> before, MapLog(path));
  RunHistory history;
  int64_t lines_cut = 0;
  if (before) {
    DG_TRY(AtomicFile kept, AtomicFile::Create(path, system));
    DG_CHECK_OK(
        VisitLines(TextOf(*before), [&](std::string_view text, const boost::json::object* line) -> Result<void> {
          if (first_step == 0 || line == nullptr || !IsBefore(*line, first_step)) {
            ++lines_cut;
            return {};
          }
          AddLine(*line, history);
          return kept.Write(std::as_bytes(std::span(text)));
        }));
    if (lines_cut > 0) DG_CHECK_OK(kept.Commit());
  }
  DG_TRY(AppendFile file, AppendFile::Create(path, AppendFile::Open::kExisting, system));
  return RunLog(std::move(file), std::move(history), lines_cut);
}

template <typename Line>
Result<void> RunLog::AppendLine(const Line& line) {
  // Behind a write that failed half way a newline makes sure that only the torn line is lost.
  const std::string text = (torn_ ? "\n" : "") + JsonLine(line);
  torn_ = true;
  DG_CHECK_OK(file_.Append(std::as_bytes(std::span(text))));
  torn_ = false;
  history_.Add(line);
  return {};
}

template Result<void> RunLog::AppendLine(const StepLine& line);
template Result<void> RunLog::AppendLine(const EvaluationLine& line);
template Result<void> RunLog::AppendLine(const SampleLine& line);

}  // namespace dgemma
