// Sums over what LoadWeights, KvCache, PassRunner and the backend will allocate.
#include "engine/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

#include "engine/backend.h"
#include "engine/pass_runner.h"

namespace dgemma {
namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kDefaultChunk = 256;
constexpr int64_t kMostRewind = 1 << 20;
constexpr int64_t kProgramBytes =
    12 << 20;  // code, shared libraries, heap of a run without a model; measured, docs/DECISIONS.md
constexpr int64_t kTokenizerEntryBytes = 160;  // tables of about this size an entry

/// Memory that can be had without swapping, as the kernel estimates it; nothing where it does not say.
std::optional<int64_t> AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  for (int64_t kibibytes = 0; file >> key >> kibibytes; file.ignore(64, '\n')) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return std::nullopt;
}

}  // namespace

Result<void> CheckMemory(const MemoryPlan& plan) {
  const std::optional<int64_t> available = AvailableMemory();
  if (!available || plan.Total() <= *available) return {};
  constexpr double kGigabyte = 1e9;
  return Fail(
      StatusCode::kResourceExhausted,
      fmt::format(
          "memory: the model needs {:.1f} GB ({:.1f} GB of it weights, {:.1f} GB cache for a context of this length), "
          "{:.1f} GB are available",
          static_cast<double>(plan.Total()) / kGigabyte, static_cast<double>(plan.weights) / kGigabyte,
          static_cast<double>(plan.cache_per_session) / kGigabyte, static_cast<double>(*available) / kGigabyte));
}

Result<EngineOptions> FillOptions(EngineOptions options, const Config& config) {
  if (options.threads < 0 || options.threads > 1024)
    return Fail(StatusCode::kInvalidArgument, "threads: out of range (1..1024)");
  if (options.context_tokens == 0) options.context_tokens = std::min(config.max_positions, kDefaultContext);
  if (options.context_tokens < config.canvas || options.context_tokens > config.max_positions) {
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("context: {} is out of range ({}..{}, one canvas to the model's limit)",
                            options.context_tokens, config.canvas, config.max_positions));
  }
  if (options.prefill_chunk_tokens == 0) options.prefill_chunk_tokens = kDefaultChunk;
  if (options.prefill_chunk_tokens < 1 || options.prefill_chunk_tokens > 65'536) {
    return Fail(StatusCode::kInvalidArgument, "prefill_chunk: out of range (1..65536)");
  }
  if (options.rewind_tokens < 0 || options.rewind_tokens > kMostRewind) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("rewind: out of range (0..{})", kMostRewind));
  }
  if (options.sessions < 1 || options.sessions > kMostSessions)
    return Fail(StatusCode::kInvalidArgument, fmt::format("sessions: out of range (1..{})", kMostSessions));
  return options;
}

int64_t LargestPassRows(const EngineOptions& filled, const Config& config) {
  return filled.prefill_chunk_tokens + filled.sessions * config.canvas;
}

MemoryPlan PlanMemory(std::span<const PlannedWeight> weights, const Config& config, int64_t vocabulary,
                      const EngineOptions& filled) {
  const int64_t rows = LargestPassRows(filled, config);
  MemoryPlan plan;
  plan.weights = PlannedWeightBytes(weights);
  plan.cache_per_session =
      KvCache::PlannedBytes(config, filled.context_tokens, filled.prefill_chunk_tokens + filled.rewind_tokens) +
      SoftBytes(config);
  plan.sessions = filled.sessions;
  plan.pass = PassRunner::PlannedBytes(config, rows, filled.sessions) +
              PlannedScratchBytes(filled, config, weights, rows, filled.sessions);
  plan.tokenizer = kTokenizerEntryBytes * vocabulary;
  plan.program = kProgramBytes;
  plan.skip_per_session = CanvasStore::PlannedBytes(config);
  plan.skip_sessions = filled.skipping ? filled.sessions : 0;
  return plan;
}

}  // namespace dgemma
