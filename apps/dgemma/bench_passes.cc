// See bench_passes.h.
#include "bench_passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "base/try.h"
#include "engine/memory_plan.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kSteps = 48;  // of a canvas, which then begins anew

double MillisecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

std::vector<int32_t> Words(const Engine& engine, int64_t tokens) {
  const std::vector<int32_t> words = engine.Tokenize("count 3 to 9 and sort what is left over, then spell it; ");
  std::vector<int32_t> ids;
  while (!words.empty() && std::ssize(ids) < tokens) ids.insert(ids.end(), words.begin(), words.end());
  ids.resize(static_cast<size_t>(tokens));
  return ids;
}

}  // namespace

std::string Name(const PassToTime& pass) {
  switch (pass.kind) {
    case PassKind::kPrefill:
      return fmt::format("prefill {}", pass.tokens);
    case PassKind::kDenoise:
      return "denoise";
    case PassKind::kCommit:
      return "commit";
    case PassKind::kCommitAndDenoise:
      return "commit + denoise";
    case PassKind::kToken:
      return "token";
  }
  return "unknown";
}

PassBench::PassBench(std::unique_ptr<Engine> engine, KvCache cache, Buffer soft, int64_t prompt_tokens)
    : engine_(static_cast<EngineImpl*>(engine.release())),
      cache_(std::move(cache)),
      soft_memory_(std::move(soft)),
      noise_(0, engine_->model().config.vocab),
      prompt_(Words(*engine_, engine_->options().context_tokens)),
      prompt_tokens_(prompt_tokens) {}

Result<std::unique_ptr<PassBench>> PassBench::Load(Program& program, const ModelSource& source, int64_t prompt_tokens) {
  const Clock::time_point begin = Clock::now();
  DG_TRY(std::unique_ptr<Engine> engine, LoadModel(program, source));
  const double load_ms = MillisecondsSince(begin);
  const ModelFacts& facts = engine->facts();
  if (prompt_tokens + 2 * facts.canvas_tokens > facts.context_tokens) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("--prompt: {} tokens and two canvases of {} do not fit into a context of {}", prompt_tokens,
                            facts.canvas_tokens, facts.context_tokens));
  }
  const auto& loaded = static_cast<const EngineImpl&>(*engine);
  const Config& config = loaded.model().config;
  Kernels& kernels = loaded.model().kernels;
  const EngineOptions& options = loaded.options();
  DG_TRY(KvCache cache, KvCache::Create(config, options.context_tokens, options.prefill_chunk_tokens, kernels));
  DG_TRY(Buffer soft, kernels.Allocate(SoftBytes(config)));
  DG_TRY(const CheckpointFiles files, OpenModelFiles(source.model));
  std::vector<PlannedWeight> weights = PlanWeights(files, config, kernels);
  std::unique_ptr<PassBench> bench(new PassBench(std::move(engine), std::move(cache), std::move(soft), prompt_tokens));
  bench->weights_ = std::move(weights);
  bench->load_ms_ = load_ms;
  std::stop_source stop;
  const Signals::Scope scope(program.signals, Stopping(stop));
  DG_CHECK_OK(bench->ReadPrompt(prompt_tokens, stop.get_token()));
  return bench;
}

std::vector<PassToTime> PassBench::Passes(const std::vector<int64_t>& prefill) const {
  std::vector<PassToTime> passes;
  for (const int64_t tokens : prefill) passes.push_back({PassKind::kPrefill, tokens});
  if (!config().causal_only) {
    for (const PassKind kind : {PassKind::kDenoise, PassKind::kCommit, PassKind::kCommitAndDenoise})
      passes.push_back({kind, 0});
  }
  passes.push_back({PassKind::kToken, 0});
  return passes;
}

PassCost PassBench::Cost(const PassToTime& pass) const {
  const int64_t chunk = engine_->options().prefill_chunk_tokens;
  PassCost cost;
  // Causal rows in chunks; the last one is left for the canvas of a merged commit.
  const auto add_chunks = [&](int64_t tokens, int64_t cached, bool leave_last) {
    int64_t done = 0;
    for (; done < tokens && !(leave_last && tokens - done <= chunk); done += chunk)
      cost += CostOfPass(config(), weights_, {.causal = std::min(chunk, tokens - done), .cached = cached + done});
    return done;
  };
  switch (pass.kind) {
    case PassKind::kPrefill:
      add_chunks(pass.tokens, 0, false);
      break;
    case PassKind::kDenoise:
      cost = CostOfPass(config(), weights_, {.canvas = config().canvas, .cached = prompt_tokens_});
      break;
    case PassKind::kCommit:
      add_chunks(config().canvas, prompt_tokens_, false);
      break;
    case PassKind::kCommitAndDenoise: {
      const int64_t done = add_chunks(config().canvas, prompt_tokens_, true);
      cost += CostOfPass(config(), weights_,
                         {.causal = config().canvas - done,
                          .canvas = config().canvas,
                          .cached = prompt_tokens_ + done,
                          .self_conditioning = false});
      break;
    }
    case PassKind::kToken:
      cost = CostOfPass(config(), weights_, {.causal = 1, .cached = prompt_tokens_, .logits = 1});
      break;
  }
  return cost;
}

