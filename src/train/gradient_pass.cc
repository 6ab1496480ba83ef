// Order of rows everywhere: example by example, its clean text, then its canvases.
#include "train/gradient_pass.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/try.h"
#include "diffusion/canvas.h"
#include "engine/guard.h"

namespace dgemma {
namespace {

int64_t HiddenBytes(const Config& config, int64_t rows) {
  return rows * config.width * static_cast<int64_t>(sizeof(float));
}

int64_t CacheSlots(const TrainLimits& limits) { return limits.examples * RoundUpToKeyBlock(limits.tokens); }

bool IsTarget(int32_t id) { return id >= 0; }

}  // namespace

int64_t GradientPass::PlannedBytes(const Config& config, const TrainLimits& limits) {
  return TrainPass::PlannedBytes(config, limits.rows, limits.canvases, CacheSlots(limits)) +
         Activations::PlannedBytes(config, limits.rows, limits.canvases) +
         limits.examples * KvCache::PlannedBytes(config, limits.tokens, limits.tokens) +
         limits.canvases * (SoftBytes(config) + HiddenBytes(config, config.canvas)) + HiddenBytes(config, limits.rows);
}

Result<std::unique_ptr<GradientPass>> GradientPass::Create(const Model& model, TrainKernels& kernels,
                                                           const TrainLimits& limits) {
  DG_TRY(TrainPass pass, TrainPass::Create(model, kernels, limits.rows, limits.canvases, CacheSlots(limits)));
  std::unique_ptr<GradientPass> made(new GradientPass(model, kernels, std::move(pass)));
  made->limits_ = limits;
  const Config& config = model.config;
  for (int64_t example = 0; example < limits.examples; ++example) {
    DG_TRY(KvCache cache, KvCache::Create(config, limits.tokens, limits.tokens, model.kernels));
    made->caches_.push_back(std::move(cache));
  }
  DG_TRY(made->activations_, Activations::Create(config, limits.rows, limits.canvases, model.kernels));
  DG_TRY(made->soft_memory_, model.kernels.Allocate(limits.canvases * SoftBytes(config)));
  DG_TRY(made->first_hidden_memory_, model.kernels.Allocate(limits.canvases * HiddenBytes(config, config.canvas)));
  DG_TRY(made->dhidden_memory_, model.kernels.Allocate(HiddenBytes(config, limits.rows)));
  made->head_scratch_ = model.kernels.MakeHeadScratch();
  return made;
}

Result<void> GradientPass::CheckLimits(std::span<const TrainExample> examples) const {
  int64_t rows = 0, canvases = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    const TrainExample& example = examples[i];
    rows += example.rows();
    canvases += static_cast<int64_t>(example.canvases.size());
    if (static_cast<int64_t>(example.clean.size()) > limits_.tokens) {
      return Fail(StatusCode::kResourceExhausted,
                  fmt::format("example {}: {} tokens, planned for {}", i, example.clean.size(), limits_.tokens));
    }
    for (const TrainCanvas& canvas : example.canvases) {
      if (static_cast<int64_t>(canvas.noisy.size()) != model_.config.canvas ||
          canvas.target.size() != canvas.noisy.size() || canvas.pos > static_cast<int64_t>(example.clean.size())) {
        return Fail(StatusCode::kInternal, fmt::format("example {}: canvas of another size, or behind its text", i));
      }
    }
  }
  if (rows > limits_.rows || canvases > limits_.canvases || std::ssize(examples) > limits_.examples)
    return Fail(StatusCode::kResourceExhausted, "training pass: more rows than planned for");
  return {};
}

Matrix GradientPass::CanvasRows(const Buffer& buffer, int64_t canvas) const {
  const int64_t rows = model_.config.canvas, width = model_.config.width;
  return {buffer.Floats() + canvas * rows * width, rows, width, width};
}

void GradientPass::AddSegments(const TrainExample& example, int64_t sequence, int64_t clean_tokens, int64_t canvas,
                               HiddenRows clean_hidden, std::vector<Segment>& segments) {
  KvCache* cache = &caches_[static_cast<size_t>(sequence)];
  cache->Reset();
  if (clean_tokens > 0) {
    const auto clean = std::span(example.clean).first(static_cast<size_t>(clean_tokens));
    segments.push_back({SegmentKind::kPrompt, cache, clean, 0, {}, clean_hidden});
  }
  for (const TrainCanvas& noisy : example.canvases) {
    const Matrix soft = has_soft_[static_cast<size_t>(canvas)] ? CanvasRows(soft_memory_, canvas) : Matrix{};
    segments.push_back({SegmentKind::kCanvas, cache, noisy.noisy, noisy.pos, soft, HiddenRows::kAll});
    ++canvas;
  }
}

