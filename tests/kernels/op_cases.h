// What the operation tests share: matrices with poisoned gaps, stored weights of every type, and the check that every row-wise
// operation must pass. To add an operation: fill an OpCase (its run function and its bound) and call CheckOp.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <typeindex>
#include <vector>

#include "kernels/kernels.h"

namespace dgemma::test {

/// Float32 rounding unit: every bound is a multiple of it.
inline constexpr double kEps = 0x1p-24;

/// What a test weight is: its type in a file and the format it computes in.
struct WeightType {
  constexpr WeightType(DType dtype)  // NOLINT(google-explicit-constructor): plain weights are named by their file type
      : file(dtype), format(dtype == DType::kBF16 ? kBfloat16Weights : kFloat32Weights) {}
  constexpr WeightType(DType dtype, const WeightFormat& compute) : file(dtype), format(compute) {}

  std::string Name() const;
  /// Deviations that partial sums of a product with these weights walk by: with minima, scale * code and min are added apart, and
  /// min lies up to three deviations away from zero.
  double Walk() const { return format.has_min ? 3 : 1; }

  DType file;
  WeightFormat format;
};

inline constexpr std::array<WeightType, 3> kPlainTypes = {DType::kF32, DType::kBF16, DType::kF16};
/// Both kinds, all sizes of groups, with and without minima, with a scale a row.
inline constexpr std::array<WeightType, 10> kGroupedTypes = {{{DType::kF32, {WeightKind::kInt8, 16, false}},
                                                              {DType::kBF16, {WeightKind::kInt8, 32, false}},
                                                              {DType::kF32, {WeightKind::kInt8, 64, false}},
                                                              {DType::kF32, {WeightKind::kInt8, 32, true}},
                                                              {DType::kF16, {WeightKind::kInt4, 32, false}},
                                                              {DType::kF32, {WeightKind::kInt4, 64, false}},
                                                              {DType::kF32, {WeightKind::kInt4, 32, true}},
                                                              {DType::kF32, {WeightKind::kInt4, 16, true}},
                                                              {DType::kF32, kInt8RowWeights},
                                                              {DType::kF32, kInt4RowWeights}}};
/// The plain ones, then the grouped ones.
std::vector<WeightType> AllTypes();

std::unique_ptr<Kernels> Ref();
std::unique_ptr<Kernels> Cpu(int threads = 1);

/// Normal values with this standard deviation; the same for the same seed.
std::vector<float> Normals(int64_t count, uint32_t seed, float deviation = 1.0f);

/// A matrix whose rows are separated by NaN, and whose values start as NaN.
struct Rows {
  Rows(int64_t rows, int64_t cols);
  Rows(int64_t rows, int64_t cols, const std::vector<float>& values);  ///< dense values

  std::vector<float> storage;
  Matrix view;
};

/// A tensor as in a file, with its bytes.
struct Stored {
  Stored(const WeightType& type, int64_t count, int64_t rows, int64_t cols, uint32_t seed, float deviation = 1.0f);
  /// Of given values [count, rows, cols].
  Stored(const WeightType& type, int64_t count, int64_t rows, int64_t cols, const std::vector<float>& values);
  /// Largest magnitude of the weights it computes with.
  double Largest() const;

  std::vector<std::byte> bytes;
  StoredTensor tensor;
  WeightFormat format;
  mutable std::map<std::type_index, Weight> packed;  ///< by backend: quantising costs more than most tests
};

/// The weight in its compute format. Packed once for all backends of one type.
Weight Packed(Kernels& kernels, const Stored& stored);
Weight PackedVector(Kernels& kernels, const Stored& stored);

/// One run of an operation: on rows [begin, begin + rows) of the case's input, with input row `nan_row` set to NaN (-1: none).
struct OpRun {
  Kernels& kernels;
  int64_t begin;
  int64_t rows;
  int64_t nan_row = -1;

  /// The case's dense input rows [all, cols], cut and poisoned as this run asks.
  Rows Input(const std::vector<float>& values, int64_t cols) const;
};

struct OpCase {
  std::string name;
  int64_t rows = 0;
  double bound = 0;  ///< largest allowed |cpu - ref|
  std::function<Rows(const OpRun&)> run;
  double step = 0;  ///< what one activation rounded the other way adds to it, see CodeStep
};

/// cpu is within the bound of ref; 1, 2 and 4 threads, rows alone and rows in parts give the same bytes; a NaN stays in its row.
/// Prints the largest and mean error and the cosine.
void CheckOp(const OpCase& op);

/// Compares and prints. Errors are within `bound`, but for a few rows (one in 16) within bound + step.
void ExpectClose(const std::string& name, Matrix expected, Matrix actual, double bound, double step = 0);
/// Same bits (any NaN equals any NaN) in rows [0, rows) of both.
::testing::AssertionResult SameBits(Matrix a, Matrix b);

/// Largest Euclidean norm of the rows of a dense matrix.
double LargestRowNorm(const std::vector<float>& values, int64_t cols);
/// Bound of a sum over `depth` products of x with random weights of this deviation. Its partial sums walk up to |x| deviation, and
/// every step rounds by eps of where it is: eps sqrt(depth) |x| deviation, and 8 times that for the worst of all outputs.
double SumBound(int64_t depth, double x_norm, double w_deviation);
/// Bound of Down(gelu(x Gate) * (x Up)): hidden values reach four deviations squared and carry the errors of both sums and the
/// activation's 8 eps; the second product averages them out.
double GatedBound(int64_t width, int64_t hidden, double x_norm);
/// Where the activations of a product that rounds them come from an earlier product, the backends' rounding errors may put one on
/// either side of a boundary: one step times the weight it meets. A step is largest / 127 of its row for int8 codes, and at most
/// 2^-7 of the value itself for bfloat16. The errors are some 2^-14 of a step, so that two such activations in one row are out of
/// reach of these tests.
double CodeStep(const WeightType& type, double largest_activation, double largest_weight);
/// Largest |gelu(gate) * up|: the activations of the second product.
double LargestGated(Matrix gate, Matrix up);
/// Deviation of test weights that keeps the size of values: 1 / sqrt(inputs).
float UnitDeviation(int64_t inputs);

}  // namespace dgemma::test
