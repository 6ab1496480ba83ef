// The block types of GGUF files: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, blocks of 32 values of one row that share a scale, and
// Q4_K, Q5_K, Q6_K, IQ4_XS, blocks of 256 in groups. Decoding gives the floats of the reference decoder in the Python
// package gguf, bit for bit. Encoding is our own. Layouts are in ggml_blocks.cc. Plain types are the business of
// tensor/stored.h, the file itself that of files/gguf.h.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "tensor/groups.h"

namespace dgemma {

/// True for the types whose values come in blocks.
constexpr bool IsBlockType(DType dtype) { return ValuesPerBlock(dtype) > 1; }

/// The compute format that holds a block type's codes as they are: Q4_0 int4-32, Q4_1 and Q4_K int4-32-min, Q5_0 and
/// Q8_0 int8-32, Q5_1 and Q5_K int8-32-min, Q6_K int8-16, IQ4_XS int8-32 (its codes are looked up first). Nothing for
/// plain types.
std::optional<WeightFormat> GroupsOf(DType dtype);

/// out[i] = scale * code - min of consecutive blocks, in float32. out.size() must be a multiple of ValuesPerBlock, and
/// `blocks` hold out.size() / ValuesPerBlock blocks, at any alignment.
void DecodeBlocks(DType dtype, std::span<const std::byte> blocks, std::span<float> out);

/// The same blocks as codes in GroupsOf(dtype): the same values for blocks of 32. In blocks of 256 scales and minima are
/// products (a half-precision number times an integer); here they are rounded to half precision, to infinity where they
/// do not fit.
void DecodeGroups(DType dtype, std::span<const std::byte> blocks, GroupedRow& out);

/// The blocks of row.size() values, a multiple of ValuesPerBlock. Scales and minima of each group minimise the sum of
/// squared errors over some candidates; equal input gives equal bytes. kInvalidFile when a value is not finite or a
/// scale does not fit half precision. kUnsupported for Q4_1, Q5_0 and Q5_1, which are only read.
Result<void> EncodeBlocks(DType dtype, std::span<const float> row, std::span<std::byte> blocks);

}  // namespace dgemma
