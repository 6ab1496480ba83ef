// Order inside a pass: jobs with a canvas first, so that the canvas rows are the first rows of the hidden states and the denoise
// head runs once over all of them.
#include "engine/pass_runner.h"

#include <algorithm>
#include <iterator>

#include "base/try.h"
#include "engine/guard.h"

namespace dgemma {

int64_t PassJob::rows() const {
  int64_t rows = 0;
  for (const Segment& segment : segments) rows += segment.rows();
  return rows;
}

int64_t PassRunner::PlannedBytes(const Config& config, int64_t rows, int64_t canvases) {
  const int64_t logits = canvases * config.vocab * static_cast<int64_t>(sizeof(float));
  return Activations::PlannedBytes(config, rows, canvases) + canvases * SoftBytes(config) + logits;
}

Result<std::unique_ptr<PassRunner>> PassRunner::Create(const Model& model, int64_t rows, int64_t canvases) {
  std::unique_ptr<PassRunner> runner(new PassRunner(model));
  DG_TRY(runner->activations_, Activations::Create(model.config, rows, canvases, model.kernels));
  DG_TRY(runner->soft_memory_, model.kernels.Allocate(canvases * SoftBytes(model.config)));
  runner->head_scratch_ = model.kernels.MakeHeadScratch();
  runner->head_rows_.resize(static_cast<size_t>(canvases * model.config.canvas));
  runner->temperatures_.resize(runner->head_rows_.size());
  runner->logits_.reserve(static_cast<size_t>(canvases * model.config.vocab));
  return runner;
}

Result<void> PassRunner::Run(std::span<PassJob* const> jobs, std::stop_token stop) {
  std::vector<PassJob*> ordered;
  std::copy_if(jobs.begin(), jobs.end(), std::back_inserter(ordered),
               [](const PassJob* job) { return job->has_canvas(); });
  std::copy_if(jobs.begin(), jobs.end(), std::back_inserter(ordered),
               [](const PassJob* job) { return !job->has_canvas(); });
  Pass pass;
  pass.stop = std::move(stop);
  pass.rounds_attention = true;
  for (const PassJob* job : ordered)
    pass.segments.insert(pass.segments.end(), job->segments.begin(), job->segments.end());
  return Guarded([&]() -> Result<void> {  // backends grow their scratch inside a pass
    DG_TRY(const Matrix hidden, Forward(model_, activations_, pass));
    CheckNumbers(ordered, hidden);
    RunHead(ordered, hidden);
    return {};
  });
}

/// Softcap and softmax can make numbers of infinity again, so what goes into the head is looked at; keys and values of prompts
/// and commits meet no head in this pass.
void PassRunner::CheckNumbers(std::span<PassJob* const> jobs, Matrix hidden) const {
  int64_t row = 0;
  for (PassJob* job : jobs) {
    for (const Segment& segment : job->segments) {
      const int64_t rows = segment.hidden_rows();
      job->finite = job->finite && IsFinite(hidden.Rows(row, rows), model_.kernels);
      row += rows;
      if (!segment.causal()) continue;
      job->finite = job->finite && segment.cache->IsFinite(segment.pos, segment.pos + segment.rows(), model_.kernels);
    }
  }
}

void PassRunner::RunHead(std::span<PassJob* const> jobs, Matrix hidden) {
  const Config& config = model_.config;
  const Matrix soft{soft_memory_.Floats(), hidden.rows, config.width, config.width};
  int64_t canvas_rows = 0, last_rows = 0;
  for (const PassJob* job : jobs) {
    for (const Segment& segment : job->segments) {
      if (segment.causal()) {
        last_rows += segment.hidden_rows();
      } else {
        std::fill_n(temperatures_.begin() + canvas_rows, segment.rows(), job->temperature);
        canvas_rows += segment.rows();
      }
    }
  }
  if (canvas_rows > 0) {
    const HeadParams params{static_cast<float>(config.softcap), model_.embed_scale,
                            std::span(temperatures_).first(static_cast<size_t>(canvas_rows))};
    model_.kernels.Denoise(hidden.Rows(0, canvas_rows), model_.weights.embedding, params, *head_scratch_,
                           std::span(head_rows_).first(static_cast<size_t>(canvas_rows)), soft.Rows(0, canvas_rows));
  }
  if (last_rows > 0) {
    logits_.resize(static_cast<size_t>(last_rows * config.vocab));
    model_.kernels.Logits(hidden.Rows(canvas_rows, last_rows), model_.weights.embedding,
                          static_cast<float>(config.softcap), {logits_.data(), last_rows, config.vocab, config.vocab});
  }
  int64_t canvas_row = 0, last_row = 0;
  for (PassJob* job : jobs) {
    for (const Segment& segment : job->segments) {
      if (!segment.causal()) {
        job->predictions = {&model_.kernels, head_scratch_.get(), static_cast<int32_t>(canvas_row),
                            std::span(head_rows_).subspan(static_cast<size_t>(canvas_row), segment.tokens.size()),
                            soft.Rows(canvas_row, segment.rows())};
        canvas_row += segment.rows();
      } else if (segment.hidden_rows() > 0) {
        job->logits =
            std::span(logits_).subspan(static_cast<size_t>(last_row * config.vocab), static_cast<size_t>(config.vocab));
        last_row += segment.hidden_rows();
      }
    }
  }
}

}  // namespace dgemma
