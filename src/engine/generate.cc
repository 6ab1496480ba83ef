// The story. No option branches inside: schedule, acceptance, stop rule and noise are objects chosen before.
#include "engine/generate.h"

#include <algorithm>
#include <cmath>

#include "base/finite.h"
#include "base/try.h"

namespace dgemma {
namespace {

/// Tokens that have to be written to the cache before the text can go on, and how.
struct Pending {
  std::span<const int32_t> tokens;
  SegmentKind kind = SegmentKind::kPrompt;
};

std::span<const int32_t> UncachedPrompt(const GenerationPlan& plan) {
  return plan.prompt.subspan(static_cast<size_t>(plan.cache->end() - plan.cache->begin()));
}

/// Cuts up to `rows` tokens off the front of what is pending, as a segment.
Segment TakeSegment(const GenerationPlan& plan, Pending& pending, size_t rows) {
  Segment segment;
  segment.kind = pending.kind;
  segment.cache = plan.cache;
  segment.tokens = pending.tokens.first(std::min(rows, pending.tokens.size()));
  segment.pos = plan.cache->end();
  pending.tokens = pending.tokens.subspan(segment.tokens.size());
  return segment;
}

/// The next pass of a canvas: what is still pending, then the canvas.
PassJob StepJob(const GenerationPlan& plan, Pending& pending, const Canvas& canvas) {
  PassJob job;
  job.temperature = canvas.temperature();
  if (!pending.tokens.empty()) job.segments.push_back(TakeSegment(plan, pending, pending.tokens.size()));
  Segment segment;
  segment.kind = SegmentKind::kCanvas;
  segment.cache = plan.cache;
  segment.tokens = canvas.pass_tokens();
  segment.places = canvas.pass_rows();
  segment.store = plan.store;
  segment.pos = plan.cache->end() + job.rows();
  segment.soft = canvas.soft();
  segment.hidden = HiddenRows::kAll;
  job.segments.push_back(segment);
  return job;
}

/// Appends what belongs to the answer; true when the answer ends with it.
bool Keep(const GenerationPlan& plan, std::span<const int32_t> canvas, GenerationResult& result) {
  const std::vector<int32_t>& stops = plan.options.stop_tokens;
  const auto stop = std::find_if(canvas.begin(), canvas.end(),
                                 [&](int32_t id) { return std::find(stops.begin(), stops.end(), id) != stops.end(); });
  int64_t kept = stop - canvas.begin();
  const int64_t room = plan.options.max_new_tokens < 0 ? kept : plan.options.max_new_tokens - std::ssize(result.tokens);
  const bool over = kept > room || (kept == room && stop == canvas.end() && plan.options.max_new_tokens >= 0);
  kept = std::min(kept, room);
  result.tokens.insert(result.tokens.end(), canvas.begin(), canvas.begin() + kept);
  plan.observer->OnTokens(canvas, canvas.first(static_cast<size_t>(kept)));
  if (over)
    result.finish = FinishReason::kLength;
  else if (stop != canvas.end())
    result.finish = FinishReason::kStop;
  return over || stop != canvas.end();
}

DenoiseRules RulesOf(const GenerateOptions& options) {
  return {{options.t_min, options.t_max, options.steps},
          options.entropy_bound,
          options.stability,
          options.confidence,
          {options.skip.settled_steps, options.skip.refresh_every, options.skip.full_passes}};
}

/// Greedy, or by cumulative probability at this temperature.
int32_t ChooseToken(std::span<const float> logits, double temperature, double uniform) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return static_cast<int32_t>(best - logits.begin());
  double total = 0, cumulative = 0;
  for (float logit : logits) total += std::exp((static_cast<double>(logit) - *best) / temperature);
  for (size_t id = 0; id < logits.size(); ++id) {
    cumulative += std::exp((static_cast<double>(logits[id]) - *best) / temperature);
    if (cumulative > uniform * total) return static_cast<int32_t>(id);
  }
  return static_cast<int32_t>(logits.size() - 1);
}

}  // namespace

