// What all connections of a server share, and the bounds over all of them. Used on the network thread only, but for
// Use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/limits.h"
#include "server/metrics.h"
#include "server/request_log.h"
#include "server/router.h"

namespace dgemma {

class Connection;

/// Where a connection stands among those that could make room for another one.
struct WaitingPlace {
  explicit WaitingPlace(Connection& connection) : own{&connection} {}
  std::list<Connection*> own;  ///< holds it while it stands nowhere, so that moving it takes no memory
  std::list<Connection*>* at = &own;
  std::list<Connection*>::iterator node = own.begin();
};

/// Which connections are open and what they hold together.
class ConnectionTable {
 public:
  ConnectionTable(const Router& routes, const ServerLimits& limits, RequestLog log, Metrics* metrics,
                  std::string id_prefix);

  const ServerLimits limits;
  RequestLog log;
  bool draining = false;
  std::function<void()> on_change;  ///< called when a connection came or went; may be empty

  /// Who decides about the next request.
  const Router& router() const { return *router_.load(std::memory_order_acquire); }
  /// Requests whose head comes from now on are `routes`'; any thread. It must have the same keys and outlive the table.
  void Use(const Router& routes) { router_.store(&routes, std::memory_order_release); }

  /// True when one more from this address may be opened. To make room it closes the longest idle one, or else the one
  /// whose head has been coming for longest, when that is longer than head_yield_ms.
  bool MakeRoom(const std::string& address);
  void Add(Connection& connection);
  void Remove(const Connection& connection);
  /// The connection just entered another phase: `place` is its own.
  void Moved(const Connection& connection, WaitingPlace& place);
  /// The connection showed a valid key: it no longer counts as one without.
  void ShowedKey();
  /// `bytes` more of request bodies are held; false when that would be beyond the limit, and then they do not count.
  bool HoldBody(size_t bytes);
  void ReleaseBody(size_t bytes) { body_bytes_ -= bytes; }

  /// A copy, since acting on a connection may remove it.
  std::vector<Connection*> all() const { return open_; }
  size_t size() const { return open_.size(); }

  std::string NextRequestId();
  void Count(Metric metric, double amount = 1) {
    if (metrics_ != nullptr) metrics_->Add(metric, amount);
  }
  void Observe(Metric metric, double value) {
    if (metrics_ != nullptr) metrics_->Observe(metric, value);
  }

 private:
  enum class Whose : uint8_t { kAnyone, kWithoutKey };
  /// Costs the same however many connections there are.
  bool CloseLongestWaiting(Whose whose);

  /// By how long they have been so; in [1] those that showed a key.
  struct Waiting {
    std::list<Connection*> by_key[2];
    Connection* Longest(Whose whose) const;
  };

  std::atomic<const Router*> router_;
  Metrics* metrics_;
  std::string id_prefix_;
  uint64_t next_id_ = 1;
  std::vector<Connection*> open_;
  std::unordered_map<std::string, size_t> per_address_;
  Waiting idle_, sends_head_;
  size_t without_key_ = 0;
  size_t body_bytes_ = 0;
};

}  // namespace dgemma
