// The element types of stored tensors, with their sizes: those that safetensors files name, and the block types of GGUF files
// (a block of values shares scales). The single list of storage types of the project.
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
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4K,
  kQ5K,
  kQ6K,
  kIq4Xs,
};

/// Spelling and size of one type.
struct DTypeEntry {
  DType dtype;
  std::string_view name;      ///< as in a safetensors header, or as GGUF files' users call it
  uint64_t bytes;             ///< bytes of one block
  uint64_t block_values = 1;  ///< values of one block; more than 1 only in GGUF files
};

inline constexpr std::array<DTypeEntry, 28> kDTypes = {{
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
    {DType::kQ4_0, "Q4_0", 18, 32},
    {DType::kQ4_1, "Q4_1", 20, 32},
    {DType::kQ5_0, "Q5_0", 22, 32},
    {DType::kQ5_1, "Q5_1", 24, 32},
    {DType::kQ8_0, "Q8_0", 34, 32},
    {DType::kQ4K, "Q4_K", 144, 256},
    {DType::kQ5K, "Q5_K", 176, 256},
    {DType::kQ6K, "Q6_K", 210, 256},
    {DType::kIq4Xs, "IQ4_XS", 136, 256},
}};

/// Bytes of one block, and the values it holds (1 for plain types).
constexpr uint64_t BytesPerBlock(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }
constexpr uint64_t ValuesPerBlock(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].block_values; }

/// Bytes one value of a plain type takes.
constexpr uint64_t BytesPerValue(DType dtype) { return BytesPerBlock(dtype); }

/// Spelling, such as "BF16".
constexpr std::string_view Name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

/// The type that a safetensors header means by this spelling, or nothing.
constexpr std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeEntry& entry : kDTypes) {
    if (entry.name == name && entry.block_values == 1) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace dgemma
