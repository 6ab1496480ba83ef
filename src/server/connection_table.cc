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

Connection* ConnectionTable::Waiting::Longest(Whose whose) const {
  Connection* longest = by_key[0].empty() ? nullptr : by_key[0].front();
  if (whose == Whose::kWithoutKey || by_key[1].empty()) return longest;
  Connection* const keyed = by_key[1].front();
  return longest == nullptr || keyed->phase_begin() < longest->phase_begin() ? keyed : longest;
}

bool ConnectionTable::CloseLongestWaiting(Whose whose) {
  Connection* longest = idle_.Longest(whose);
  if (longest == nullptr) {
    longest = sends_head_.Longest(whose);
    const auto slow = Connection::Clock::now() - std::chrono::milliseconds(limits.head_yield_ms);
    if (longest == nullptr || longest->phase_begin() > slow) return false;
  }
  longest->Close();
  return true;
}

void ConnectionTable::Moved(const Connection& connection, WaitingPlace& place) {
  const size_t keyed = connection.showed_key() ? 1 : 0;
  std::list<Connection*>* to = &place.own;
  if (connection.idle()) to = &idle_.by_key[keyed];
  if (connection.sends_head()) to = &sends_head_.by_key[keyed];
  to->splice(to->end(), *place.at, place.node);
  place.at = to;
}

bool ConnectionTable::MakeRoom(const std::string& address) {
  const auto found = per_address_.find(address);
  if (found != per_address_.end() && found->second >= limits.connections_per_address) return false;
  if (open_.size() >= limits.connections && !CloseLongestWaiting(Whose::kAnyone)) return false;
  return without_key_ < limits.connections_without_key || CloseLongestWaiting(Whose::kWithoutKey);
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
