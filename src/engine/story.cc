// Choosing and running passes; Drive, for whoever has all stories at the start. The Scheduler calls the same two
// functions.
#include "engine/story.h"

#include <algorithm>
#include <exception>
#include <tuple>

#include "engine/guard.h"

namespace dgemma {

std::vector<Story*> ChoosePass(const PassExecutor& executor, std::span<Story* const> stories) {
  using Place = std::tuple<int64_t, bool, size_t>;  // smallest first
  std::vector<Place> line;
  for (size_t i = 0; i < stories.size(); ++i) {
    const Story& story = *stories[i];
    if (!story.ended()) line.emplace_back(-story.missed_passes(), !story.job()->has_canvas(), i);
  }
  std::sort(line.begin(), line.end());
  std::vector<Story*> members;
  int64_t rows = 0, canvases = 0;
  for (const Place& place : line) {
    Story* story = stories[std::get<size_t>(place)];
    const int64_t more_rows = story->job()->rows(), more_canvases = story->job()->has_canvas();
    const bool fits = rows + more_rows <= executor.max_rows() && canvases + more_canvases <= executor.max_canvases();
    if (!fits && !members.empty()) {
      ++story->missed_passes_;
      continue;
    }
    story->missed_passes_ = 0;
    rows += more_rows;
    canvases += more_canvases;
    members.push_back(story);
  }
  return members;
}

Result<void> RunPass(PassExecutor& executor, std::span<Story* const> members, std::stop_token stop) {
  const Result<void> result = Guarded([&]() -> Result<void> {
    std::vector<PassJob*> jobs;
    for (const Story* story : members) jobs.push_back(story->job());
    try {
      return executor.Run(jobs, std::move(stop));
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      return Fail(StatusCode::kInternal, std::string("pass: ") + error.what());
    }
  });
  for (Story* story : members) {
    const bool finite = !result || story->job()->finite;
    story->Continue(finite ? result : Fail(StatusCode::kNonFinite, "pass: NaN or infinity"));
  }
  return result;
}

void Drive(PassExecutor& executor, std::span<Story> stories, std::stop_token stop) {
  std::vector<Story*> open;
  for (Story& story : stories) {
    story.Continue({});
    open.push_back(&story);
  }
  while (true) {
    const std::vector<Story*> members = ChoosePass(executor, open);
    if (members.empty()) return;
    RunPass(executor, members, stop);
  }
}

}  // namespace dgemma
