// Lines of files to places of examples, counted on the way, and back from a place to its example.
#include "train/dataset.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

#include "base/try.h"
#include "text/utf8.h"
#include "train/csv_puzzles.h"
#include "train/jsonl.h"

namespace dgemma {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr size_t kFirstFaults = 5;
constexpr uint64_t kHashStart = 0xCBF29CE484222325, kHashFactor = 0x100000001B3;  // FNV-1a

uint64_t Hash(std::string_view bytes, uint64_t hash) {
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * kHashFactor;
  return hash;
}

uint64_t HashNumber(uint64_t number, uint64_t hash) {
  for (int shift = 0; shift < 64; shift += 8) hash = (hash ^ ((number >> shift) & 0xFF)) * kHashFactor;
  return hash;
}

/// What Dataset::Place can hold.
Result<void> CheckLimits(const DatasetLimits& limits) {
  constexpr uint64_t kMost = std::numeric_limits<uint16_t>::max();
  if (limits.files > kMost || limits.messages > kMost) {
    return Fail(StatusCode::kInvalidArgument, fmt::format("limits: files and messages may be {} at most", kMost));
  }
  if (limits.line_bytes > std::numeric_limits<uint32_t>::max()) {
    return Fail(StatusCode::kInvalidArgument, "limits: line_bytes may be 4 GiB at most");
  }
  return {};
}

OrFault<Record> ReadRecord(bool is_csv, std::string_view line, const DatasetLimits& limits) {
  if (!is_csv) return ReadJsonRecord(line, limits);
  if (!IsValidUtf8(line)) return std::unexpected(Fault{FaultKind::kBadUtf8, "is not well-formed UTF-8"});
  return ReadPuzzleRecord(line);
}

}  // namespace

/// An open data file. Read with pread, so that a file which somebody shortens is an error and not the end of the
/// process.
class DataFile {
 public:
  static Result<std::unique_ptr<DataFile>> Open(const std::string& path, uint64_t most_bytes) {
    // O_NONBLOCK: opening a pipe without a writer must fail below instead of waiting for one.
    std::unique_ptr<DataFile> file(
        new DataFile(path, open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)));
    struct stat facts{};
    if (file->descriptor_ < 0 || fstat(file->descriptor_, &facts) != 0) {
      const int code = errno;
      return Fail(code == ENOENT || code == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIo,
                  fmt::format("{}: open failed: {}", path, std::generic_category().message(code)));
    }
    if (!S_ISREG(facts.st_mode)) return Fail(StatusCode::kInvalidFile, path + ": is not a regular file");
    if (static_cast<uint64_t>(facts.st_size) > most_bytes) {
      return Fail(StatusCode::kResourceExhausted,
                  fmt::format("{}: has {} bytes (at most {})", path, facts.st_size, most_bytes));
    }
    return file;
  }
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;
  ~DataFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  /// Reads up to `length` bytes at `offset`; fewer only at the file's end.
  Result<std::string> ReadAt(uint64_t offset, size_t length) const {
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

  const std::string& path() const { return path_; }
  bool is_csv() const { return path_.ends_with(".csv"); }

 private:
  DataFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::string path_;
  int descriptor_;
};

/// A line without its newline. `text` is empty when it is too long.
struct Dataset::Line {
  size_t file = 0;
  int64_t number = 0;  ///< from 1
  uint64_t offset = 0;
  std::string_view text;
  bool too_long = false;
};

void LengthCounts::Add(int64_t length) {
  ++counts_[length];
  ++count_;
  total_ += length;
}

int64_t LengthCounts::Quantile(double share) const {
  const auto wanted = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share * static_cast<double>(count_))));
  int64_t seen = 0;
  for (const auto& [length, count] : counts_) {
    seen += count;
    if (seen >= wanted) return length;
  }
  return counts_.empty() ? 0 : counts_.rbegin()->first;
}

