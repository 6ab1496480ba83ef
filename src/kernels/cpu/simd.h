// The vector kernels as tables of plain functions, one table for each instruction set, chosen once when a backend is made.
// Policy (tasks, scratch memory, blocking over rows) is elsewhere and never sees a vector type.
//
// Every result is a function of its own row only. A matrix product sums sequentially over depth in one chain of multiply-adds
// for each output, so tiling, the number of rows and the split into tasks cannot change a bit of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dgemma {

/// Columns of one panel of packed weights; independent of the vector size.
inline constexpr int64_t kPanel = 16;

/// How the right side of a product lies in memory.
enum class PanelFormat : uint8_t {
  kF32,  ///< value (k, j) at b[k * row_stride + j], panels b_panel_stride floats apart; 16 values readable everywhere
  kBf16Pairs,  ///< as kF32 with pairs of bfloat16 in place of floats: k even in the low half, k odd in the high half
  kF32Rows,    ///< as kF32, but only `cols` values of a row are readable
};

/// What a product does to C.
enum class Start : uint8_t { kZero, kAdd };

/// C[rows, cols] (+)= A[rows, depth] * B[depth, cols], sums in float32. A and B are float32; with kBf16Pairs both are pairs of
/// bfloat16, an odd last one paired with zero, and `depth` and all strides count pairs.
struct Product {
  const float* a = nullptr;
  int64_t a_stride = 0;
  int64_t rows = 0;
  const void* b = nullptr;
  PanelFormat format = PanelFormat::kF32;
  int64_t b_row_stride = kPanel;
  int64_t b_panel_stride = 0;
  int64_t depth = 0;
  int64_t cols = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  int64_t c_panel_stride =
      kPanel;  ///< of 16 columns of C; where they do not follow each other, cols is a multiple of 16
  Start start = Start::kZero;
};

/// 16 columns, all of one group, of a panel of 16 rows of grouped weights (tensor/panels.h).
struct GroupedColumns {
  std::array<const std::byte*, 4> quads;  ///< u8 [16 rows, 4 columns] each
  std::array<bool, 4> high_half;          ///< int4: the codes are the high halves of the bytes
  uint32_t code_mask;                     ///< on four bytes: all of them, or their low halves
  float offset;                           ///< what was added to a code before it was stored
  const std::byte* scale;                 ///< f16 [16 rows]
  const std::byte* min;                   ///< f16 [16 rows]; null: none
  const std::byte* steps;                 ///< of a stepped format u8 [2][16 rows] (tensor/panels.h); null: none
  uint32_t lanes;                         ///< bit r: row r is wanted
};

struct ProductOps {
  const char* target;  ///< for people: "AVX2"; "AVX3 bf16" where products of bfloat16 pairs are the processor's own
  int64_t tile_rows;   ///< rows of the largest register tile; blocks of rows are best a multiple of it
  void (*multiply)(const Product& product);
  /// Packed panels of 16 ids [ids / 16][dimension][16] -> panels of 16 dimensions [width / 16][ids rounded up to 16][16], float32.
  /// `from` points at the first (even) dimension of the block in the first panel; panel_stride counts units of the format.
  /// Lanes of dimensions beyond `width` are left as they are.
  void (*transpose)(const void* from, PanelFormat format, int64_t panel_stride, int64_t ids, int64_t width, float* to);
  /// c[cols] += sum over i < count of a[id[i]] * b[id[i]]: a product whose row `a` has few entries that count. Even i are added to c in
  /// their order, odd i to a sum of their own, which comes last.
  /// b: float32 panels as transpose writes them, panel_stride floats apart; cols at most 64.
  void (*add_few)(const float* a, const uint8_t* id, int64_t count, const float* b, int64_t panel_stride, int64_t cols,
                  float* c);
  /// Rows 2p and 2p + 1 of `from`, rounded to bfloat16 (ToBf16; denormal values may become 0), as pairs in place of floats:
  /// to[width / 16][p < pairs][16]. from: rows of `width` floats, a multiple of 16, `stride` floats apart.
  void (*pair_rows)(const float* from, int64_t stride, int64_t pairs, int64_t width, float* to);
  /// to[16 r + j] = scale[r] * (code[r, j] - offset) - min[r] of the wanted rows, one rounding an operation; others are left as they
  /// are. In stepped formats the code is (step[r] * stored + base[r]) mod 256.
  void (*widen)(const GroupedColumns& from, float* to);
};