Result<void> GradientPass::RunFirstPasses(std::span<const TrainExample> examples, int passes) {
  const int64_t canvas_rows = model_.config.canvas;
  for (int number = 0; number < passes; ++number) {
    Pass pass;
    std::vector<int64_t> canvases;  // of the examples that take part, as numbers among all
    int64_t canvas = 0;
    for (size_t i = 0; i < examples.size(); ++i) {
      const TrainExample& example = examples[i];
      const auto count = static_cast<int64_t>(example.canvases.size());
      if (example.self_condition && count > 0) {
        AddSegments(example, static_cast<int64_t>(i), example.canvases.back().pos, canvas, HiddenRows::kNone,
                    pass.segments);
        for (int64_t c = 0; c < count; ++c) canvases.push_back(canvas + c);
      }
      canvas += count;
    }
    if (canvases.empty()) return {};
    DG_TRY(const Matrix hidden, Forward(model_, activations_, pass));
    head_rows_.resize(static_cast<size_t>(hidden.rows));
    const std::vector<float> temperature(head_rows_.size(), 1.0f);
    const HeadParams params{static_cast<float>(model_.config.softcap), model_.embed_scale, temperature};
    // Predictions land side by side; each canvas then gets its own place. Later canvases first: places only move up.
    const Matrix soft{soft_memory_.Floats(), hidden.rows, model_.config.width, model_.config.width};
    model_.kernels.Denoise(hidden, model_.weights.embedding, params, *head_scratch_, head_rows_, soft);
    for (size_t i = canvases.size(); i-- > 0;) {
      const int64_t from = static_cast<int64_t>(i);
      kernels_.Copy(hidden.Rows(from * canvas_rows, canvas_rows), CanvasRows(first_hidden_memory_, canvases[i]));
      if (canvases[i] != from) kernels_.Copy(CanvasRows(soft_memory_, from), CanvasRows(soft_memory_, canvases[i]));
    }
    for (const int64_t fed : canvases) has_soft_[static_cast<size_t>(fed)] = true;
  }
  return {};
}

Result<std::vector<ExampleLoss>> GradientPass::Run(std::span<const TrainExample> examples,
                                                   const ObjectiveOptions& objective, float share,
                                                   const Weights* gradients) {
  DG_CHECK_OK(CheckLimits(examples));
  return Guarded([&]() -> Result<std::vector<ExampleLoss>> {  // backends grow their scratch inside a pass
    has_soft_.assign(static_cast<size_t>(limits_.canvases), false);
    DG_CHECK_OK(RunFirstPasses(examples, objective.feedback_passes));
    const bool next_token = objective.next_token_weight != 0;
    Pass pass;
    std::vector<Matrix> first_hidden;
    target_.clear();
    weight_.clear();
    int64_t canvas = 0;
    for (size_t i = 0; i < examples.size(); ++i) {
      const TrainExample& example = examples[i];
      AddSegments(example, static_cast<int64_t>(i), static_cast<int64_t>(example.clean.size()), canvas,
                  next_token ? HiddenRows::kAll : HiddenRows::kNone, pass.segments);
      int64_t canvas_targets = 0;
      for (const TrainCanvas& noisy : example.canvases) canvas_targets += std::ranges::count_if(noisy.target, IsTarget);
      const auto weight_of = [share](float weight, int64_t rows) {
        return rows > 0 ? share * weight / static_cast<float>(rows) : 0.0f;
      };
      if (next_token) {
        target_.insert(target_.end(), example.next_token.begin(), example.next_token.end());
        weight_.resize(target_.size(),
                       weight_of(objective.next_token_weight, std::ranges::count_if(example.next_token, IsTarget)));
      }
      for (const TrainCanvas& noisy : example.canvases) {
        target_.insert(target_.end(), noisy.target.begin(), noisy.target.end());
        weight_.resize(target_.size(), weight_of(objective.diffusion_weight, canvas_targets));
        first_hidden.push_back(has_soft_[static_cast<size_t>(canvas)] ? CanvasRows(first_hidden_memory_, canvas)
                                                                      : Matrix{});
        ++canvas;
      }
    }
    DG_TRY(const Matrix hidden,
           gradients != nullptr ? train_pass_.Run(activations_, pass) : Forward(model_, activations_, pass));
    loss_rows_.resize(target_.size());
    const Matrix dhidden{gradients != nullptr ? dhidden_memory_.Floats() : nullptr, hidden.rows, hidden.cols,
                         hidden.cols};
    kernels_.CrossEntropy(hidden, model_.weights.embedding, static_cast<float>(model_.config.softcap), target_, weight_,
                          loss_rows_, dhidden, gradients != nullptr ? gradients->embedding : Weight{});
    DG_TRY(std::vector<ExampleLoss> losses, SumLosses(examples, next_token));
    if (gradients != nullptr) train_pass_.Backward(activations_, pass, dhidden, first_hidden, *gradients);
    return losses;
  });
}

Result<std::vector<ExampleLoss>> GradientPass::SumLosses(std::span<const TrainExample> examples,
                                                         bool next_token) const {
  std::vector<ExampleLoss> losses(examples.size());
  size_t row = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    ExampleLoss& sum = losses[i];
    const auto add = [&](const std::vector<int32_t>& targets, double& mean, int64_t& rows, int64_t& correct) {
      for (size_t r = 0; r < targets.size(); ++r, ++row) {
        if (!loss_rows_[row].finite) return false;
        if (!IsTarget(targets[r])) continue;
        mean += static_cast<double>(loss_rows_[row].loss);
        ++rows;
        correct += loss_rows_[row].correct ? 1 : 0;
      }
      return true;
    };
    bool finite = true;
    int64_t next_rows = 0, next_correct = 0;
    if (next_token) finite = add(examples[i].next_token, sum.next_token, next_rows, next_correct);
    for (const TrainCanvas& canvas : examples[i].canvases)
      finite = finite && add(canvas.target, sum.diffusion, sum.canvas_rows, sum.canvas_correct);
    if (!finite) return Fail(StatusCode::kInternal, fmt::format("example {}: the loss is not finite", i));
    sum.next_token /= static_cast<double>(std::max<int64_t>(next_rows, 1));
    sum.diffusion /= static_cast<double>(std::max<int64_t>(sum.canvas_rows, 1));
  }
  return losses;
}

}  // namespace dgemma