Story GenerateByDiffusion(GenerationPlan plan, GenerationResult& result) {
  const int64_t canvas_rows = plan.model->config.canvas;
  const auto chunk = static_cast<size_t>(plan.chunk_rows);
  result.sequence.assign(plan.prompt.begin(), plan.prompt.end());
  Pending pending{UncachedPrompt(plan), SegmentKind::kPrompt};
  std::vector<int32_t> finished;  // the last canvas, waiting to be committed

  for (bool ended = false; !ended;) {
    const bool merge = plan.commit == CommitMode::kMerged;
    while (pending.tokens.size() > (merge ? chunk : 0)) {  // what does not fit into the canvas's first pass
      PassJob job;
      job.segments = {TakeSegment(plan, pending, chunk)};
      DG_CO_CHECK_OK(co_await job);
      result.commit_passes += pending.kind == SegmentKind::kCommit;
      if (pending.kind == SegmentKind::kPrompt)
        plan.observer->OnPrefill(plan.cache->end() - plan.cache->begin(), std::ssize(plan.prompt));
    }
    if (plan.cache->end() + std::ssize(pending.tokens) + canvas_rows > plan.cache->context()) {
      result.finish = FinishReason::kContext;
      break;
    }

    const bool first = result.canvases == 0;
    Canvas canvas(static_cast<int32_t>(result.canvases), canvas_rows, RulesOf(plan.options), *plan.noise,
                  plan.soft_memory, first ? plan.start_canvas : std::span<const int32_t>{});
    ++result.canvases;
    while (!canvas.done()) {
      PassJob job = StepJob(plan, pending, canvas);
      DG_CO_CHECK_OK(co_await job);
      ++result.denoise_passes;
      DG_CO_CHECK_OK(canvas.Step(job.predictions));
      result.denoise_rows += canvas.last_pass_rows();
      plan.observer->OnStep(canvas);
    }
    finished.assign(canvas.argmax().begin(), canvas.argmax().end());  // the argmax, not the sampled tokens
    result.sequence.insert(result.sequence.end(), finished.begin(), finished.end());
    ended = Keep(plan, finished, result);
    pending = {finished, SegmentKind::kCommit};
  }
  co_return {};
}

Story GenerateAutoregressively(GenerationPlan plan, GenerationResult& result) {
  result.sequence.assign(plan.prompt.begin(), plan.prompt.end());
  const auto chunk = static_cast<size_t>(plan.chunk_rows);
  Pending pending{UncachedPrompt(plan), SegmentKind::kPrompt};
  int32_t token = 0;
  for (bool ended = false; !ended;) {
    PassJob job;
    job.segments = {TakeSegment(plan, pending, chunk)};
    if (pending.tokens.empty()) job.segments.back().hidden = HiddenRows::kLast;
    DG_CO_CHECK_OK(co_await job);
    if (job.segments.back().kind == SegmentKind::kPrompt)
      plan.observer->OnPrefill(plan.cache->end() - plan.cache->begin(), std::ssize(plan.prompt));
    if (!pending.tokens.empty()) continue;
    if (!AllFinite(job.logits)) {
      co_return Fail(StatusCode::kNonFinite, "logits: NaN or infinity");
    }
    const auto index = static_cast<int32_t>(result.tokens.size());
    token = ChooseToken(job.logits, plan.options.temperature, plan.noise->SampleUniform(index, 0, 0));
    result.sequence.push_back(token);
    ended = Keep(plan, std::span(&token, 1), result);
    if (!ended && plan.cache->end() >= plan.cache->context()) {
      result.finish = FinishReason::kContext;
      break;
    }
    pending = {std::span(&token, 1), SegmentKind::kStep};
  }
  co_return {};
}

}  // namespace dgemma