/// What one pass over a row of logits found.
struct LogitStats {
  float max;
  bool finite;  ///< every value is finite
};

/// Sums of one exponentiated tile: sum e and sum e * (l - max).
struct ExpSums {
  float sum;
  float weighted;
};

/// How many values exceed a threshold, and the sum of the others.
struct AboveThreshold {
  int64_t count;
  float below;
};

/// What one float of a code is worth (NaN: some value was not finite), and the sum of the codes.
struct CodedRow {
  float scale;
  int32_t sum;
};

/// State of one row's online softmax: running maximum and running sum of exp(score - max).
struct SoftmaxState {
  float max;
  float sum;
};

/// Operations on one row; n values, any alignment.
struct RowOps {
  float (*sum_squares)(const float* x, int64_t n);
  /// out = (x * scale) * weight; weight null = ones; may alias.
  void (*scale)(const float* x, int64_t n, float scale, const float* weight, float* out);
  void (*add)(const float* x, const float* y, int64_t n, float* out);
  /// sum = (sum + (x * scale) * weight) * factor, one rounding an operation; x may be sum.
  void (*add_scaled)(const float* x, int64_t n, float scale, const float* weight, float factor, float* sum);
  /// out = sum over k, in order, of weight[k] times row place[k] of x, whose rows are `stride` apart.
  void (*weighted_sum)(const float* x, int64_t stride, std::span<const int64_t> place, const float* weight, int64_t n,
                       float* out);
  void (*divide)(const float* x, int64_t n, float divisor, float* out);
  /// out = gelu(gate) * up; may alias.
  void (*gelu_multiply)(const float* gate, const float* up, int64_t n, float* out);
  /// Rotates pairs (x[i], x[i + half]) for i < pairs.
  void (*rotate)(const float* cos, const float* sin, int64_t pairs, int64_t half, float* x);
  /// scores[begin, end) -> exp(score - new maximum); updates the state; returns what earlier sums are multiplied by. Values
  /// outside the range are never used. Partial sums belong to places within the block, so `end` alone changes nothing else.
  float (*softmax_block)(float* scores, int64_t begin, int64_t end, SoftmaxState& state);
  /// x = softcap * tanh(x / softcap), in place.
  void (*softcap)(float* x, int64_t n, float softcap);
  /// x = softcap * tanh(x / softcap) / temperature, in place, and its statistics.
  LogitStats (*temper)(float* x, int64_t n, float softcap, float temperature);
  /// The statistics of given logits; minus infinity is allowed and counts as the lowest finite value.
  LogitStats (*inspect)(const float* x, int64_t n);
  /// x = exp(x - max), in place.
  ExpSums (*exponentiate)(float* x, int64_t n, float max);
  AboveThreshold (*above)(const float* x, int64_t n, float threshold);
  /// Places of the values above a threshold, ascending; n at most 256, room for all of them. Returns how many.
  int64_t (*list_above)(const float* x, int64_t n, float threshold, uint8_t* places);
  /// QuantizeActivations of tensor/groups.h, the same bits.
  CodedRow (*quantize)(const float* x, int64_t n, int8_t* code);
  /// sum[g] = sum of code[16 g .. 16 g + 15]
  void (*sum_codes)(const int8_t* code, int64_t groups, int32_t* sum);
  /// ToBf16 of tensor/rounding.h, the same bits.
  void (*round_bf16)(const float* x, int64_t n, uint16_t* out);
};

/// Float32 multiply-adds from registers only, `rounds` times; returns the operations done (2 for each lane). The machine's peak.
struct PeakOps {
  double (*multiply_add)(int64_t rounds, float* sink);
  /// The same in products of bfloat16 pairs; multiply_add where they are widened.
  double (*multiply_add_bf16)(int64_t rounds, float* sink);
  /// Sum over n floats (a multiple of 64), for read bandwidth.
  float (*read)(const float* x, int64_t n);
};

/// Every way to multiply that the chosen instruction set has, best first.
std::vector<ProductOps> SupportedProductOps();
ProductOps ChooseProductOps();
RowOps ChooseRowOps();
PeakOps ChoosePeakOps();

}  // namespace dgemma
