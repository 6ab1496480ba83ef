// See importance.h. Both of llama.cpp's forms become entries of sums and counts, which are then fitted to the model's
// list of tensors.
#include "model/importance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <string_view>

#include "base/checked.h"
#include "files/gguf.h"
#include "files/gguf_cursor.h"
#include "files/mapped_file.h"
#include "files/messages.h"
#include "files/safetensors.h"
#include "model/gguf_names.h"
#include "model/tensor_list.h"
#include "tensor/stored.h"

namespace dgemma {
namespace {

constexpr float kTooMuch = 1e30f;
constexpr double kMostRows = 0x1p53;  // counts are whole numbers up to here

/// What a file of llama.cpp says about one tensor.
struct Entry {
  std::span<const std::byte> sums;  // float32, any alignment
  std::vector<double> counts;       // of the rows behind the sums: one for all matrices, or one for each
};

struct Entries {
  std::map<std::string_view, Entry> by_name;
  int64_t nameless = 0;  // tensors of no entry
};

std::unexpected<Status> Invalid(std::string message) { return Fail(StatusCode::kInvalidFile, std::move(message)); }

std::string InEntry(std::string_view name) { return "entry " + Quoted(name); }

float FloatAt(std::span<const std::byte> bytes, size_t index) {
  return LoadNumber<float>(bytes.subspan(index * sizeof(float)));
}

// GGUF

Result<void> CheckCount(double count) {
  if (count >= 0 && count <= kMostRows && count == std::floor(count)) return {};
  return Invalid(fmt::format("count {} is no whole number from 0 on", count));
}

/// One tensor of the file into the entry that it is a part of.
Result<void> AddPart(const Blob& blob, const GgufTensor& tensor, Entries& entries) {
  constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
  std::string_view name = tensor.name;
  if (name.ends_with(".in_sum")) return {};
  const bool sums = name.ends_with(kSums);
  if (!sums && !name.ends_with(kCounts)) {
    ++entries.nameless;
    return {};
  }
  name.remove_suffix(sums ? kSums.size() : kCounts.size());
  if (tensor.dtype != DType::kF32) {
    return Invalid(fmt::format("tensor {}: type {} where F32 is needed", Quoted(tensor.name), Name(tensor.dtype)));
  }
  const std::span<const std::byte> bytes = blob.bytes.subspan(tensor.begin, tensor.end - tensor.begin);
  Entry& entry = entries.by_name[name];
  if (sums) {
    entry.sums = bytes;
    return {};
  }
  entry.counts.resize(bytes.size() / sizeof(float));
  const std::string place = InEntry(name);
  for (size_t i = 0; i < entry.counts.size(); ++i) {
    entry.counts[i] = static_cast<double>(FloatAt(bytes, i));
    DG_CHECK_OK(At(place, CheckCount(entry.counts[i])));
  }
  return {};
}

Result<void> ReadGguf(const Blob& blob, const FileLimits& limits, Entries& entries, ImportanceFile& file) {
  DG_TRY(const GgufTable table, ParseGguf(blob.bytes, limits));
  const GgufValue* type = table.Find("general.type");
  const std::string_view kind = type == nullptr ? std::string_view() : type->Text().value_or("");
  if (kind != "imatrix") {
    return Fail(StatusCode::kUnsupported, "general.type: " + Quoted(kind) + " is no importance matrix (\"imatrix\")");
  }
  if (const GgufValue* chunks = table.Find("imatrix.chunk_count")) {
    file.chunks = chunks->Integer();
    if (file.chunks.value_or(-1) < 0) return Invalid("imatrix.chunk_count: is no integer from 0 on");
  }
  if (const GgufValue* sets = table.Find("imatrix.datasets")) {
    const auto texts = sets->Texts();
    if (!texts) return Invalid("imatrix.datasets: is no array of texts");
    file.texts.assign(texts->begin(), texts->end());
  }
  for (const GgufTensor& tensor : table.tensors) DG_CHECK_OK(AddPart(blob, tensor, entries));
  for (const auto& [name, entry] : entries.by_name) {
    if (entry.sums.empty() || entry.counts.empty()) {
      return Invalid(InEntry(name) + (entry.sums.empty() ? ": has counts but no sums" : ": has sums but no counts") +
                     " (NAME.in_sum2 and NAME.counts belong together)");
    }
  }
  return {};
}

// The older form

/// A text behind its length.
Result<std::string_view> DatText(GgufCursor& cursor, uint64_t least, uint64_t most) {
  DG_TRY(const int32_t length, cursor.Number<int32_t>());
  if (std::cmp_less(length, least) || std::cmp_greater(length, most))
    return Invalid(fmt::format("name of {} bytes ({} to {})", length, least, most));
  DG_TRY(const std::span<const std::byte> bytes, cursor.Take(static_cast<uint64_t>(length)));
  return AsText(bytes);
}

/// What follows the name.
Result<Entry> DatEntry(GgufCursor& cursor) {
  DG_TRY(const int32_t calls, cursor.Number<int32_t>());
  if (calls < 0) return Invalid(fmt::format("{} calls (0 at least)", calls));
  DG_TRY(const int32_t values, cursor.Number<int32_t>());
  if (values < 1) return Invalid(fmt::format("{} values (1 at least)", values));
  DG_TRY(const uint64_t bytes, CheckedMul(static_cast<uint64_t>(values), sizeof(float)));
  Entry entry{{}, {static_cast<double>(calls)}};
  DG_TRY(entry.sums, cursor.Take(bytes));
  return entry;
}

Result<void> ReadDat(const Blob& blob, const FileLimits& limits, Entries& entries, ImportanceFile& file) {
  GgufCursor cursor(blob.bytes, "are beyond the end (truncated file?)");
  DG_TRY(const int32_t count, cursor.Number<int32_t>());
  if (count < 1 || std::cmp_greater(count, limits.gguf_tensors)) {
    return Invalid(fmt::format("{} entries (1 to {}; is this an importance matrix?)", count, limits.gguf_tensors));
  }
  for (int32_t i = 0; i < count; ++i) {
    DG_TRY(const std::string_view name,
           At(fmt::format("entry {}", i), DatText(cursor, 1, limits.gguf_tensor_name_bytes)));
    DG_TRY(Entry entry, At(InEntry(name), DatEntry(cursor)));
    if (!entries.by_name.emplace(name, std::move(entry)).second)
      return Invalid(InEntry(name) + ": occurs twice (names are unique)");
  }
  if (cursor.left() == 0) return {};
  DG_TRY(file.chunks, At("number of chunks", cursor.Number<int32_t>()));
  if (*file.chunks < 0) return Invalid(fmt::format("{} chunks (0 at least)", *file.chunks));
  if (cursor.left() == 0) return {};
  DG_TRY(const std::string_view text, At("data set", DatText(cursor, 0, limits.gguf_text_bytes)));
  if (!text.empty()) file.texts.emplace_back(text);
  if (cursor.left() == 0) return {};
  return Invalid(fmt::format("{} bytes follow the name of the data set", cursor.left()));
}

// Entries and the model

bool IsWeighted(const TensorSpec& spec) {
  return spec.role == TensorRole::kMatrix || spec.role == TensorRole::kExperts || spec.role == TensorRole::kEmbedding;
}

uint64_t MatricesOf(const TensorSpec& spec) { return spec.role == TensorRole::kExperts ? spec.shape.front() : 1; }

Result<void> CheckSize(uint64_t values, const TensorSpec& spec) {
  const uint64_t inputs = spec.shape.back(), all = MatricesOf(spec) * inputs;
  if (values == inputs || values == all) return {};
  return Invalid(fmt::format("{} values where {} are needed", values,
                             all == inputs ? fmt::format("{}", inputs) : fmt::format("{} or {}", inputs, all)));
}

Result<void> CheckValue(float value) {
  if (value >= 0 && value < kTooMuch) return {};
  return Invalid(fmt::format("value {} (finite and not negative)", value));
}

/// sum / count, [in] or [E, in]; empty where the entry says nothing.
Result<std::vector<float>> Means(const Entry& entry, const TensorSpec& spec) {
  const size_t values = entry.sums.size() / sizeof(float), inputs = static_cast<size_t>(spec.shape.back());
  DG_CHECK_OK(CheckSize(values, spec));
  const size_t matrices = values / inputs;
  if (entry.counts.size() != 1 && entry.counts.size() != matrices) {
    return Invalid(fmt::format("{} counts where {} are needed", entry.counts.size(),
                               matrices == 1 ? "1" : fmt::format("1 or {}", matrices)));
  }
  std::vector<float> means(values, 1.0f);
  bool says_something = false;
  for (size_t matrix = 0; matrix < matrices; ++matrix) {
    const double count = entry.counts[entry.counts.size() == 1 ? 0 : matrix];
    if (count == 0) continue;
    const std::span<float> out = std::span(means).subspan(matrix * inputs, inputs);
    for (size_t i = 0; i < inputs; ++i) {
      const float sum = FloatAt(entry.sums, matrix * inputs + i);
      out[i] = static_cast<float>(static_cast<double>(sum) / count);
      DG_CHECK_OK(CheckValue(std::isfinite(sum) ? out[i] : sum));
    }
    if (std::ranges::any_of(out, [](float value) { return value > 0; })) {
      says_something = true;
    } else {
      std::ranges::fill(out, 1.0f);
    }
  }
  if (!says_something) means.clear();
  return means;
}

/// GGUF's names of a tensor, and those of its halves.
std::vector<std::string> NamesOf(const TensorSpec& spec) {
  std::vector<std::string> names = GgufNames(spec.name);
  if (auto halves = GgufHalves(spec.name)) {
    names.push_back(std::move(halves->first));
    names.push_back(std::move(halves->second));
  }
  return names;
}

Result<void> FitEntries(const Entries& entries, const Config& config, ImportanceFile& file) {
  std::set<std::string_view> known;
  for (const TensorSpec& spec : ListTensors(config)) {
    for (const std::string& name : NamesOf(spec)) {
      const auto found = entries.by_name.find(name);
      if (found == entries.by_name.end()) continue;
      known.insert(found->first);
      if (!IsWeighted(spec)) continue;
      DG_TRY(std::vector<float> means, At(InEntry(name), Means(found->second, spec)));
      if (means.empty()) {
        ++file.without_data;
      } else {
        file.importance.try_emplace(spec.name, std::move(means));
      }
    }
  }
  file.entries = std::ssize(entries.by_name) + entries.nameless;
  file.unknown = file.entries - std::ssize(known);
  return {};
}

/// Our own form.
Result<void> ReadOurs(const Blob& blob, const Config& config, const FileLimits& limits, ImportanceFile& file) {
  DG_TRY(const SafetensorsHeader header, ParseSafetensors(blob.bytes, limits));
  std::map<std::string_view, const SafetensorsEntry*> by_name;
  for (const SafetensorsEntry& tensor : header.tensors) by_name.emplace(tensor.name, &tensor);
  file.entries = file.unknown = std::ssize(header.tensors);
  for (const TensorSpec& spec : ListTensors(config)) {
    const auto found = by_name.find(spec.name);
    if (found == by_name.end()) continue;
    --file.unknown;
    if (!IsWeighted(spec)) continue;
    const SafetensorsEntry& tensor = *found->second;
    const std::string place = InEntry(spec.name);
    if (!IsWeightType(tensor.dtype)) {
      return Fail(StatusCode::kUnsupported,
                  fmt::format("{}: type {} where F32, BF16 or F16 is needed", place, Name(tensor.dtype)));
    }
    const uint64_t values = (tensor.end - tensor.begin) / BytesPerBlock(tensor.dtype);
    DG_CHECK_OK(At(place, CheckSize(values, spec)));
    std::vector<float>& out = file.importance[spec.name];
    out.resize(static_cast<size_t>(values));
    const std::span<const std::byte> bytes = blob.bytes.subspan(tensor.begin, tensor.end - tensor.begin);
    ReadRow(OneRun(tensor.dtype, 1, 1, std::ssize(out), bytes), 0, 0, out.data());
    for (const float value : out) DG_CHECK_OK(At(place, CheckValue(value)));
  }
  return {};
}

Result<ImportanceFile> Parse(const Blob& blob, const Config& config, const FileLimits& limits) {
  ImportanceFile file;
  if (blob.bytes.size() < 8) return Invalid("is too short for an importance matrix (8 bytes at least)");
  if (AsText(blob.bytes).starts_with("GGUF")) {
    file.form = "GGUF";
  } else {
    // A safetensors file begins with a length of 64 bits whose upper half is 0; there the other form has the length of
    // a name.
    file.form = LoadNumber<uint32_t>(blob.bytes.subspan(4)) == 0 ? "safetensors" : "dat";
  }
  if (file.form == "safetensors") {
    DG_CHECK_OK(ReadOurs(blob, config, limits, file));
  } else {
    Entries entries;
    DG_CHECK_OK(file.form == "GGUF" ? ReadGguf(blob, limits, entries, file) : ReadDat(blob, limits, entries, file));
    DG_CHECK_OK(FitEntries(entries, config, file));
  }
  if (!file.importance.empty()) return file;
  return Invalid(
      fmt::format("says nothing about a matrix of this model ({} entries, {} of unknown names, {} without data)",
                  file.entries, file.unknown, file.without_data));
}

}  // namespace

Result<ImportanceFile> ParseImportance(const Blob& blob, const Config& config, const FileLimits& limits) {
  return At(blob.name, Parse(blob, config, limits));
}

Result<ImportanceFile> ReadImportance(const std::filesystem::path& path, const Config& config) {
  DG_TRY(const Blob blob, MapBlob(path));
  return ParseImportance(blob, config);
}

}  // namespace dgemma
