// Counting connections and choosing which one to close.
#include "server/connection_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/connection.h"

namespace dgemma {

ConnectionTable::ConnectionTable(const Router& routes, const ServerLimits& bounds, RequestLog request_log,
                                 Metrics* metrics, std::string id_prefix)
    : limits(bounds),
      log(std::move(request_log)),
      router_(&routes),
      metrics_(metrics),
      id_prefix_(std::move(id_prefix)) {}

bool ConnectionTable::CloseLongestWaiting(bool (*fits)(const Connection&)) {
  const auto slow = Connection::Clock::now() - std::chrono::milliseconds(limits.head_yield_ms);
  Connection* longest = nullptr;
  for (Connection* connection : open_) {
    const bool waits = connection->idle() || (connection->sends_head() && connection->phase_begin() <= slow);
    if (!waits || !fits(*connection)) continue;
    // Idle ones first, then by age.
    const auto rank = [](const Connection& some) { return std::pair(!some.idle(), some.phase_begin()); };
    if (longest == nullptr || rank(*connection) < rank(*longest)) longest = connection;
  }
  if (longest == nullptr) return false;
  longest->Close();
  return true;
}

bool ConnectionTable::MakeRoom(const std::string& address) {
  const auto found = per_address_.find(address);
  if (found != per_address_.end() && found->second >= limits.connections_per_address) return false;
  if (open_.size() >= limits.connections && !CloseLongestWaiting([](const Connection&) { return true; })) return false;
  return without_key_ < limits.connections_without_key ||
         CloseLongestWaiting([](const Connection& connection) { return !connection.showed_key(); });
}

void ConnectionTable::Add(Connection& connection) {
  size_t& of_address = per_address_[connection.address()];  // memory may run out until here and in the next line
  open_.push_back(&connection);
  ++of_address;
  if (!connection.showed_key()) ++without_key_;
  Count(Metric::kConnectionsAccepted);
  Count(Metric::kConnections);
  if (on_change) on_change();
}

void ConnectionTable::Remove(const Connection& connection) {
  const auto found = std::ranges::find(open_, &connection);
  if (found == open_.end()) return;
  *found = open_.back();
  open_.pop_back();
  const auto count = per_address_.find(connection.address());
  if (count != per_address_.end() && --count->second == 0) per_address_.erase(count);
  if (!connection.showed_key()) --without_key_;
  Count(Metric::kConnections, -1);
  if (on_change) on_change();
}

void ConnectionTable::ShowedKey() { --without_key_; }

bool ConnectionTable::HoldBody(size_t bytes) {
  if (bytes > limits.all_bodies_bytes - body_bytes_) return false;
  body_bytes_ += bytes;
  return true;
}

std::string ConnectionTable::NextRequestId() { return fmt::format("req_{}{:08x}", id_prefix_, next_id_++); }

}  // namespace dgemma