std::vector<std::string> Describe(const DatasetStatistics& statistics) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{} records, {} used, {} examples with {} answers", statistics.records, statistics.used,
                              statistics.examples, statistics.answer_tokens.count()));
  const auto describe = [&](const char* what, const LengthCounts& lengths) {
    lines.push_back(fmt::format("{}: min {}, median {}, p95 {}, max {}", what, lengths.Quantile(0),
                                lengths.Quantile(0.5), lengths.Quantile(0.95), lengths.Quantile(1)));
  };
  describe("context tokens", statistics.context_tokens);
  describe("answer tokens", statistics.answer_tokens);
  describe("canvases of an answer", statistics.answer_canvases);
  for (size_t kind = 0; kind < kFaultKinds; ++kind) {
    const FaultCount& fault = statistics.faults[kind];
    if (fault.records == 0) continue;
    lines.push_back(fmt::format("left out, {}: {}", Name(static_cast<FaultKind>(kind)), fault.records));
    for (const std::string& first : fault.first) lines.push_back("  " + first);
  }
  if (statistics.longest_left_out > 0) {
    lines.push_back(fmt::format("too long: {:.1f} %, the longest needs at least {} tokens",
                                100 * statistics.TooLongShare(), statistics.longest_left_out));
  }
  for (const auto& [task, counts] : statistics.tasks) {
    lines.push_back(fmt::format("task {}: {} records, {} too long, {} examples, {} answer tokens", QuotedText(task),
                                counts.records, counts.too_long, counts.examples, counts.answer_tokens));
  }
  return lines;
}

Dataset::Dataset(ExampleMaker maker, const DatasetOptions& options) : maker_(std::move(maker)), options_(options) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

Result<Dataset> Dataset::Open(std::span<const std::string> paths, const Tokenizer& tokenizer,
                              const DatasetOptions& options) {
  DG_TRY(ExampleMaker maker, ExampleMaker::Create(tokenizer, options.examples));
  DG_CHECK_OK(CheckLimits(options.limits));
  Dataset data(std::move(maker), options);
  if (paths.empty()) return Fail(StatusCode::kInvalidArgument, "data: no files");
  if (paths.size() > options.limits.files) {
    return Fail(StatusCode::kResourceExhausted,
                fmt::format("data: {} files (at most {})", paths.size(), options.limits.files));
  }
  data.fingerprint_ = kHashStart;
  for (const std::string& path : paths) {
    DG_TRY(auto file, DataFile::Open(path, options.limits.file_bytes));
    data.files_.push_back(std::move(file));
    DG_CHECK_OK(data.ReadFile(data.files_.size() - 1));
  }
  if (!data.places_.empty()) return data;
  for (const FaultCount& fault : data.statistics_.faults) {
    if (fault.first.empty()) continue;
    return Fail(StatusCode::kInvalidFile,
                fmt::format("data: none of {} records can be used (the first with this fault: {})",
                            data.statistics_.records, fault.first.front()));
  }
  return Fail(StatusCode::kInvalidFile, fmt::format("{}: has no records", paths.front()));
}

