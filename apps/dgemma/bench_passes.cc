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

/// What the head found, changed so that of the canvas's C rows `unsettled`, spread evenly, are never settled and the
/// others at once: random weights are sure of nothing, and rows of a trained model's canvas settle when they like.
std::vector<HeadRow> Settled(std::span<const HeadRow> found, const Canvas& canvas, int64_t unsettled) {
  const float bound = SkipRule{}.entropy;
  const int64_t all = std::ssize(canvas.tokens());
  std::vector<HeadRow> rows(found.begin(), found.end());
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t place = canvas.pass_rows().empty() ? static_cast<int64_t>(i) : canvas.pass_rows()[i];
    const bool stays = (place + 1) * unsettled / all > place * unsettled / all;
    rows[i].entropy = stays ? std::max(rows[i].entropy, bound) : 0;
  }
  return rows;
}

}  // namespace

std::string Name(const PassToTime& pass) {
  switch (pass.kind) {
    case PassKind::kPrefill:
      return fmt::format("prefill {}", pass.tokens);
    case PassKind::kDenoise:
      return "denoise";
    case PassKind::kSkip:
      return fmt::format("denoise {} rows", pass.rows);
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

Result<void> PassBench::AddSkipping() {
  if (config().causal_only) return Fail(StatusCode::kInvalidArgument, "--skip: this model has no canvases");
  DG_TRY(store_, CanvasStore::Create(config(), model().kernels));
  return {};
}

std::vector<PassToTime> PassBench::Passes(const std::vector<int64_t>& prefill) const {
  std::vector<PassToTime> passes;
  for (const int64_t tokens : prefill) passes.push_back({PassKind::kPrefill, tokens});
  if (!config().causal_only) {
    for (const PassKind kind : {PassKind::kDenoise, PassKind::kCommit, PassKind::kCommitAndDenoise})
      passes.push_back({kind});
  }
  if (store_) {
    for (const int64_t quarters : {4, 3, 2, 1})
      passes.push_back({PassKind::kSkip, 0, std::max<int64_t>(1, config().canvas * quarters / 4)});
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
    case PassKind::kSkip:  // rows that are left out are seen as cached ones are
      cost =
          CostOfPass(config(), weights_, {.canvas = pass.rows, .cached = prompt_tokens_ + config().canvas - pass.rows});
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

Canvas PassBench::NewCanvas(const SkipRule& skip) {
  const GenerateOptions options = engine_->Defaults();
  DenoiseRules rules;
  rules.schedule = {options.t_min, options.t_max, kSteps};
  rules.entropy_bound = options.entropy_bound;
  rules.stability = 0;  // no early stop
  rules.confidence = 0;
  rules.skip = skip;
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
      job.segments.push_back({SegmentKind::kCanvas, &cache_, canvas->pass_tokens(), cache_.end() + job.rows(),
                              canvas->soft(), HiddenRows::kAll, unsettled_rows_ ? &*store_ : nullptr,
                              canvas->pass_rows()});
    }
    PassJob* const jobs[] = {&job};
    DG_CHECK_OK(engine_->runner().Run(jobs, stop));
    if (!with_canvas) continue;
    const std::vector<HeadRow> rows =
        unsettled_rows_ ? Settled(job.predictions.rows, *canvas, *unsettled_rows_) : std::vector<HeadRow>();
    if (unsettled_rows_) job.predictions.rows = rows;
    return canvas->Step(job.predictions);
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

Result<void> PassBench::PrepareCanvas(const PassToTime& pass, const std::stop_token& stop) {
  const std::optional<int64_t> unsettled =
      pass.kind == PassKind::kSkip ? std::optional(pass.rows) : std::optional<int64_t>();
  const bool as_wanted = canvas_ && !canvas_->done() && canvas_->steps_done() > 0 && unsettled_rows_ == unsettled;
  const bool full = canvas_ && canvas_->pass_rows().empty();
  if (as_wanted && (!unsettled || full == (*unsettled == config().canvas))) return {};
  unsettled_rows_ = unsettled;
  // Settled after one step, and never computed all again but in the last step of all, which is not timed.
  canvas_.emplace(NewCanvas(unsettled ? SkipRule{1, kSteps + 1, 1} : SkipRule{}));
  return Write({}, SegmentKind::kCommit, &*canvas_, stop);  // the first step has no self-conditioning
}

Result<double> PassBench::Milliseconds(const PassToTime& pass, const std::stop_token& stop) {
  if (pass.kind != PassKind::kPrefill) DG_CHECK_OK(BackToPrompt(stop));
  if (pass.kind == PassKind::kDenoise || pass.kind == PassKind::kSkip) DG_CHECK_OK(PrepareCanvas(pass, stop));
  const std::span<const int32_t> finished = std::span(prompt_).first(static_cast<size_t>(config().canvas));
  std::optional<Canvas> next;
  if (pass.kind == PassKind::kCommitAndDenoise) {
    next.emplace(NewCanvas({}));  // takes over the soft embeddings' memory
    canvas_.reset();
    unsettled_rows_.reset();
  }
  const Clock::time_point begin = Clock::now();
  switch (pass.kind) {
    case PassKind::kPrefill:
      DG_CHECK_OK(ReadPrompt(pass.tokens, stop));
      break;
    case PassKind::kDenoise:
    case PassKind::kSkip:
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
  const double ms = MillisecondsSince(begin);
  if (pass.kind == PassKind::kSkip && canvas_->last_pass_rows() != pass.rows) {
    return Fail(StatusCode::kInternal, fmt::format("{}: {} rows were computed", Name(pass), canvas_->last_pass_rows()));
  }
  return ms;
}

}  // namespace dgemma
