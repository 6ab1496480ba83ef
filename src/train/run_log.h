// What a training run tells: metrics.jsonl, one JSON object a line, appended while the run goes on and read back for
// the report. A run that was killed and goes on from a checkpoint first cuts what it had logged beyond it.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dgemma/status.h"
#include "train/append_file.h"
#include "train/trainer.h"

namespace dgemma {

/// {"kind":"step", ...}: a step that was taken.
struct StepLine {
  StepReport report{};
  int64_t examples = 0;  ///< seen since the first step, this one's included
  double epoch = 0;      ///< examples over those of the data set
  double rows_per_second = 0;
  double seconds = 0;  ///< of training since the first step, those of earlier processes included
  int64_t memory_bytes = 0;
};

/// Answers of an evaluation to the questions of one task.
struct TaskScore {
  int64_t answers = 0;
  int64_t correct = 0;
  int64_t canvases = 0;
  int64_t canvas_steps = 0;  ///< denoising steps of all of them

  TaskScore& operator+=(const TaskScore& other);
  double accuracy() const { return Ratio(correct, answers); }                ///< NaN without answers
  double steps_per_canvas() const { return Ratio(canvas_steps, canvases); }  ///< NaN without canvases

 private:
  static double Ratio(int64_t part, int64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole)
                     : std::numeric_limits<double>::quiet_NaN();
  }
};

/// {"kind":"evaluation", ...}: what the weights were worth after some steps. A suite that is evaluated again after as
/// many steps replaces what it said before.
struct EvaluationLine {
  std::string suite{};
  int64_t steps_taken = 0;
  std::map<std::string, TaskScore> tasks{};
  double diffusion_loss = std::numeric_limits<double>::quiet_NaN();  ///< NaN: not measured
  double next_token_loss = std::numeric_limits<double>::quiet_NaN();
  double seconds = 0;  ///< that the evaluation took

  TaskScore all() const;
};

/// {"kind":"sample", ...}: an answer to look at.
struct SampleLine {
  int64_t steps_taken = 0;
  std::string task{};  ///< may be empty
  std::string prompt{};
  std::string answer{};
  std::string expected{};  ///< empty: unknown
};

/// A line of metrics.jsonl with its newline. Numbers in the fewest digits that read back the same, null for those that
/// are not finite; ill-formed UTF-8 replaced.
std::string JsonLine(const StepLine& line);
std::string JsonLine(const EvaluationLine& line);
std::string JsonLine(const SampleLine& line);

/// y over x, thinned to at most 800 points by averaging neighbours, whatever the number of points that were added.
class Series {
 public:
  struct Point {
    double x = 0;
    double y = 0;
    bool operator==(const Point&) const = default;
  };
  static constexpr size_t kMaxPoints = 800;  ///< even

  /// Points that are not finite or beyond 1e100 are left out.
  void Add(double x, double y);
  /// Means of as many added points each, the last one of what there was.
  std::vector<Point> points() const;
  const std::optional<Point>& last() const { return last_; }  ///< as added
  bool empty() const { return !last_; }

 private:
  std::vector<Point> means_;
  Point sum_;
  int64_t summed_ = 0, stride_ = 1;
  std::optional<Point> last_;
};

/// A run as curves. Memory does not grow with the number of steps.
struct RunHistory {
  static constexpr size_t kMaxTasks = 256;     ///< tasks of steps with a curve
  static constexpr size_t kMaxSamples = 2000;  ///< the latest ones are kept

  Series diffusion_loss, next_token_loss, gradient_norm, rate, rows_per_second;  ///< over the step
  std::map<std::string, Series> row_accuracy;  ///< over the step, by task: correct canvas rows over all
  std::optional<StepLine> last_step;
  int64_t steps = 0;  ///< lines of steps
  int64_t most_memory_bytes = 0;
  std::map<std::pair<int64_t, std::string>, EvaluationLine> evaluations;  ///< by steps_taken and suite
  std::deque<SampleLine> samples;                                         ///< in the order of the log
  int64_t lines_left_out = 0;  ///< that were no JSON object: a torn one, or none of ours

  void Add(const StepLine& line);
  void Add(const EvaluationLine& line);
  void Add(const SampleLine& line);
};

/// Reads a log. Lines that are no JSON objects or longer than 16 MiB are counted and left out, objects of an unknown
/// kind left out; a wrong or missing count is 0, a wrong or missing measure NaN. A last line without newline is left
/// out. kNotFound, kIo, kInvalidFile when `path` is no regular file; an empty file gives an empty history.
Result<RunHistory> ReadRunLog(const std::filesystem::path& path);

/// The open log of a run.
class RunLog {
 public:
  /// Opens or creates `path`. `first_step`: steps taken so far. 0 starts with an empty log; else lines of steps from
  /// there on, of evaluations and samples after more steps, and lines that are no JSON object are cut, atomically
  /// (atomic_file.h), and all others stay byte by byte. kIo; kInvalidFile when `path` is no regular file.
  static Result<RunLog> Open(const std::filesystem::path& path, int64_t first_step, FileSystem& system = SystemCalls());

  /// kIo: the line is not or only partly in the file; the next one starts a line of its own all the same.
  Result<void> Append(const StepLine& line) { return AppendLine(line); }
  Result<void> Append(const EvaluationLine& line) { return AppendLine(line); }
  Result<void> Append(const SampleLine& line) { return AppendLine(line); }
  /// Makes the log durable. Call it before a checkpoint is written: then no checkpoint knows of steps that the log
  /// lacks.
  Result<void> Sync() { return file_.Sync(); }

  /// What the log holds.
  const RunHistory& history() const { return history_; }
  int64_t lines_cut() const { return lines_cut_; }  ///< by Open

 private:
  RunLog(AppendFile file, RunHistory history, int64_t lines_cut)
      : file_(std::move(file)), history_(std::move(history)), lines_cut_(lines_cut) {}
  template <typename Line>
  Result<void> AppendLine(const Line& line);

  AppendFile file_;
  RunHistory history_;
  int64_t lines_cut_ = 0;
  bool torn_ = false;
};

}  // namespace dgemma
