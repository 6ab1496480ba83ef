// Framing of TFRecord and the wire format of protobuf, as far as Event{wall_time = 1, step = 2, file_version = 3,
// summary = 5, session_log = 7}, Summary{value = 1} and Value{tag = 1, simple_value = 2} need them.
#include "train/tensorboard.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <concepts>

#include "base/try.h"
#include "text/utf8.h"
#include "train/run_log.h"

namespace dgemma {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0x82f63b78U : 0U);
    table[byte] = remainder;
  }
  return table;
}();

template <std::unsigned_integral T>
void AppendLittleEndian(T value, std::string& out) {
  for (size_t byte = 0; byte < sizeof(T); ++byte) out += static_cast<char>((value >> (8 * byte)) & 0xff);
}

enum class Wire : uint32_t { kVarint = 0, k64Bit = 1, kBytes = 2, k32Bit = 5 };

void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void AppendKey(uint32_t field, Wire wire, std::string& out) {
  AppendVarint(field << 3 | static_cast<uint32_t>(wire), out);
}

void AppendInteger(uint32_t field, int64_t value, std::string& out) {
  AppendKey(field, Wire::kVarint, out);
  AppendVarint(static_cast<uint64_t>(value), out);
}

void AppendDouble(uint32_t field, double value, std::string& out) {
  AppendKey(field, Wire::k64Bit, out);
  AppendLittleEndian(std::bit_cast<uint64_t>(value), out);
}

void AppendFloat(uint32_t field, float value, std::string& out) {
  AppendKey(field, Wire::k32Bit, out);
  AppendLittleEndian(std::bit_cast<uint32_t>(value), out);
}

void AppendBytes(uint32_t field, std::string_view bytes, std::string& out) {
  AppendKey(field, Wire::kBytes, out);
  AppendVarint(bytes.size(), out);
  out += bytes;
}

/// The fields that every event has. Zero is what a missing field means, and the canonical form leaves it out.
std::string Event(int64_t step, double now) {
  std::string event;
  AppendDouble(1, now, event);
  if (step != 0) AppendInteger(2, step, event);
  return event;
}

std::vector<Scalar> Finite(std::vector<Scalar> scalars) {
  std::erase_if(scalars, [](const Scalar& scalar) { return !std::isfinite(scalar.value); });
  return scalars;
}

}  // namespace

uint32_t MaskedCrc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffffU;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return std::rotr(~crc, 15) + 0xa282ead8U;
}

std::vector<Scalar> ScalarsOf(const StepLine& line) {
  std::vector<Scalar> scalars = {{"loss/diffusion", line.report.diffusion_loss},
                                 {"loss/next_token", line.report.next_token_loss},
                                 {"optimizer/gradient_norm", line.report.gradient_norm},
                                 {"optimizer/rate", line.report.rate},
                                 {"machine/rows_per_second", line.rows_per_second},
                                 {"machine/memory_bytes", static_cast<double>(line.memory_bytes)}};
  for (const auto& [task, rows] : line.report.tasks) {
    if (rows.rows <= 0) continue;
    scalars.push_back({"row_accuracy/" + task, static_cast<double>(rows.correct) / static_cast<double>(rows.rows)});
  }
  return Finite(std::move(scalars));
}

std::vector<Scalar> ScalarsOf(const EvaluationLine& line) {
  const TaskScore all = line.all();
  std::vector<Scalar> scalars = {{line.suite + "/accuracy", all.accuracy()},
                                 {line.suite + "/steps_per_canvas", all.steps_per_canvas()},
                                 {line.suite + "/diffusion_loss", line.diffusion_loss},
                                 {line.suite + "/next_token_loss", line.next_token_loss}};
  for (const auto& [task, score] : line.tasks) {
    scalars.push_back({line.suite + "/accuracy/" + task, score.accuracy()});
    scalars.push_back({line.suite + "/steps_per_canvas/" + task, score.steps_per_canvas()});
  }
  return Finite(std::move(scalars));
}

Result<EventFile> EventFile::Create(const std::filesystem::path& folder, int64_t first_step, double now,
                                    FileSystem& system) {
  constexpr int64_t kAttempts = 100;
  const auto seconds = static_cast<int64_t>(now);
  for (int64_t attempt = 0;; ++attempt) {
    const auto path = folder / fmt::format("events.out.tfevents.{}.dgemma", seconds + attempt);
    auto created = AppendFile::Create(path, AppendFile::Open::kOnlyNew, system);
    if (!created && created.error().code == StatusCode::kInvalidArgument && attempt < kAttempts) continue;
    DG_TRY(AppendFile file, std::move(created));
    EventFile events(std::move(file));
    std::string version = Event(0, now);
    AppendBytes(3, "brain.Event:2", version);
    DG_CHECK_OK(events.AppendRecord(version));
    std::string status;
    AppendInteger(1, 1, status);  // START: what other files have from `first_step` on is void
    std::string start = Event(first_step, now);
    AppendBytes(7, status, start);
    DG_CHECK_OK(events.AppendRecord(start));
    return events;
  }
}

Result<void> EventFile::Append(int64_t step, double now, std::span<const Scalar> scalars) {
  if (torn_) return Fail(StatusCode::kIo, path().string() + ": an earlier write failed");
  if (scalars.empty()) return {};
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    AppendBytes(1, ReplaceInvalidUtf8(scalar.tag), value);
    AppendFloat(2, static_cast<float>(scalar.value), value);
    AppendBytes(1, value, summary);
  }
  std::string event = Event(step, now);
  AppendBytes(5, summary, event);
  return AppendRecord(event);
}

Result<void> EventFile::AppendRecord(std::string_view message) {
  std::string record;
  AppendLittleEndian(uint64_t{message.size()}, record);
  AppendLittleEndian(MaskedCrc32c(record), record);
  record += message;
  AppendLittleEndian(MaskedCrc32c(message), record);
  torn_ = true;
  DG_CHECK_OK(file_.Append(std::as_bytes(std::span(record))));
  torn_ = false;
  return {};
}

}  // namespace dgemma
