// Builds the table in memory, checks it with our own reader, then streams.
#include "files/gguf_writer.h"

#include <array>

#include "base/checked.h"
#include "files/bytes.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr uint64_t kAlignment = 32;  // the format's default, so no key has to say it

template <typename T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value),
               sizeof(value));  // the machine is little-endian, see gguf_cursor.h
}

void AppendText(std::string& bytes, std::string_view text) {
  Append<uint64_t>(bytes, text.size());
  bytes += text;
}

struct Table {
  std::string bytes;  ///< padded to the alignment
  uint64_t file_bytes = 0;
};

Result<Table> MakeTable(const GgufMetadata& metadata, const std::vector<TensorToWrite>& tensors) {
  Table table;
  table.bytes = "GGUF";
  Append<uint32_t>(table.bytes, 3);
  Append<uint64_t>(table.bytes, tensors.size());
  Append<uint64_t>(table.bytes, metadata.count());
  table.bytes += metadata.bytes();
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::string subject = "tensor " + Quoted(tensor.name);
    const auto number = GgufNumber(tensor.dtype);
    if (!number) {
      return Fail(StatusCode::kInvalidArgument,
                  subject + ": type " + std::string(Name(tensor.dtype)) + " does not exist in GGUF files");
    }
    AppendText(table.bytes, tensor.name);
    Append(table.bytes, static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) Append(table.bytes, *size);
    Append(table.bytes, *number);
    Append(table.bytes, offset);
    DG_TRY(const uint64_t bytes, At(subject, StoredBytes(tensor)));
    DG_TRY(const uint64_t end, At(subject, CheckedAdd(offset, bytes)));
    DG_TRY(offset, At(subject, CheckedAdd(end, (kAlignment - end % kAlignment) % kAlignment)));
  }
  table.bytes.resize(AlignUp(table.bytes.size(), kAlignment));
  DG_TRY(table.file_bytes, CheckedAdd(table.bytes.size(), offset));
  return table;
}

}  // namespace

void GgufMetadata::Begin(std::string_view key, GgufType type) {
  AppendText(bytes_, key);
  Append(bytes_, type);
  ++count_;
}

void GgufMetadata::BeginArray(std::string_view key, GgufType type, uint64_t count) {
  Begin(key, GgufType::kArray);
  Append(bytes_, type);
  Append(bytes_, count);
}

void GgufMetadata::Put(std::string_view key, uint32_t value) {
  Begin(key, GgufType::kU32);
  Append(bytes_, value);
}

void GgufMetadata::Put(std::string_view key, float value) {
  Begin(key, GgufType::kF32);
  Append(bytes_, value);
}

void GgufMetadata::Put(std::string_view key, bool value) {
  Begin(key, GgufType::kBool);
  Append<uint8_t>(bytes_, value ? 1 : 0);
}

void GgufMetadata::Put(std::string_view key, std::string_view text) {
  Begin(key, GgufType::kText);
  AppendText(bytes_, text);
}

void GgufMetadata::Put(std::string_view key, std::span<const int32_t> values) {
  BeginArray(key, GgufType::kI32, values.size());
  for (const int32_t value : values) Append(bytes_, value);
}

void GgufMetadata::Put(std::string_view key, std::span<const float> values) {
  BeginArray(key, GgufType::kF32, values.size());
  for (const float value : values) Append(bytes_, value);
}

void GgufMetadata::Put(std::string_view key, const std::vector<bool>& values) {
  BeginArray(key, GgufType::kBool, values.size());
  for (const bool value : values) Append<uint8_t>(bytes_, value ? 1 : 0);
}

void GgufMetadata::Put(std::string_view key, std::span<const std::string> texts) {
  BeginArray(key, GgufType::kText, texts.size());
  for (const std::string& text : texts) AppendText(bytes_, text);
}

Result<void> WriteGguf(const std::filesystem::path& target, const GgufMetadata& metadata,
                       const std::vector<TensorToWrite>& tensors, FileSystem& system) {
  const std::string place = target.string();
  DG_TRY(const Table table, At(place, MakeTable(metadata, tensors)));
  // Our own reader has the last word on what may be written.
  if (const auto read = ParseGgufTable(AsBytes(table.bytes), table.file_bytes); !read) {
    return Fail(StatusCode::kInvalidArgument, place + ": " + read.error().message);
  }
  DG_TRY(AtomicFile file, AtomicFile::Create(target, system));
  DG_CHECK_OK(file.Write(AsBytes(table.bytes)));
  constexpr std::array<std::byte, kAlignment> kPadding{};
  for (const TensorToWrite& tensor : tensors) {
    DG_CHECK_OK(StreamTensor(tensor, place, file));
    const uint64_t end = file.bytes_written();
    DG_CHECK_OK(file.Write(std::span(kPadding).first(static_cast<size_t>(AlignUp(end, kAlignment) - end))));
  }
  return file.Commit();
}

}  // namespace dgemma
