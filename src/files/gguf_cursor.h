// Reading of GGUF's little-endian numbers and length-prefixed texts from bytes, with every length checked. Used by
// gguf.cc, gguf_value.cc and the reader of importance matrices.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/try.h"
#include "files/bytes.h"

namespace dgemma {

static_assert(std::endian::native == std::endian::little, "files are read in the machine's own byte order");

/// The number at the start of `bytes`, which must hold it.
template <typename T>
T LoadNumber(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

class GgufCursor {
 public:
  /// `end` is what a message says about the end of the bytes.
  GgufCursor(std::span<const std::byte> bytes, std::string end) : bytes_(bytes), end_(std::move(end)) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  Result<std::span<const std::byte>> Take(uint64_t count) {
    if (count > left()) {
      return Fail(StatusCode::kInvalidFile,
                  std::to_string(count) + " bytes at " + std::to_string(position_) + " " + end_);
    }
    const auto taken = bytes_.subspan(static_cast<size_t>(position_), static_cast<size_t>(count));
    position_ += count;
    return taken;
  }
  template <typename T>
  Result<T> Number() {
    DG_TRY(const std::span<const std::byte> bytes, Take(sizeof(T)));
    return LoadNumber<T>(bytes);
  }
  /// A text of at most `limit` bytes.
  Result<std::string_view> Text(uint64_t limit) {
    DG_TRY(const uint64_t length, Number<uint64_t>());
    if (length > limit) {
      return Fail(StatusCode::kInvalidFile,
                  "text of " + std::to_string(length) + " bytes exceeds the limit of " + std::to_string(limit));
    }
    DG_TRY(const std::span<const std::byte> bytes, Take(length));
    return AsText(bytes);
  }
  /// The bytes from `begin` to here.
  std::span<const std::byte> Since(uint64_t begin) const {
    return bytes_.subspan(static_cast<size_t>(begin), static_cast<size_t>(position_ - begin));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string end_;
  uint64_t position_ = 0;
};

}  // namespace dgemma
