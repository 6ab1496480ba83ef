// FNV-1a, 64 bits: fingerprints of data, the same on every machine. Not for keys from outside (collisions are easy to make).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dgemma {

/// Of bytes that come in pieces: the pieces' borders do not count.
class Fnv1a {
 public:
  constexpr Fnv1a& Add(std::string_view text) {
    for (const char byte : text) AddByte(static_cast<unsigned char>(byte));
    return *this;
  }
  constexpr Fnv1a& Add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) AddByte(std::to_integer<uint64_t>(byte));
    return *this;
  }
  /// Its eight bytes, the lowest first.
  constexpr Fnv1a& Add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) AddByte((number >> shift) & 0xFF);
    return *this;
  }
  constexpr uint64_t value() const { return value_; }

 private:
  constexpr void AddByte(uint64_t byte) { value_ = (value_ ^ byte) * 0x100000001B3; }

  uint64_t value_ = 0xCBF29CE484222325;
};

}  // namespace dgemma
