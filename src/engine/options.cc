// Defaults of a checkpoint and the ranges of every option.
#include <fmt/format.h>

#include <cmath>

#include "base/try.h"
#include "engine/engine_impl.h"

namespace dgemma {
namespace {

std::unexpected<Status> Bad(std::string message) { return Fail(StatusCode::kInvalidArgument, std::move(message)); }

}  // namespace

GenerateOptions DefaultOptions(const Config& config, const GenerationConfig& file) {
  GenerateOptions options;
  options.max_new_tokens = file.max_new_tokens.value_or(options.max_new_tokens);
  options.steps = file.steps.value_or(options.steps);
  options.entropy_bound = file.entropy_bound.value_or(options.entropy_bound);
  options.t_min = file.t_min.value_or(options.t_min);
  options.t_max = file.t_max.value_or(options.t_max);
  options.stability = file.stability.value_or(options.stability);
  options.confidence = file.confidence.value_or(options.confidence);
  // The released ids, unless the checkpoint names its own; 106 closes a turn, 50 opens a tool's answer.
  const std::vector<int32_t> released = {1, 106, 50};
  options.stop_tokens = file.eos_tokens ? *file.eos_tokens : config.eos_tokens.empty() ? released : config.eos_tokens;
  return options;
}

Result<void> CheckOptions(const GenerateOptions& options, const Config& config) {
  if (options.max_new_tokens == 0 || options.max_new_tokens < -1)
    return Bad("max_new_tokens: must be positive, or -1 for no limit");
  if (options.steps < 1 || options.steps > 4096)
    return Bad(fmt::format("steps: {} is out of range (1..4096)", options.steps));
  if (!(options.entropy_bound > 0)) return Bad(fmt::format("entropy_bound: {} must be above 0", options.entropy_bound));
  if (!std::isfinite(options.t_min) || !(options.t_min >= 0))
    return Bad(fmt::format("t_min: {} must be 0 or more", options.t_min));
  if (!std::isfinite(options.t_max) || !(options.t_max > 0))
    return Bad(fmt::format("t_max: {} must be above 0", options.t_max));
  if (options.t_min > options.t_max)
    return Bad(fmt::format("t_min: {} exceeds t_max {}", options.t_min, options.t_max));
  if (options.stability < 0 || options.stability > 4096)
    return Bad(fmt::format("stability: {} is out of range (0..4096)", options.stability));
  if (!std::isfinite(options.confidence) || !(options.confidence >= 0)) {
    return Bad(fmt::format("confidence: {} must be 0 or more", options.confidence));
  }
  if (!std::isfinite(options.temperature) || !(options.temperature >= 0)) {
    return Bad(fmt::format("temperature: {} must be 0 or more", options.temperature));
  }
  const SkipOptions& skip = options.skip;
  if (skip.settled_steps < 0 || skip.settled_steps > 4096)
    return Bad(fmt::format("skip.settled_steps: {} is out of range (0..4096)", skip.settled_steps));
  if (skip.refresh_every < 1 || skip.refresh_every > 4096)
    return Bad(fmt::format("skip.refresh_every: {} is out of range (1..4096)", skip.refresh_every));
  if (skip.full_passes < 1 || skip.full_passes > 4096)
    return Bad(fmt::format("skip.full_passes: {} is out of range (1..4096)", skip.full_passes));
  if (options.stop_tokens.size() > 64) return Bad("stop_tokens: more than 64");
  for (int32_t id : options.stop_tokens) {
    if (id < 0 || id >= config.vocab) return Bad(fmt::format("stop_tokens: {} is not in the vocabulary", id));
  }
  return {};
}

}  // namespace dgemma
