// Counters, gauges and histograms of the server in one table (metrics.cc), and their Prometheus text. Any thread may count.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dgemma {

enum class Metric : uint8_t {
  // transport: counted by HttpServer
  kConnections,
  kConnectionsAccepted,
  kConnectionsRefused,
  kResponses2xx,
  kResponses4xx,
  kResponses5xx,
  kRequestSeconds,
  kStoppedClientGone,
  kStoppedTooSlow,
  kStoppedDeadline,
  kStoppedShutdown,
  // the engine now: set before each scrape
  kSlots,
  kActive,
  kQueued,
  kPassAgeSeconds,
  kStalledSeconds,
  kLongestPassSeconds,
  // the engine since its start: set before each scrape
  kPasses,
  kPassRows,
  kPassSeconds,
  kFailedPasses,
  kAnswered,
  kCancelled,
  kTimedOut,
  kExpiredInQueue,
  kFailed,
  kQueueRefused,
  kPromptTokens,
  kCachedTokens,
  kAnswerTokens,
  kCanvases,
  kDenoisePasses,
  kAcceptedRows,
  kPrefixHits,
  kPrefixMisses,
  // distributions over answers: observed by those who end them
  kQueueSeconds,
  kFirstTextSeconds,
  kAnswerSeconds,
  kPassesPerCanvas,
  kAcceptedPerPass,
  kCanvasFill,
  kCount,
};

class Metrics {
 public:
  Metrics();

  /// A counter or gauge grows by `amount`.
  void Add(Metric metric, double amount = 1);
  /// A gauge, or a counter that is kept elsewhere, becomes `value`.
  void Set(Metric metric, double value);
  /// A histogram sees `value`.
  void Observe(Metric metric, double value);

  /// Called at the begin of each Text(). Set it before the server starts.
  void OnScrape(std::function<void(Metrics&)> update) { update_ = std::move(update); }

  /// Prometheus text exposition format 0.0.4.
  std::string Text();
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Cell {
    std::atomic<double> value{0};                ///< of a histogram: the sum
    std::vector<std::atomic<uint64_t>> buckets;  ///< of a histogram: one for each bound and one beyond; not cumulative
  };
  Cell& At(Metric metric) { return cells_[static_cast<size_t>(metric)]; }

  std::array<Cell, static_cast<size_t>(Metric::kCount)> cells_;
  std::function<void(Metrics&)> update_;
};

}  // namespace dgemma
