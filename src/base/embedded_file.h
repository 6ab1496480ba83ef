// A file that is part of the program: its name and its bytes. Tables of them are written by cmake/embed.cmake.
// Knows nothing of what the bytes mean; callers hand them to the same parsers as bytes from a disk.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

namespace dgemma {

/// One embedded file; both views stay valid as long as the program runs.
struct EmbeddedFile {
  std::string_view name;             ///< without folders, such as "config.json"
  std::span<const std::byte> bytes;  ///< exactly the file's bytes; the first is aligned to 64
};

/// The file of that name, or nullptr when there is none.
inline const EmbeddedFile* FindEmbedded(std::span<const EmbeddedFile> files, std::string_view name) {
  const auto found = std::ranges::find(files, name, &EmbeddedFile::name);
  return found == files.end() ? nullptr : &*found;
}

}  // namespace dgemma
