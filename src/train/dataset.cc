// Lines of files to places of examples, counted on the way, and back from a place to its example.
#include "train/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/try.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr size_t kFirstFaults = 5;

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

}  // namespace

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
    if (task.empty() && statistics.tasks.size() == 1) break;  // no record names a task
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
  for (const std::string& path : paths) {
    DG_TRY(auto file, DataFile::Open(path, options.limits));
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
  return files_[file]->ForEachLine(options_.limits, options_.stop, [&](const DataLine& line) -> Result<bool> {
    DG_CHECK_OK(ReadLine(file, line));
    return true;
  });
}

OrFault<std::vector<Example>> Dataset::MakeExamples(size_t file, const DataLine& line) {
  const DatasetLimits& limits = options_.limits;
  DG_TRY(const Record record, files_[file]->ReadRecord(line, limits));
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

Result<void> Dataset::ReadLine(size_t file, const DataLine& line) {
  if (static_cast<uint64_t>(statistics_.records) >= options_.limits.records) {
    return Fail(StatusCode::kResourceExhausted,
                fmt::format("{}:{}: more than {} records", files_[file]->path(), line.number, options_.limits.records));
  }
  ++statistics_.records;
  const auto examples = MakeExamples(file, line);
  return examples ? Count(file, line, *examples) : CountFault(file, line, examples.error());
}

Result<void> Dataset::CountFault(size_t file, const DataLine& line, const Fault& fault) {
  const std::string message = fmt::format("{}:{}: {}", files_[file]->path(), line.number, fault.message);
  if (options_.faults == FaultPolicy::kRefuse) {
    return Fail(StatusCode::kInvalidFile, fmt::format("{} ({})", message, Name(fault.kind)));
  }
  FaultCount& count = statistics_.faults[static_cast<size_t>(fault.kind)];
  ++count.records;
  if (count.first.size() < kFirstFaults) count.first.push_back(message);
  statistics_.longest_left_out = std::max(statistics_.longest_left_out, fault.tokens);
  return {};
}

Result<void> Dataset::Count(size_t file, const DataLine& line, std::span<const Example> examples) {
  if (places_.size() + examples.size() > options_.limits.examples) {
    return Fail(StatusCode::kResourceExhausted, fmt::format("{}:{}: more than {} examples", files_[file]->path(),
                                                            line.number, options_.limits.examples));
  }
  const uint64_t line_hash = Fnv1a().Add(line.text).value();
  ++statistics_.used;
  statistics_.examples += std::ssize(examples);
  TaskCounts& task = statistics_.tasks[examples.front().task];
  task.examples += std::ssize(examples);
  for (size_t part = 0; part < examples.size(); ++part) {
    // CheckLimits saw to it that these types are wide enough.
    places_.push_back({.offset = line.offset,
                       .line_hash = line_hash,
                       .bytes = static_cast<uint32_t>(line.text.size()),
                       .file = static_cast<uint16_t>(file),
                       .part = static_cast<uint16_t>(part)});
    fingerprint_.Add(line_hash).Add(part);
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
  if (line.size() != place.bytes || Fnv1a().Add(line).value() != place.line_hash) return changed();
  const auto record = file.ReadRecord({.text = line}, options_.limits);
  if (!record) return changed();
  auto examples = maker_.Make(*record);
  if (!examples || place.part >= examples->size()) return changed();
  return std::move((*examples)[place.part]);
}

}  // namespace dgemma
