// The table: a row for each Metric, in their order. Rows of one name follow each other and differ in their label.
#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace dgemma {
namespace {

enum class Kind : uint8_t { kCounter, kGauge, kHistogram };

struct Row {
  Metric metric;
  Kind kind;
  std::string_view name;
  std::string_view label;  ///< `class="2xx"` or ""
  std::string_view help;
  std::span<const double> bounds;  ///< of a histogram, ascending
};

constexpr std::array kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1,  0.25,  0.5,  1.0,
                                 2.5,   5.0,  10.0,  30.0, 60.0, 300.0, 600.0};
constexpr std::array kPassCounts = {1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0};
constexpr std::array kTokenCounts = {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0};
constexpr std::array kShares = {0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0};

using enum Kind;
constexpr auto kRows = std::to_array<Row>({
    {Metric::kConnections, kGauge, "dgemma_connections", "", "Open connections.", {}},
    {Metric::kConnectionsAccepted, kCounter, "dgemma_connections_accepted_total", "", "Connections accepted.", {}},
    {Metric::kConnectionsRefused, kCounter, "dgemma_connections_refused_total", "", "Connections beyond a limit.", {}},
    {Metric::kResponses2xx, kCounter, "dgemma_responses_total", "class=\"2xx\"", "Answers by class of status.", {}},
    {Metric::kResponses4xx, kCounter, "dgemma_responses_total", "class=\"4xx\"", "", {}},
    {Metric::kResponses5xx, kCounter, "dgemma_responses_total", "class=\"5xx\"", "", {}},
    {Metric::kRequestSeconds, kHistogram, "dgemma_request_seconds", "", "From a request's last byte to its answer's.",
     kSeconds},
    {Metric::kStoppedClientGone,
     kCounter,
     "dgemma_requests_stopped_total",
     "reason=\"client_gone\"",
     "Answers stopped early.",
     {}},
    {Metric::kStoppedTooSlow, kCounter, "dgemma_requests_stopped_total", "reason=\"too_slow\"", "", {}},
    {Metric::kStoppedDeadline, kCounter, "dgemma_requests_stopped_total", "reason=\"timeout\"", "", {}},
    {Metric::kStoppedShutdown, kCounter, "dgemma_requests_stopped_total", "reason=\"shutdown\"", "", {}},
    {Metric::kSlots, kGauge, "dgemma_slots", "", "Answers that can be written at once.", {}},
    {Metric::kActive, kGauge, "dgemma_active_requests", "", "Requests that take part in passes.", {}},
    {Metric::kQueued, kGauge, "dgemma_queued_requests", "", "Requests that wait for a slot.", {}},
    {Metric::kPassAgeSeconds, kGauge, "dgemma_last_pass_age_seconds", "", "Since the last pass finished.", {}},
    {Metric::kStalledSeconds,
     kGauge,
     "dgemma_stalled_seconds",
     "",
     "Work is there and no pass finished for so long.",
     {}},
    {Metric::kLongestPassSeconds, kGauge, "dgemma_longest_pass_seconds", "", "The longest pass so far.", {}},
    {Metric::kPasses, kCounter, "dgemma_passes_total", "", "Passes through the network.", {}},
    {Metric::kPassRows, kCounter, "dgemma_pass_rows_total", "", "Rows of these passes.", {}},
    {Metric::kPassSeconds, kCounter, "dgemma_pass_seconds_total", "", "Time in these passes.", {}},
    {Metric::kFailedPasses, kCounter, "dgemma_failed_passes_total", "", "Passes that failed.", {}},
    {Metric::kAnswered,
     kCounter,
     "dgemma_requests_ended_total",
     "reason=\"answered\"",
     "Requests that left the engine.",
     {}},
    {Metric::kCancelled, kCounter, "dgemma_requests_ended_total", "reason=\"cancelled\"", "", {}},
    {Metric::kTimedOut, kCounter, "dgemma_requests_ended_total", "reason=\"timeout\"", "", {}},
    {Metric::kExpiredInQueue, kCounter, "dgemma_requests_ended_total", "reason=\"waited_too_long\"", "", {}},
    {Metric::kFailed, kCounter, "dgemma_requests_ended_total", "reason=\"failed\"", "", {}},
    {Metric::kQueueRefused, kCounter, "dgemma_requests_ended_total", "reason=\"refused\"", "", {}},
    {Metric::kPromptTokens, kCounter, "dgemma_prompt_tokens_total", "", "Tokens of prompts.", {}},
    {Metric::kCachedTokens, kCounter, "dgemma_cached_tokens_total", "", "Those of them found in a cache.", {}},
    {Metric::kAnswerTokens, kCounter, "dgemma_answer_tokens_total", "", "Tokens of answers.", {}},
    {Metric::kCanvases, kCounter, "dgemma_canvases_total", "", "Canvases finished.", {}},
    {Metric::kDenoisePasses, kCounter, "dgemma_denoise_passes_total", "", "Denoising steps of canvases.", {}},
    {Metric::kAcceptedRows,
     kCounter,
     "dgemma_accepted_rows_total",
     "",
     "Positions taken as certain, summed over steps.",
     {}},
    {Metric::kPrefixHits,
     kCounter,
     "dgemma_prefix_total",
     "found=\"yes\"",
     "Requests by whether their prompt's begin was cached.",
     {}},
    {Metric::kPrefixMisses, kCounter, "dgemma_prefix_total", "found=\"no\"", "", {}},
    {Metric::kQueueSeconds, kHistogram, "dgemma_queue_seconds", "", "Time in the queue.", kSeconds},
    {Metric::kFirstTextSeconds, kHistogram, "dgemma_first_text_seconds", "", "From arrival to the first final text.",
     kSeconds},
    {Metric::kAnswerSeconds, kHistogram, "dgemma_answer_seconds", "", "From arrival to the end of the answer.",
     kSeconds},
    {Metric::kPassesPerCanvas, kHistogram, "dgemma_passes_per_canvas", "",
     "Denoising passes a canvas, mean of an answer.", kPassCounts},
    {Metric::kAcceptedPerPass, kHistogram, "dgemma_accepted_per_pass", "",
     "Answer tokens a denoising pass, mean of an answer.", kTokenCounts},
    {Metric::kCanvasFill, kHistogram, "dgemma_canvas_fill_ratio", "", "Answer tokens / canvas tokens.", kShares},
});