Canvas PassBench::NewCanvas() {
  const GenerateOptions options = engine_->Defaults();
  DenoiseRules rules;
  rules.schedule = {options.t_min, options.t_max, kSteps};
  rules.entropy_bound = options.entropy_bound;
  rules.stability = 0;  // no early stop
  rules.confidence = 0;
  return {0, config().canvas, rules, noise_, {soft_memory_.Floats(), config().canvas, config().width, config().width}};
}

Result<void> PassBench::Write(std::span<const int32_t> tokens, SegmentKind kind, Canvas* canvas,
                              const std::stop_token& stop) {
  const auto chunk = static_cast<size_t>(engine_->options().prefill_chunk_tokens);
  while (!tokens.empty() || canvas != nullptr) {
    PassJob job;
    if (!tokens.empty()) {
      const auto part = tokens.first(std::min(chunk, tokens.size()));
      tokens = tokens.subspan(part.size());
      job.segments.push_back({kind, &cache_, part, cache_.end(), {}, HiddenRows::kNone});
    }
    const bool with_canvas = canvas != nullptr && tokens.empty();
    if (with_canvas) {
      job.temperature = canvas->temperature();
      job.segments.push_back({SegmentKind::kCanvas, &cache_, canvas->tokens(), cache_.end() + job.rows(),
                              canvas->soft(), HiddenRows::kAll});
    }
    PassJob* const jobs[] = {&job};
    DG_CHECK_OK(engine_->runner().Run(jobs, stop));
    if (with_canvas) return canvas->Step(job.predictions);
  }
  return {};
}

Result<void> PassBench::ReadPrompt(int64_t tokens, const std::stop_token& stop) {
  cache_.Reset();
  return Write(std::span(prompt_).first(static_cast<size_t>(tokens)), SegmentKind::kPrompt, nullptr, stop);
}

Result<void> PassBench::BackToPrompt(const std::stop_token& stop) {
  if (cache_.end() >= prompt_tokens_ && cache_.Truncate(prompt_tokens_)) return {};
  return ReadPrompt(prompt_tokens_, stop);
}

Result<void> PassBench::RunToken(const std::stop_token& stop) {
  PassJob job;
  job.segments = {{SegmentKind::kStep, &cache_, std::span(prompt_).first(1), cache_.end(), {}, HiddenRows::kLast}};
  PassJob* const jobs[] = {&job};
  DG_CHECK_OK(engine_->runner().Run(jobs, stop));
  if (!std::ranges::all_of(job.logits, [](float logit) { return std::isfinite(logit); }))
    return Fail(StatusCode::kNonFinite, "logits: NaN or infinity");
  return {};
}

Result<double> PassBench::Milliseconds(const PassToTime& pass, const std::stop_token& stop) {
  if (pass.kind != PassKind::kPrefill) DG_CHECK_OK(BackToPrompt(stop));
  if (pass.kind == PassKind::kDenoise && (!canvas_ || canvas_->done() || canvas_->steps_done() == 0)) {
    canvas_.emplace(NewCanvas());
    DG_CHECK_OK(Write({}, SegmentKind::kCommit, &*canvas_, stop));  // the first step has no self-conditioning
  }
  const std::span<const int32_t> finished = std::span(prompt_).first(static_cast<size_t>(config().canvas));
  std::optional<Canvas> next;
  if (pass.kind == PassKind::kCommitAndDenoise) {
    next.emplace(NewCanvas());  // takes over the soft embeddings' memory
    canvas_.reset();
  }
  const Clock::time_point begin = Clock::now();
  switch (pass.kind) {
    case PassKind::kPrefill:
      DG_CHECK_OK(ReadPrompt(pass.tokens, stop));
      break;
    case PassKind::kDenoise:
      DG_CHECK_OK(Write({}, SegmentKind::kCommit, &*canvas_, stop));
      break;
    case PassKind::kCommit:
      DG_CHECK_OK(Write(finished, SegmentKind::kCommit, nullptr, stop));
      break;
    case PassKind::kCommitAndDenoise:
      DG_CHECK_OK(Write(finished, SegmentKind::kCommit, &*next, stop));
      break;
    case PassKind::kToken:
      DG_CHECK_OK(RunToken(stop));
      break;
  }
  return MillisecondsSince(begin);
}

}  // namespace dgemma
