// Chunks of a file to lines; a line may lie in several chunks.
#include "train/data_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/try.h"
#include "text/utf8.h"
#include "train/csv_puzzles.h"
#include "train/jsonl.h"

namespace dgemma {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

Result<std::unique_ptr<DataFile>> DataFile::Open(const std::string& path, const DatasetLimits& limits) {
  // O_NONBLOCK: opening a pipe without a writer must fail below instead of waiting for one.
  std::unique_ptr<DataFile> file(new DataFile(path, open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)));
  struct stat facts{};
  if (file->descriptor_ < 0 || fstat(file->descriptor_, &facts) != 0) {
    const int code = errno;
    return Fail(code == ENOENT || code == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIo,
                fmt::format("{}: open failed: {}", path, std::generic_category().message(code)));
  }
  if (!S_ISREG(facts.st_mode)) return Fail(StatusCode::kInvalidFile, path + ": is not a regular file");
  if (static_cast<uint64_t>(facts.st_size) > limits.file_bytes) {
    return Fail(StatusCode::kResourceExhausted,
                fmt::format("{}: has {} bytes (at most {})", path, facts.st_size, limits.file_bytes));
  }
  return file;
}

DataFile::~DataFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<std::string> DataFile::ReadAt(uint64_t offset, size_t length) const {
  std::string bytes(length, '\0');
  size_t done = 0;
  while (done < length) {
    const ssize_t got = pread(descriptor_, bytes.data() + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Fail(StatusCode::kIo, fmt::format("{}: read failed: {}", path_, std::generic_category().message(errno)));
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

OrFault<Record> DataFile::ReadRecord(const DataLine& line, const DatasetLimits& limits) const {
  if (line.too_long) {
    return std::unexpected(Fault{FaultKind::kLineTooLong, fmt::format("has more than {} bytes", limits.line_bytes)});
  }
  if (!is_csv()) return ReadJsonRecord(line.text, limits);
  if (!IsValidUtf8(line.text)) return std::unexpected(Fault{FaultKind::kBadUtf8, "is not well-formed UTF-8"});
  return ReadPuzzleRecord(line.text);
}

Result<void> DataFile::ForEachLine(const DatasetLimits& limits, const std::stop_token& stop,
                                   const std::function<Result<bool>(const DataLine&)>& take) const {
  DataLine line;
  std::string held;  // start of a line whose end is in a later chunk
  bool header_wanted = is_csv();
  const auto finish = [&](std::string_view text) -> Result<bool> {
    if (line.offset == 0 && text.starts_with(kByteOrderMark)) {
      text.remove_prefix(kByteOrderMark.size());
      line.offset = kByteOrderMark.size();
    }
    if (text.ends_with('\r')) text.remove_suffix(1);
    line.text = text;
    if (!line.too_long && text.find_first_not_of(" \t") == std::string_view::npos) return true;  // blank
    if (!std::exchange(header_wanted, false)) return take(line);
    if (auto header = CheckPuzzleHeader(text); !header) return std::unexpected(header.error().At(path_));
    return true;
  };
  uint64_t read_to = 0;
  while (true) {
    if (stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled while reading data");
    DG_TRY(const std::string chunk, ReadAt(read_to, kChunkBytes));
    std::string_view rest = chunk;
    while (true) {
      const size_t newline = rest.find('\n');
      const bool ends = newline != std::string_view::npos || chunk.empty();
      const std::string_view piece = rest.substr(0, newline);
      line.too_long = line.too_long || held.size() + piece.size() > limits.line_bytes;
      if (line.too_long) {
        held.clear();
      } else if (!ends || !held.empty()) {
        held += piece;
      }
      if (!ends) break;
      DG_TRY(const bool more, finish(line.too_long  ? std::string_view()
                                     : held.empty() ? piece
                                                    : std::string_view(held)));
      held.clear();
      if (!more || newline == std::string_view::npos) return {};  // the latter at the end of the file
      rest.remove_prefix(newline + 1);
      line = {.number = line.number + 1, .offset = read_to + chunk.size() - rest.size(), .text = {}};
    }
    read_to += chunk.size();
  }
}

}  // namespace dgemma