constexpr bool InOrder() {
  for (size_t at = 0; at < kRows.size(); ++at) {
    if (static_cast<size_t>(kRows[at].metric) != at) return false;
  }
  return kRows.size() == static_cast<size_t>(Metric::kCount);
}
static_assert(InOrder(), "a row for each Metric, in their order");

std::string_view TypeName(Kind kind) {
  if (kind == kCounter) return "counter";
  return kind == kGauge ? "gauge" : "histogram";
}

}  // namespace

Metrics::Metrics() {
  for (const Row& row : kRows) {
    if (row.kind == kHistogram) At(row.metric).buckets = std::vector<std::atomic<uint64_t>>(row.bounds.size() + 1);
  }
}

void Metrics::Add(Metric metric, double amount) { At(metric).value.fetch_add(amount, std::memory_order_relaxed); }

void Metrics::Set(Metric metric, double value) { At(metric).value.store(value, std::memory_order_relaxed); }

void Metrics::Observe(Metric metric, double value) {
  const std::span<const double> bounds = kRows[static_cast<size_t>(metric)].bounds;
  const auto bucket = static_cast<size_t>(std::ranges::lower_bound(bounds, value) - bounds.begin());
  At(metric).buckets[bucket].fetch_add(1, std::memory_order_relaxed);
  Add(metric, value);
}

std::string Metrics::Text() {
  if (update_) update_(*this);
  std::string out;
  std::string_view last_name;
  for (const Row& row : kRows) {
    if (row.name != last_name) {
      out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", row.name, row.help, row.name, TypeName(row.kind));
    }
    last_name = row.name;
    const Cell& cell = At(row.metric);
    const double value = cell.value.load(std::memory_order_relaxed);
    if (row.kind != kHistogram) {
      out += row.label.empty() ? fmt::format("{} {}\n", row.name, value)
                               : fmt::format("{}{{{}}} {}\n", row.name, row.label, value);
      continue;
    }
    uint64_t count = 0;
    for (size_t bucket = 0; bucket < cell.buckets.size(); ++bucket) {
      count += cell.buckets[bucket].load(std::memory_order_relaxed);
      const std::string bound = bucket < row.bounds.size() ? fmt::format("{}", row.bounds[bucket]) : "+Inf";
      out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", row.name, bound, count);
    }
    out += fmt::format("{}_sum {}\n{}_count {}\n", row.name, value, row.name, count);
  }
  return out;
}

}  // namespace dgemma
