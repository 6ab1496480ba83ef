// Data files as a numbered list of examples. Opening reads every line once, checks and counts it, and keeps 24 bytes of
// each example; the text stays in the files and is read and tokenised again when an example is wanted.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/hash.h"
#include "train/data_file.h"
#include "train/examples.h"

namespace dgemma {

/// A numbered list of examples, from files or made by a program. Get may be called from several threads.
class ExampleSource {
 public:
  virtual ~ExampleSource() = default;
  virtual int64_t size() const = 0;
  /// Example `index` in [0, size()), the same one at every call.
  virtual Result<Example> Get(int64_t index) const = 0;
};

/// Lengths with their smallest, median, 95th percentile and largest. Memory grows with the number of different lengths.
class LengthCounts {
 public:
  void Add(int64_t length);
  int64_t count() const { return count_; }
  int64_t total() const { return total_; }
  /// The smallest length that at least `share` of all are not longer than; share in [0, 1], 0 gives the smallest. 0
  /// when empty.
  int64_t Quantile(double share) const;

 private:
  std::map<int64_t, int64_t> counts_;  // by length
  int64_t count_ = 0, total_ = 0;
};

/// Records with one kind of fault.
struct FaultCount {
  int64_t records = 0;
  std::vector<std::string> first;  ///< the first five: "train.jsonl:7: completion: has no text"
};

struct TaskCounts {
  int64_t records = 0;   ///< that name this task, those left out included
  int64_t too_long = 0;  ///< of them
  int64_t examples = 0;
  int64_t answer_tokens = 0;
};

/// What is in the files, known before training starts.
struct DatasetStatistics {
  int64_t records = 0;  ///< lines that are not blank and no header
  int64_t used = 0;     ///< records that gave examples
  int64_t examples = 0;
  std::array<FaultCount, kFaultKinds> faults;  ///< by FaultKind
  LengthCounts context_tokens;                 ///< before each answer
  LengthCounts answer_tokens;                  ///< with the closing token, without fill
  LengthCounts answer_canvases;
  int64_t longest_left_out = 0;  ///< tokens that the longest record with kTooLong needs at least
  std::map<std::string, TaskCounts> tasks;

  const FaultCount& Of(FaultKind kind) const { return faults[static_cast<size_t>(kind)]; }
  double TooLongShare() const {
    return records == 0 ? 0 : static_cast<double>(Of(FaultKind::kTooLong).records) / static_cast<double>(records);
  }
};

/// The statistics as lines for people.
std::vector<std::string> Describe(const DatasetStatistics& statistics);

/// What a record with a fault does: it is counted and left out, or opening fails with it.
enum class FaultPolicy : uint8_t { kLeaveOut, kRefuse };

struct DatasetOptions {
  ExampleOptions examples;
  DatasetLimits limits;
  FaultPolicy faults = FaultPolicy::kLeaveOut;
  std::stop_token stop;  ///< looked at after every chunk; opening then fails with kCancelled
};

class Dataset final : public ExampleSource {
 public:
  /// Reads the files (data_file.h). `tokenizer` must outlive
  /// this. kNotFound, kIo; kInvalidFile for what is no regular file, a wrong header, no example at all, or with kRefuse
  /// the first fault; kResourceExhausted past a limit of files, bytes, records or examples.
  static Result<Dataset> Open(std::span<const std::string> paths, const Tokenizer& tokenizer,
                              const DatasetOptions& options);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset() override;

  int64_t size() const override { return std::ssize(places_); }
  /// kInvalidFile when the line is not what it was when the data set was opened, kIo when it cannot be read.
  Result<Example> Get(int64_t index) const override;

  const DatasetStatistics& statistics() const { return statistics_; }
  /// Depends on every line that gave an example, and on their order: a checkpoint notes it, so that a resumed training
  /// can tell whether its data are still the same.
  uint64_t fingerprint() const { return fingerprint_.value(); }

 private:
  /// Where an example's line lies.
  struct Place {
    uint64_t offset = 0;
    uint64_t line_hash = 0;
    uint32_t bytes = 0;
    uint16_t file = 0;
    uint16_t part = 0;  ///< which of the record's examples
  };

  Dataset(ExampleMaker maker, const DatasetOptions& options);
  Result<void> ReadFile(size_t file);
  Result<void> ReadLine(size_t file, const DataLine& line);
  OrFault<std::vector<Example>> MakeExamples(size_t file, const DataLine& line);
  Result<void> CountFault(size_t file, const DataLine& line, const Fault& fault);
  Result<void> Count(size_t file, const DataLine& line, std::span<const Example> examples);

  ExampleMaker maker_;
  DatasetOptions options_;
  std::vector<std::unique_ptr<DataFile>> files_;
  std::vector<Place> places_;
  DatasetStatistics statistics_;
  Fnv1a fingerprint_;
};

}  // namespace dgemma
