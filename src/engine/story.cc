// The driver: which stories take part in the next pass.
#include "engine/story.h"

namespace dgemma {

void Drive(PassRunner& runner, std::span<Story> stories, std::stop_token stop) {
  for (Story& story : stories) story.Continue({});
  while (true) {
    std::vector<Story*> taking_part;
    std::vector<PassJob*> jobs;
    int64_t rows = 0, canvases = 0;
    for (Story& story : stories) {
      if (story.ended()) continue;
      PassJob* job = story.job();
      if (!jobs.empty() &&
          (rows + job->rows() > runner.max_rows() || canvases + job->has_canvas() > runner.max_canvases()))
        continue;
      rows += job->rows();
      canvases += job->has_canvas();
      taking_part.push_back(&story);
      jobs.push_back(job);
    }
    if (jobs.empty()) return;
    const Result<void> result = runner.Run(jobs, stop);
    for (Story* story : taking_part) story->Continue(result);
  }
}

}  // namespace dgemma
