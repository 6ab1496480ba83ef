// Typed reading of metadata values that ParseGguf accepted, and the numbers of tensor types.
#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "files/gguf.h"
#include "files/gguf_cursor.h"

namespace dgemma {
namespace {

constexpr std::array<std::pair<uint32_t, DType>, 17> kTensorTypes = {{{0, DType::kF32},
                                                                      {1, DType::kF16},
                                                                      {2, DType::kQ4_0},
                                                                      {3, DType::kQ4_1},
                                                                      {6, DType::kQ5_0},
                                                                      {7, DType::kQ5_1},
                                                                      {8, DType::kQ8_0},
                                                                      {12, DType::kQ4K},
                                                                      {13, DType::kQ5K},
                                                                      {14, DType::kQ6K},
                                                                      {23, DType::kIq4Xs},
                                                                      {24, DType::kI8},
                                                                      {25, DType::kI16},
                                                                      {26, DType::kI32},
                                                                      {27, DType::kI64},
                                                                      {28, DType::kF64},
                                                                      {30, DType::kBF16}}};

/// An integer or bool at the start of `bytes`; nothing for other types, or beyond int64_t.
std::optional<int64_t> LoadInteger(GgufType type, std::span<const std::byte> bytes) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kBool:
      return LoadNumber<uint8_t>(bytes);
    case GgufType::kI8:
      return LoadNumber<int8_t>(bytes);
    case GgufType::kU16:
      return LoadNumber<uint16_t>(bytes);
    case GgufType::kI16:
      return LoadNumber<int16_t>(bytes);
    case GgufType::kU32:
      return LoadNumber<uint32_t>(bytes);
    case GgufType::kI32:
      return LoadNumber<int32_t>(bytes);
    case GgufType::kI64:
      return LoadNumber<int64_t>(bytes);
    case GgufType::kU64: {
      const auto value = CheckedCast<int64_t>(LoadNumber<uint64_t>(bytes));
      return value ? std::optional(*value) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<DType> DTypeFromGguf(uint32_t number) {
  const auto found = std::ranges::find(kTensorTypes, number, &std::pair<uint32_t, DType>::first);
  return found == kTensorTypes.end() ? std::nullopt : std::optional(found->second);
}

std::optional<uint32_t> GgufNumber(DType dtype) {
  const auto found = std::ranges::find(kTensorTypes, dtype, &std::pair<uint32_t, DType>::second);
  return found == kTensorTypes.end() ? std::nullopt : std::optional(found->first);
}

std::optional<std::string_view> GgufValue::Text() const {
  if (is_array || type != GgufType::kText) return std::nullopt;
  return AsText(bytes.subspan(sizeof(uint64_t)));
}

std::optional<int64_t> GgufValue::Integer() const {
  if (is_array || type == GgufType::kBool) return std::nullopt;
  return LoadInteger(type, bytes);
}

std::optional<double> GgufValue::Number() const {
  if (is_array || type == GgufType::kBool) return std::nullopt;
  if (type == GgufType::kF32) return static_cast<double>(LoadNumber<float>(bytes));
  if (type == GgufType::kF64) return LoadNumber<double>(bytes);
  const auto integer = LoadInteger(type, bytes);
  return integer ? std::optional(static_cast<double>(*integer)) : std::nullopt;
}

std::optional<bool> GgufValue::Bool() const {
  if (is_array || type != GgufType::kBool) return std::nullopt;
  return bytes.front() != std::byte{0};
}

std::optional<std::vector<std::string_view>> GgufValue::Texts() const {
  if (!is_array || type != GgufType::kText) return std::nullopt;
  std::vector<std::string_view> texts;
  texts.reserve(static_cast<size_t>(count));
  GgufCursor cursor(bytes, "");
  for (uint64_t i = 0; i < count; ++i) {
    const auto text = cursor.Text(bytes.size());
    if (!text) return std::nullopt;
    texts.push_back(*text);
  }
  return texts;
}

std::optional<std::vector<int64_t>> GgufValue::Integers() const {
  if (!is_array || type == GgufType::kText || count == 0) return std::nullopt;
  const size_t width = bytes.size() / static_cast<size_t>(count);
  std::vector<int64_t> integers;
  integers.reserve(static_cast<size_t>(count));
  for (size_t i = 0; i < count; ++i) {
    const auto integer = LoadInteger(type, bytes.subspan(i * width, width));
    if (!integer) return std::nullopt;
    integers.push_back(*integer);
  }
  return integers;
}

}  // namespace dgemma
