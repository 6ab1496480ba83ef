// Builds the table's JSON text by hand (its form is fixed), checks it with our own reader, then streams.
#include "files/safetensors_writer.h"

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <utility>

#include "base/checked.h"
#include "files/atomic_file.h"
#include "files/bytes.h"
#include "files/messages.h"
#include "files/safetensors.h"

namespace dgemma {
namespace {

constexpr uint64_t kDataAlignment = 64;  // a cache line, and the widest vector register
constexpr uint64_t kPrefixBytes = 8;

std::string JsonString(const std::string& text) { return boost::json::serialize(boost::json::string(text)); }

Result<uint64_t> BytesOf(const TensorToWrite& tensor) {
  DG_TRY(const uint64_t values, CheckedProduct(tensor.shape));
  return CheckedMul(values, BytesPerValue(tensor.dtype));
}

struct Table {
  std::string text;         ///< JSON, padded
  uint64_t data_bytes = 0;  ///< sum of all tensors
};

Result<Table> MakeTable(const std::vector<TensorToWrite>& tensors, const std::map<std::string, std::string>& metadata) {
  Table table;
  table.text = "{";
  if (!metadata.empty()) {
    table.text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) table.text += JsonString(key) + ":" + JsonString(value) + ",";
    table.text.back() = '}';
    table.text += ',';
  }
  for (const TensorToWrite& tensor : tensors) {
    if (tensor.name == "__metadata__")
      return Fail(StatusCode::kInvalidArgument, "a tensor cannot be named __metadata__");
    DG_TRY(const uint64_t bytes, At("tensor " + Quoted(tensor.name), BytesOf(tensor)));
    DG_TRY(const uint64_t end, At("tensor " + Quoted(tensor.name), CheckedAdd(table.data_bytes, bytes)));
    std::string shape;
    for (const uint64_t dimension : tensor.shape) shape += (shape.empty() ? "" : ",") + std::to_string(dimension);
    table.text += JsonString(tensor.name) + ":{\"dtype\":\"" + std::string(Name(tensor.dtype)) + "\",\"shape\":[" +
                  shape + "],\"data_offsets\":[" + std::to_string(table.data_bytes) + "," + std::to_string(end) + "]},";
    table.data_bytes = end;
  }
  if (table.text.back() == ',') table.text.pop_back();
  table.text += '}';
  while ((kPrefixBytes + table.text.size()) % kDataAlignment != 0) table.text += ' ';
  return table;
}

/// Our own reader has the last word on what may be written.
Result<void> CheckReadable(const Table& table) {
  const FileLimits limits;
  if (table.text.size() > limits.safetensors_header_bytes) {
    return Fail(StatusCode::kInvalidArgument, "header of " + std::to_string(table.text.size()) +
                                                  " bytes exceeds the limit of " +
                                                  std::to_string(limits.safetensors_header_bytes));
  }
  const auto parsed = ParseSafetensorsTable(table.text, table.data_bytes, limits);
  if (!parsed) return Fail(StatusCode::kInvalidArgument, parsed.error().message);
  return {};
}

Result<void> WriteTensor(const TensorToWrite& tensor, const std::string& place, AtomicFile& file) {
  DG_TRY(const uint64_t expected, BytesOf(tensor));
  const uint64_t begin = file.bytes_written();
  const auto wrong_size = [&](const std::string& delivered) {
    return Fail(StatusCode::kInvalidArgument, place + ": tensor " + Quoted(tensor.name) + ": " + delivered +
                                                  " bytes were delivered, shape and dtype need " +
                                                  std::to_string(expected));
  };
  DG_CHECK_OK(tensor.produce([&](std::span<const std::byte> bytes) -> Result<void> {
    if (bytes.size() > expected - (file.bytes_written() - begin)) return wrong_size("more");
    return file.Write(bytes);
  }));
  const uint64_t delivered = file.bytes_written() - begin;
  if (delivered != expected) return wrong_size(std::to_string(delivered));
  return {};
}

}  // namespace

TensorToWrite TensorFromMemory(std::string name, DType dtype, std::vector<uint64_t> shape,
                               std::span<const std::byte> bytes) {
  return {std::move(name), dtype, std::move(shape), [bytes](const ByteSink& sink) { return sink(bytes); }};
}

Result<void> WriteSafetensors(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata, FileSystem& system) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    const uint64_t bytes_a = BytesPerValue(a.dtype), bytes_b = BytesPerValue(b.dtype);
    return bytes_a != bytes_b ? bytes_a > bytes_b : a.name < b.name;
  });
  DG_TRY(const Table table, At(target.string(), MakeTable(tensors, metadata)));
  DG_CHECK_OK(At(target.string(), CheckReadable(table)));
  DG_TRY(AtomicFile file, AtomicFile::Create(target, system));
  std::array<std::byte, kPrefixBytes> prefix{};
  for (size_t i = 0; i < prefix.size(); ++i) prefix[i] = static_cast<std::byte>(table.text.size() >> (8 * i));
  DG_CHECK_OK(file.Write(prefix));
  DG_CHECK_OK(file.Write(AsBytes(table.text)));
  for (const TensorToWrite& tensor : tensors) DG_CHECK_OK(WriteTensor(tensor, target.string(), file));
  return file.Commit();
}

}  // namespace dgemma
