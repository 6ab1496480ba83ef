// Bytes of a file, wherever they live: a mapping, a buffer or a part of the program (the embedded model).
// All readers of this folder take these; mapped_file.h makes them from files.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dgemma {

/// Read-only bytes with a name. Copies share the bytes; `keep_alive` frees them with the last copy.
struct Blob {
  std::string name;                          ///< what error messages call it: a file name or "embedded:config.json"
  std::span<const std::byte> bytes;          ///< the content
  std::shared_ptr<const void> keep_alive{};  ///< owner of `bytes`; null for memory that lives as long as the program
  /// Says that a part of `bytes` will not be read soon, so that its memory can go; the content stays. May be empty.
  std::function<void(std::span<const std::byte>)> release{};
};

/// Text seen as bytes.
inline std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Bytes seen as text; nothing is checked.
inline std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A Blob over memory that outlives it, such as a constant of the program.
inline Blob StaticBlob(std::string name, std::span<const std::byte> bytes) { return {std::move(name), bytes}; }

/// A Blob that owns a copy of `content`.
inline Blob OwnedBlob(std::string name, std::string content) {
  auto owner = std::make_shared<const std::string>(std::move(content));
  const std::span<const std::byte> bytes = AsBytes(*owner);
  return {std::move(name), bytes, std::move(owner)};
}

}  // namespace dgemma
