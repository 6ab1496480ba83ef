// Lines of a log gathered into curves of bounded length; see run_log.h.
#include <algorithm>
#include <cmath>

#include "train/run_log.h"

namespace dgemma {

TaskScore& TaskScore::operator+=(const TaskScore& other) {
  answers += other.answers;
  correct += other.correct;
  canvases += other.canvases;
  canvas_steps += other.canvas_steps;
  return *this;
}

TaskScore EvaluationLine::all() const {
  TaskScore all;
  for (const auto& [name, score] : tasks) all += score;
  return all;
}

void Series::Add(double x, double y) {
  constexpr double kBound = 1e100;  // sums of as many points as there can be stay finite
  if (!(std::abs(x) <= kBound) || !(std::abs(y) <= kBound)) return;
  last_ = {x, y};
  sum_.x += x;
  sum_.y += y;
  if (++summed_ < stride_) return;
  const auto count = static_cast<double>(stride_);
  means_.push_back({sum_.x / count, sum_.y / count});
  sum_ = {};
  summed_ = 0;
  if (means_.size() < kMaxPoints) return;
  for (size_t i = 0; i < kMaxPoints / 2; ++i) {
    const Point &a = means_[2 * i], &b = means_[2 * i + 1];
    means_[i] = {(a.x + b.x) / 2, (a.y + b.y) / 2};
  }
  means_.resize(kMaxPoints / 2);
  stride_ *= 2;
}

std::vector<Series::Point> Series::points() const {
  std::vector<Point> points = means_;
  const auto count = static_cast<double>(summed_);
  if (summed_ > 0) points.push_back({sum_.x / count, sum_.y / count});
  return points;
}

void RunHistory::Add(const StepLine& line) {
  const auto step = static_cast<double>(line.report.step);
  diffusion_loss.Add(step, line.report.diffusion_loss);
  next_token_loss.Add(step, line.report.next_token_loss);
  gradient_norm.Add(step, line.report.gradient_norm);
  rate.Add(step, line.report.rate);
  rows_per_second.Add(step, line.rows_per_second);
  for (const auto& [task, rows] : line.report.tasks) {
    if (rows.rows <= 0 || (row_accuracy.size() >= kMaxTasks && !row_accuracy.contains(task))) continue;
    row_accuracy[task].Add(step, static_cast<double>(rows.correct) / static_cast<double>(rows.rows));
  }
  last_step = line;
  ++steps;
  most_memory_bytes = std::max(most_memory_bytes, line.memory_bytes);
}

void RunHistory::Add(const EvaluationLine& line) { evaluations[{line.steps_taken, line.suite}] = line; }

void RunHistory::Add(const SampleLine& line) {
  samples.push_back(line);
  if (samples.size() > kMaxSamples) samples.pop_front();
}

}  // namespace dgemma
