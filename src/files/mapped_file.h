// Files as bytes: a read-only mapping for big ones, a bounded read for small ones. Only regular, non-empty files are
// opened, so a pipe or device in a model folder cannot block or feed the program without end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "dgemma/status.h"
#include "files/bytes.h"

namespace dgemma {

/// What the program will do with a range of a mapping.
enum class Advice {
  kWillNeed,  ///< start reading it in
  kDontNeed,  ///< its pages may be dropped; the bytes stay readable
};

/// A file mapped read-only; unmapped when destroyed. The file must not be shortened while mapped (the system would end
/// the process at the next access beyond its end): model files are replaced by rename, never rewritten in place.
class MappedFile {
 public:
  /// kNotFound, kInvalidFile (not a regular file, empty) or kIo. Messages begin with the path.
  static Result<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  uint64_t size() const { return bytes_.size(); }
  const std::filesystem::path& path() const { return path_; }

  /// Tells the system about [begin, begin + length), cut to the mapping. A hint: failure has no consequence.
  void Advise(uint64_t begin, uint64_t length, Advice advice) const;

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

/// Maps a file and wraps it; the Blob's name is the path as text.
Result<Blob> MapBlob(const std::filesystem::path& path);

/// The whole content of a regular, non-empty file of at most max_bytes bytes. Errors as MappedFile::Open, and
/// kInvalidFile when it is longer.
Result<std::string> ReadWholeFile(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace dgemma
