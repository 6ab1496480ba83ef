// Asks the processor, at run time, which of the compiled instruction sets it has.
#include "kernels/cpu/grouped.h"

#include <algorithm>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace dgemma {
namespace {

/// Codes are padded with zeros to whole groups of every size, and rows kept apart by a cache line.
constexpr int64_t kPadding = 64;
int64_t PaddedDepth(int64_t in) { return (in + kPadding - 1) / kPadding * kPadding; }
int64_t CodeStride(int64_t in) { return PaddedDepth(in) + 64; }
int64_t SumStride(int64_t in, CodeSums sums) { return sums == CodeSums::kRow ? 1 : PaddedDepth(in) / 64 * 7 + 1; }

#if defined(__x86_64__)
bool HasAvxVnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
}

std::vector<GroupedOps> Find() {
  std::vector<GroupedOps> found;
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512vnni")) found.push_back(*Avx512VnniGroupedOps());
  if (avx2 && HasAvxVnni()) found.push_back(*AvxVnniGroupedOps());
  if (avx2) found.push_back(*Avx2GroupedOps());
  return found;
}
#elif defined(__aarch64__) && defined(__linux__)
std::vector<GroupedOps> Find() {
  std::vector<GroupedOps> found;
  if ((getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) found.push_back(*NeonI8mmGroupedOps());
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) found.push_back(*NeonDotGroupedOps());
  return found;
}
#else
std::vector<GroupedOps> Find() { return {}; }
#endif

}  // namespace

int64_t CodeFloats(int64_t rows, int64_t in) {
  return rows * (CodeStride(in) / 4 + SumStride(in, CodeSums::kGroups) + 1);
}

QuantizedRows CodeRows(float* memory, int64_t rows, int64_t in, CodeSums sums) {
  float* scale = memory + rows * CodeStride(in) / 4;
  return {reinterpret_cast<int8_t*>(memory),        CodeStride(in),      scale,
          reinterpret_cast<int32_t*>(scale + rows), SumStride(in, sums), rows};
}

void CodeRow(const RowOps& ops, const float* x, int64_t in, const QuantizedRows& a, int64_t row) {
  int8_t* code = a.code + row * a.stride;
  const CodedRow coded = ops.quantize(x, in, code);
  std::fill(code + in, code + a.stride, int8_t{0});
  a.scale[row] = coded.scale;
  a.RowSum()[row * a.sum_stride] = coded.sum;
  SumGroups(ops, a, row);
}

void SumGroups(const RowOps& ops, const QuantizedRows& a, int64_t row) {
  const int64_t parts = a.sum_stride / 7;  // 0: none are wanted
  int32_t* by16 = a.sum + row * a.sum_stride;
  int32_t* by32 = by16 + 4 * parts;
  int32_t* by64 = by32 + 2 * parts;
  ops.sum_codes(a.code + row * a.stride, 4 * parts, by16);
  for (int64_t g = 0; g < 2 * parts; ++g) by32[g] = by16[2 * g] + by16[2 * g + 1];
  for (int64_t g = 0; g < parts; ++g) by64[g] = by32[2 * g] + by32[2 * g + 1];
}

void CopyCodes(const QuantizedRows& from, const QuantizedRows& to) {
  for (int64_t row = 0; row < from.rows; ++row) {
    std::copy_n(from.code + row * from.stride, from.stride, to.code + row * to.stride);
    std::copy_n(from.sum + row * from.sum_stride, from.sum_stride, to.sum + row * to.sum_stride);
    to.scale[row] = from.scale[row];
  }
}

std::span<const GroupedOps> SupportedGroupedOps() {
  static const std::vector<GroupedOps> kFound = [] {
    std::vector<GroupedOps> found = Find();
    found.push_back(*PortableGroupedOps());
    return found;
  }();
  return kFound;
}

}  // namespace dgemma
