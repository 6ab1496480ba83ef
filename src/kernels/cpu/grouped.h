// Products with grouped weights (int8, int4): integer dot products inside a group, float32 across groups. One table of functions
// for each instruction set, chosen when a backend is made; which one runs never changes a bit of a result.
//
//   c[r, o] = a_scale[r] * sum over groups g, ascending, of
//             fma(-min[g, o], sum_g a[r], fma(scale[g, o], dot_g(a[r], code[o]), running sum))
// The dot products are exact in int32 (at most 128 * 127 * 255 < 2^22.1, so also exact as float32); a and code are integers.
// Where one scale belongs to a row, everything but two products is integer:
//   c[r, o] = a_scale[r] * (scale[o] * float(dot(a[r], code[o])))
// exact in int32 up to kMostRowInputs inputs, whatever its parts are: int32 wraps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cpu/simd.h"
#include "tensor/format.h"

namespace dgemma {

/// Rows of activations as codes with one scale a row (tensor/groups.h, QuantizeActivations).
struct QuantizedRows {
  int8_t* code = nullptr;  ///< [rows, stride], zero from `in` up to a multiple of 64
  int64_t stride = 0;
  float* scale = nullptr;  ///< [rows]
  int32_t* sum = nullptr;  ///< [rows, sum_stride]: of the codes of every group of each size (GroupSums), and of all
  int64_t sum_stride = 0;  ///< 1: only of all
  int64_t rows = 0;

  /// First sum of row 0 for groups of 16, 32 or 64.
  int32_t* GroupSums(int64_t group) const {
    const int64_t parts = sum_stride / 7;  // of 64 codes; 4 + 2 + 1 sums each
    return sum + (group == 16 ? 0 : group == 32 ? 4 * parts : 6 * parts);
  }
  /// Sum of all codes of row 0.
  int32_t* RowSum() const { return sum + sum_stride - 1; }

  QuantizedRows Rows(int64_t begin, int64_t count) const {
    return {code + begin * stride, stride, scale + begin, sum + begin * sum_stride, sum_stride, count};
  }
};

/// Which sums of activations products read: those of groups with weights whose scales belong to groups.
enum class CodeSums : uint8_t { kGroups, kRow };

inline CodeSums SumsOf(const WeightFormat& format) { return format.row_scale ? CodeSums::kRow : CodeSums::kGroups; }

/// Floats of memory that `rows` quantised rows of depth `in` take at most, and their layout there.
int64_t CodeFloats(int64_t rows, int64_t in);
QuantizedRows CodeRows(float* memory, int64_t rows, int64_t in, CodeSums sums);
/// Row `row` of `a` becomes x[in] as codes, with its scale and sums.
void CodeRow(const RowOps& ops, const float* x, int64_t in, const QuantizedRows& a, int64_t row);
/// Fills the sums of the groups of a row from its codes.
void SumGroups(const RowOps& ops, const QuantizedRows& a, int64_t row);
/// Copies all rows; both of one depth.
void CopyCodes(const QuantizedRows& from, const QuantizedRows& to);

/// C[rows, cols] = A B: panels of tensor/panels.h from `b` on, cols at most 16 times the panels that follow.
struct GroupedProduct {
  QuantizedRows a;
  const std::byte* b = nullptr;
  WeightFormat format;
  int64_t in = 0;
  int64_t cols = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  const std::byte* next =
      nullptr;  ///< panels that will be read after these; they are asked for while the last ones run
};

struct GroupedOps {
  const char* target;  ///< for people: "avx512 vnni"
  void (*multiply)(const GroupedProduct& product);
  /// Operations per second bench: `rounds` times 12 independent integer dot products; returns multiply-adds times two.
  double (*peak)(int64_t rounds, int32_t* sink);
};

/// Every set this machine can run, best first; the last one is portable C++.
std::span<const GroupedOps> SupportedGroupedOps();

// One for each source; null where the compiler or the architecture has it not.
const GroupedOps* Avx512VnniGroupedOps();
const GroupedOps* AvxVnniGroupedOps();
const GroupedOps* Avx2GroupedOps();
const GroupedOps* NeonI8mmGroupedOps();
const GroupedOps* NeonDotGroupedOps();
const GroupedOps* PortableGroupedOps();

}  // namespace dgemma
