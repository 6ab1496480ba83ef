// Builds GGUF files byte by byte for tests, right or wrong, without the writer under test.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dgemma {

template <typename T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

inline std::string RawText(std::string_view text) { return Raw<uint64_t>(text.size()) + std::string(text); }

/// One metadata entry with this type number and bytes.
inline std::string Key(std::string_view key, uint32_t type, const std::string& value) {
  return RawText(key) + Raw(type) + value;
}
inline std::string TextKey(std::string_view key, std::string_view text) { return Key(key, 8, RawText(text)); }
inline std::string U32Key(std::string_view key, uint32_t value) { return Key(key, 4, Raw(value)); }
inline std::string ArrayKey(std::string_view key, uint32_t type, uint64_t count, const std::string& entries) {
  return Key(key, 9, Raw(type) + Raw(count) + entries);
}

/// A tensor's entry; dimensions innermost first, as in the file.
inline std::string TensorEntry(std::string_view name, std::initializer_list<uint64_t> dimensions, uint32_t type,
                               uint64_t offset) {
  std::string entry = RawText(name) + Raw(static_cast<uint32_t>(dimensions.size()));
  for (const uint64_t size : dimensions) entry += Raw(size);
  return entry + Raw(type) + Raw(offset);
}

/// Magic, version and counts.
inline std::string GgufPrefix(uint64_t tensors, uint64_t entries, uint32_t version = 3) {
  return "GGUF" + Raw(version) + Raw(tensors) + Raw(entries);
}

/// A whole file: the head padded to `alignment`, then `data_bytes` bytes.
inline std::string GgufFile(std::string head, uint64_t data_bytes, uint64_t alignment = 32) {
  head.resize((head.size() + alignment - 1) / alignment * alignment);
  for (uint64_t i = 0; i < data_bytes; ++i) head.push_back(static_cast<char>(i % 127));
  return head;
}

}  // namespace dgemma
