// API keys: read from a file or given by the environment, kept as SHA-256 only, compared in constant time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "server/http_message.h"

namespace dgemma {

/// The keys that may use the server.
class KeyRing {
 public:
  /// Adds the keys of a file: one a line, "name:key" or "key" alone (then the name is "key1", "key2", ...); lines that
  /// begin with '#' and empty ones are skipped. Refused when users other than owner and group can read the file.
  Result<void> AddFile(const std::string& path);
  /// Adds one key. At least 8 and at most 512 printable ASCII characters without blanks; names must differ.
  Result<void> Add(std::string name, std::string_view key);

  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }

  /// Who shows one of the keys as `Authorization: Bearer KEY` or, without that field, as `x-api-key: KEY`; null when
  /// nobody does. The time does not depend on which key matches or how much of one. Valid as long as the ring.
  const Caller* Find(const RequestHead& head) const;

 private:
  struct Key {
    std::array<uint8_t, 32> sha256;
    Caller caller;
  };
  std::vector<Key> keys_;
};

}  // namespace dgemma
