// Where a model's memory will go, computed from its configuration before anything is loaded: for the engine's construction
// and for `dgemma inspect`.
#pragma once

#include <span>

#include "dgemma/dgemma.h"
#include "model/config.h"
#include "model/weights.h"

namespace dgemma {

/// Answers that an engine may be loaded for.
constexpr int64_t kMostSessions = 256;

/// Checks the options against the model and replaces zeros by their defaults. kInvalidArgument names the option.
Result<EngineOptions> FillOptions(EngineOptions options, const Config& config);

/// Rows of the largest pass.
int64_t LargestPassRows(const EngineOptions& filled, const Config& config);

/// The plan for filled options and these weights; `vocabulary` counts the tokenizer's ids.
MemoryPlan PlanMemory(std::span<const PlannedWeight> weights, const Config& config, int64_t vocabulary,
                      const EngineOptions& filled);

/// kResourceExhausted when the system says that less memory is available than the plan needs; both figures are in the message.
/// Without this a model that is too large would be loaded until the system ends the process.
Result<void> CheckMemory(const MemoryPlan& plan);

}  // namespace dgemma
