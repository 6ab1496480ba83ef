// Scalars for TensorBoard: an event file, which is TFRecords of protobuf messages. The three messages that scalars need
// are written by hand; nothing here reads event files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "train/append_file.h"

namespace dgemma {

struct StepLine;
struct EvaluationLine;

/// CRC-32C (Castagnoli: reflected polynomial 0x82f63b78) of `bytes`, masked as TFRecord stores it: rotated right by 15,
/// plus 0xa282ead8.
uint32_t MaskedCrc32c(std::string_view bytes);

struct Scalar {
  std::string tag;  ///< "loss/diffusion": TensorBoard groups by what is before the slash
  double value = 0;
};

/// What of a line is shown. Values that are not finite are left out.
std::vector<Scalar> ScalarsOf(const StepLine& line);
std::vector<Scalar> ScalarsOf(const EvaluationLine& line);

/// A new event file of a run. A run that is resumed writes another one beside those it has: TensorBoard reads them in
/// the order of their names and drops the steps from the first one of this file on from those before.
class EventFile {
 public:
  /// Creates `folder`/events.out.tfevents.<seconds>.dgemma, `seconds` the whole part of `now`, or the next number that
  /// is free. `now`: seconds since 1970. kIo.
  static Result<EventFile> Create(const std::filesystem::path& folder, int64_t first_step, double now,
                                  FileSystem& system = SystemCalls());

  /// One event with all scalars. After kIo the file ends with a torn record: every later call fails with kIo too.
  Result<void> Append(int64_t step, double now, std::span<const Scalar> scalars);

  const std::filesystem::path& path() const { return file_.path(); }

 private:
  explicit EventFile(AppendFile file) : file_(std::move(file)) {}
  Result<void> AppendRecord(std::string_view message);

  AppendFile file_;
  bool torn_ = false;
};

}  // namespace dgemma
