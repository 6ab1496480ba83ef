// Builds the table's JSON text by hand (its form is fixed), checks it with our own reader, then streams.
#include "files/safetensors_writer.h"

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <tuple>
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
    DG_TRY(const uint64_t bytes, At("tensor " + Quoted(tensor.name), StoredBytes(tensor)));
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

}  // namespace

Result<void> WriteSafetensors(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata, FileSystem& system) {
  const auto order = [](const TensorToWrite& tensor) {
    const bool whole_lines = StoredBytes(tensor).value_or(1) % kDataAlignment == 0;
    return std::tuple(!whole_lines, whole_lines ? 0 : -static_cast<int64_t>(BytesPerValue(tensor.dtype)), tensor.name);
  };
  std::sort(tensors.begin(), tensors.end(),
            [&](const TensorToWrite& a, const TensorToWrite& b) { return order(a) < order(b); });
  DG_TRY(const Table table, At(target.string(), MakeTable(tensors, metadata)));
  DG_CHECK_OK(At(target.string(), CheckReadable(table)));
  DG_TRY(AtomicFile file, AtomicFile::Create(target, system));
  std::array<std::byte, kPrefixBytes> prefix{};
  for (size_t i = 0; i < prefix.size(); ++i) prefix[i] = static_cast<std::byte>(table.text.size() >> (8 * i));
  DG_CHECK_OK(file.Write(prefix));
  DG_CHECK_OK(file.Write(AsBytes(table.text)));
  for (const TensorToWrite& tensor : tensors) DG_CHECK_OK(StreamTensor(tensor, target.string(), file));
  return file.Commit();
}

}  // namespace dgemma
