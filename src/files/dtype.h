// The element types that safetensors files name, with their sizes. The single list of storage types of the project.
// Types of less than a byte (F4, F6_E2M3, F6_E3M2) are left out: none of our formats stores them, and readers refuse
// them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dgemma {

/// Element type of a stored tensor. The order is that of kDTypes.
enum class DType : uint8_t {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kC64,
};

/// Spelling and size of one type.
struct DTypeEntry {
  DType dtype;
  std::string_view name;  ///< as in a safetensors header
  uint64_t bytes;         ///< bytes per value
};

inline constexpr std::array<DTypeEntry, 19> kDTypes = {{
    {DType::kBool, "BOOL", 1},
    {DType::kU8, "U8", 1},
    {DType::kI8, "I8", 1},
    {DType::kF8E4M3, "F8_E4M3", 1},
    {DType::kF8E5M2, "F8_E5M2", 1},
    {DType::kI16, "I16", 2},
    {DType::kU16, "U16", 2},
    {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},
    {DType::kI32, "I32", 4},
    {DType::kU32, "U32", 4},
    {DType::kF32, "F32", 4},
    {DType::kF64, "F64", 8},
    {DType::kI64, "I64", 8},
    {DType::kU64, "U64", 8},
    {DType::kF8E8M0, "F8_E8M0", 1},
    {DType::kF8E4M3Fnuz, "F8_E4M3FNUZ", 1},
    {DType::kF8E5M2Fnuz, "F8_E5M2FNUZ", 1},
    {DType::kC64, "C64", 8},
}};

/// Bytes one value takes.
constexpr uint64_t BytesPerValue(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }

/// Spelling in a safetensors header, such as "BF16".
constexpr std::string_view Name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

/// The type with this spelling, or nothing.
constexpr std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeEntry& entry : kDTypes) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace dgemma