Result<void> Dataset::ReadFile(size_t file) {
  Line line{.file = file, .number = 1, .offset = 0, .text = {}};
  std::string held;  // start of a line whose end is in a later chunk
  bool header_wanted = files_[file]->is_csv();
  const auto take = [&](std::string_view text) -> Result<void> {
    if (line.offset == 0 && text.starts_with("\xEF\xBB\xBF")) {
      text.remove_prefix(3);
      line.offset = 3;
    }
    if (text.ends_with('\r')) text.remove_suffix(1);
    line.text = text;
    const bool is_blank = !line.too_long && text.find_first_not_of(" \t") == std::string_view::npos;
    if (header_wanted && !is_blank) {
      if (auto header = CheckPuzzleHeader(text); !header)
        return std::unexpected(header.error().At(files_[file]->path()));
      header_wanted = false;
    } else if (!is_blank) {
      DG_CHECK_OK(ReadLine(line));
    }
    return {};
  };
  const uint64_t most = options_.limits.line_bytes;
  uint64_t read_to = 0;
  while (true) {
    if (options_.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled while reading data");
    DG_TRY(const std::string chunk, files_[file]->ReadAt(read_to, kChunkBytes));
    std::string_view rest = chunk;
    while (true) {
      const size_t newline = rest.find('\n');
      const bool ends = newline != std::string_view::npos || chunk.empty();
      const std::string_view piece = rest.substr(0, newline);
      line.too_long = line.too_long || held.size() + piece.size() > most;
      if (line.too_long) {
        held.clear();
      } else if (!ends || !held.empty()) {
        held += piece;
      }
      if (!ends) break;
      DG_CHECK_OK(take(line.too_long ? std::string_view() : held.empty() ? piece : std::string_view(held)));
      held.clear();
      if (newline == std::string_view::npos) return {};  // the end of the file
      rest.remove_prefix(newline + 1);
      line = {.file = file, .number = line.number + 1, .offset = read_to + chunk.size() - rest.size(), .text = {}};
    }
    read_to += chunk.size();
  }
}

OrFault<std::vector<Example>> Dataset::MakeExamples(const Line& line) {
  const DatasetLimits& limits = options_.limits;
  if (line.too_long) {
    return std::unexpected(Fault{FaultKind::kLineTooLong, fmt::format("has more than {} bytes", limits.line_bytes)});
  }
  DG_TRY(const Record record, ReadRecord(files_[line.file]->is_csv(), line.text, limits));
  if (!statistics_.tasks.contains(record.task) && statistics_.tasks.size() >= limits.tasks) {
    return std::unexpected(
        Fault{FaultKind::kWrongValue, fmt::format("task: more than {} different names", limits.tasks)});
  }
  TaskCounts& task = statistics_.tasks[record.task];
  ++task.records;
  auto examples = maker_.Make(record);
  if (!examples && examples.error().kind == FaultKind::kTooLong) ++task.too_long;
  return examples;
}

Result<void> Dataset::ReadLine(const Line& line) {
  if (static_cast<uint64_t>(statistics_.records) >= options_.limits.records) {
    return Fail(StatusCode::kResourceExhausted, fmt::format("{}:{}: more than {} records", files_[line.file]->path(),
                                                            line.number, options_.limits.records));
  }
  ++statistics_.records;
  const auto examples = MakeExamples(line);
  return examples ? Count(line, *examples) : CountFault(line, examples.error());
}

Result<void> Dataset::CountFault(const Line& line, const Fault& fault) {
  const std::string message = fmt::format("{}:{}: {}", files_[line.file]->path(), line.number, fault.message);
  if (options_.faults == FaultPolicy::kRefuse) {
    return Fail(StatusCode::kInvalidFile, fmt::format("{} ({})", message, Name(fault.kind)));
  }
  FaultCount& count = statistics_.faults[static_cast<size_t>(fault.kind)];
  ++count.records;
  if (count.first.size() < kFirstFaults) count.first.push_back(message);
  statistics_.longest_left_out = std::max(statistics_.longest_left_out, fault.tokens);
  return {};
}

Result<void> Dataset::Count(const Line& line, std::span<const Example> examples) {
  if (places_.size() + examples.size() > options_.limits.examples) {
    return Fail(StatusCode::kResourceExhausted, fmt::format("{}:{}: more than {} examples", files_[line.file]->path(),
                                                            line.number, options_.limits.examples));
  }
  const uint64_t line_hash = Hash(line.text, kHashStart);
  ++statistics_.used;
  statistics_.examples += std::ssize(examples);
  TaskCounts& task = statistics_.tasks[examples.front().task];
  task.examples += std::ssize(examples);
  for (size_t part = 0; part < examples.size(); ++part) {
    // CheckLimits saw to it that these types are wide enough.
    places_.push_back({.offset = line.offset,
                       .line_hash = line_hash,
                       .bytes = static_cast<uint32_t>(line.text.size()),
                       .file = static_cast<uint16_t>(line.file),
                       .part = static_cast<uint16_t>(part)});
    fingerprint_ = HashNumber(part, HashNumber(line_hash, fingerprint_));
    for (const AnswerSpan& answer : examples[part].answers) {
      statistics_.context_tokens.Add(answer.begin);
      statistics_.answer_tokens.Add(answer.length());
      statistics_.answer_canvases.Add(CanvasesOf(answer.length(), options_.examples.canvas));
      task.answer_tokens += answer.length();
    }
  }
  return {};
}

Result<Example> Dataset::Get(int64_t index) const {
  const Place& place = places_[static_cast<size_t>(index)];
  const DataFile& file = *files_[place.file];
  DG_TRY(const std::string line, file.ReadAt(place.offset, place.bytes));
  const auto changed = [&] {
    return Fail(StatusCode::kInvalidFile,
                fmt::format("{}: changed since it was opened (line at byte {})", file.path(), place.offset));
  };
  if (line.size() != place.bytes || Hash(line, kHashStart) != place.line_hash) return changed();
  const auto record = ReadRecord(file.is_csv(), line, options_.limits);
  if (!record) return changed();
  auto examples = maker_.Make(*record);
  if (!examples || place.part >= examples->size()) return changed();
  return std::move((*examples)[place.part]);
}

}  // namespace dgemma
