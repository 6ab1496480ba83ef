// A file of records, line by line: ".csv" as puzzles (csv_puzzles.h), everything else as JSONL (jsonl.h). Training reads
// its examples through this, and evaluation its questions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "train/examples.h"

namespace dgemma {

/// A line without its newline, a byte order mark or a carriage return.
struct DataLine {
  int64_t number = 1;   ///< from 1
  uint64_t offset = 0;  ///< of the text in the file, bytes
  std::string_view text;
  bool too_long = false;  ///< then `text` is empty
};

/// An open file. Read with pread, so that a file which somebody shortens is an error and not the end of the process.
class DataFile {
 public:
  /// kNotFound, kIo; kInvalidFile for what is no regular file, kResourceExhausted above limits.file_bytes.
  static Result<std::unique_ptr<DataFile>> Open(const std::string& path, const DatasetLimits& limits);
  DataFile(const DataFile&) = delete;
  DataFile& operator=(const DataFile&) = delete;
  ~DataFile();

  /// Gives every record's line to `take`, in order, until that returns false or an error: not blank lines, not the
  /// header of a CSV file. kInvalidFile for a wrong header, kCancelled, kIo, and what `take` returns.
  Result<void> ForEachLine(const DatasetLimits& limits, const std::stop_token& stop,
                           const std::function<Result<bool>(const DataLine&)>& take) const;

  /// What a line says.
  OrFault<Record> ReadRecord(const DataLine& line, const DatasetLimits& limits) const;

  /// Up to `length` bytes at `offset`; fewer only at the file's end. kIo.
  Result<std::string> ReadAt(uint64_t offset, size_t length) const;

  const std::string& path() const { return path_; }

 private:
  DataFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  bool is_csv() const { return path_.ends_with(".csv"); }

  std::string path_;
  int descriptor_;
};

}  // namespace dgemma
