// The shared check of row-wise operations and the data it feeds them.
#include "op_cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/gelu.h"
#include "kernels/ref/ref_kernels.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace

std::string WeightType::Name() const {
  return std::string(dgemma::Name(file)) + (format.grouped() ? " " + dgemma::Name(format) : "");
}

std::vector<WeightType> AllTypes() {
  std::vector<WeightType> types(kPlainTypes.begin(), kPlainTypes.end());
  types.insert(types.end(), kGroupedTypes.begin(), kGroupedTypes.end());
  return types;
}

std::unique_ptr<Kernels> Ref() { return MakeRefKernels({}); }

std::unique_ptr<Kernels> Cpu(int threads) {
  CpuOptions options;
  options.threads = threads;
  return MakeCpuKernels(options);
}

std::vector<float> Normals(int64_t count, uint32_t seed, float deviation) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

Rows::Rows(int64_t rows, int64_t cols) : storage(static_cast<size_t>(rows * (cols + 3)), kNan) {
  view = {storage.data(), rows, cols, cols + 3};
}

Rows::Rows(int64_t rows, int64_t cols, const std::vector<float>& values) : Rows(rows, cols) {
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(view.Row(row), values.data() + row * cols, static_cast<size_t>(cols) * sizeof(float));
  }
}

Stored::Stored(const WeightType& type, int64_t count, int64_t rows, int64_t cols, uint32_t seed, float deviation)
    : Stored(type, count, rows, cols, Normals(count * rows * cols, seed, deviation)) {}

Stored::Stored(const WeightType& type, int64_t count, int64_t rows, int64_t cols, const std::vector<float>& values)
    : format(type.format) {
  const DType dtype = type.file;
  const size_t width = BytesPerValue(dtype);
  bytes.resize(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = dtype == DType::kBF16 ? ToBf16(values[i]) : ToF16(values[i]);
    if (dtype == DType::kF32)
      std::memcpy(bytes.data() + i * width, &values[i], width);
    else
      std::memcpy(bytes.data() + i * width, &half, width);
  }
  tensor = OneRun(dtype, count, rows, cols, bytes);
}

double Stored::Largest() const {
  const Weight weight = Packed(*Ref(), *this);
  double largest = 0;
  for (int64_t i = 0; i < weight.count * weight.out * weight.in; ++i)
    largest = std::max(largest, std::abs(static_cast<double>(weight.Vector()[i])));
  return largest;
}

Weight Packed(Kernels& kernels, const Stored& stored) {
  Weight& known = stored.packed[typeid(kernels)];
  if (known.present()) return known;
  Result<Weight> weight = kernels.Pack(stored.tensor, stored.format);
  EXPECT_TRUE(weight.has_value());
  EXPECT_EQ(weight->buffer.bytes, kernels.PackedBytes(weight->format, weight->count, weight->out, weight->in));
  return known = *weight;
}

Weight PackedVector(Kernels& kernels, const Stored& stored) {
  Result<Weight> weight = kernels.PackVector(stored.tensor);
  EXPECT_TRUE(weight.has_value());
  return *weight;
}

Rows OpRun::Input(const std::vector<float>& values, int64_t cols) const {
  Rows input(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(input.view.Row(row), values.data() + (begin + row) * cols, static_cast<size_t>(cols) * sizeof(float));
    if (begin + row == nan_row) std::fill_n(input.view.Row(row), cols, kNan);
  }
  return input;
}

::testing::AssertionResult SameBits(Matrix a, Matrix b) {
  if (a.rows != b.rows || a.cols != b.cols) return ::testing::AssertionFailure() << "shapes differ";
  for (int64_t row = 0; row < a.rows; ++row) {
    for (int64_t col = 0; col < a.cols; ++col) {
      const float x = a.Row(row)[col], y = b.Row(row)[col];
      if (std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y) || (std::isnan(x) && std::isnan(y))) continue;
      return ::testing::AssertionFailure() << "row " << row << " column " << col << ": " << x << " and " << y;
    }
  }
  return ::testing::AssertionSuccess();
}

void ExpectClose(const std::string& name, Matrix expected, Matrix actual, double bound, double step) {
  int64_t stepped = 0;
  double max = 0, sum = 0, dot = 0, norm_a = 0, norm_b = 0;
  for (int64_t row = 0; row < expected.rows; ++row) {
    double row_max = 0;
    for (int64_t col = 0; col < expected.cols; ++col) {
      const double a = static_cast<double>(expected.Row(row)[col]), b = static_cast<double>(actual.Row(row)[col]);
      const double error = std::abs(a - b);
      row_max = error <= row_max ? row_max : error;  // NaN goes through
      sum += error;
      dot += a * b;
      norm_a += a * a;
      norm_b += b * b;
    }
    max = row_max <= max ? max : row_max;
    stepped += row_max > bound ? 1 : 0;
  }
  const double mean = sum / static_cast<double>(expected.rows * expected.cols);
  const double cosine = dot / std::sqrt(norm_a * norm_b);
  std::printf("%-58s max %8.1e  mean %8.1e  bound %8.1e  1-cos %8.1e\n", name.c_str(), max, mean, bound, 1 - cosine);
  EXPECT_LE(max, bound + step) << name;
  EXPECT_LE(stepped, step > 0 ? 1 + expected.rows / 16 : 0) << name;
  const double values = static_cast<double>(expected.rows * expected.cols);
  const double stepped_values = static_cast<double>(stepped * expected.cols);
  EXPECT_LE(mean, bound / 2 + step * stepped_values / values) << name;
  // An error of length e turns the whole by at most 1 - cos = e^2 / 2 of its length.
  const double turn = (bound * bound * values / 2 + step * step * stepped_values) / norm_a;
  EXPECT_GE(norm_a > 0 ? cosine : 1.0, 1 - std::max(1e-9, turn)) << name;
}

void CheckOp(const OpCase& op) {
  const std::unique_ptr<Kernels> ref = Ref(), cpu = Cpu();
  const Rows expected = op.run({*ref, 0, op.rows}), whole = op.run({*cpu, 0, op.rows});
  ExpectClose(op.name, expected.view, whole.view, op.bound, op.step);
  for (int threads : {2, 4}) {
    const std::unique_ptr<Kernels> many = Cpu(threads);
    EXPECT_TRUE(SameBits(whole.view, op.run({*many, 0, op.rows}).view)) << op.name << " on " << threads << " threads";
  }
  for (int64_t row : {int64_t{0}, op.rows / 2, op.rows - 1}) {
    EXPECT_TRUE(SameBits(whole.view.Rows(row, 1), op.run({*cpu, row, 1}).view))
        << op.name << ", row " << row << " alone";
  }
  if (op.rows < 2) return;
  const int64_t split = op.rows / 3 + 1;
  EXPECT_TRUE(SameBits(whole.view.Rows(split, op.rows - split), op.run({*cpu, split, op.rows - split}).view))
      << op.name << " in two parts";
  const int64_t poisoned = op.rows / 2;
  const Rows with_nan = op.run({*cpu, 0, op.rows, poisoned});
  for (int64_t row = 0; row < op.rows; ++row) {
    if (row != poisoned) {
      EXPECT_TRUE(SameBits(whole.view.Rows(row, 1), with_nan.view.Rows(row, 1)))
          << op.name << ", NaN in row " << poisoned;
    }
  }
}

double LargestRowNorm(const std::vector<float>& values, int64_t cols) {
  double largest = 0;
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(cols)) {
    double sum = 0;
    for (size_t i = begin; i < begin + static_cast<size_t>(cols); ++i)
      sum += static_cast<double>(values[i]) * values[i];
    largest = std::max(largest, sum);
  }
  return std::sqrt(largest);
}

double SumBound(int64_t depth, double x_norm, double w_deviation) {
  return 8 * kEps * std::sqrt(static_cast<double>(depth)) * x_norm * w_deviation;
}

double GatedBound(int64_t width, int64_t hidden, double x_norm) {
  const double largest = 4 * x_norm / std::sqrt(static_cast<double>(width)),
               root = std::sqrt(static_cast<double>(hidden));
  const double hidden_error =
      2 * largest * SumBound(width, x_norm, 1 / std::sqrt(static_cast<double>(width))) + 8 * kEps * largest * largest;
  return hidden_error * (1 + 4 / root) + SumBound(hidden, largest * largest * root / 2, 1 / root);
}

double CodeStep(const WeightType& type, double largest_activation, double largest_weight) {
  if (type.format.kind == WeightKind::kBf16) return 0x1p-7 * largest_activation * largest_weight;
  return type.format.grouped() ? largest_activation / 127 * largest_weight : 0;
}

double LargestGated(Matrix gate, Matrix up) {
  double largest = 0;
  for (int64_t row = 0; row < gate.rows; ++row) {
    for (int64_t col = 0; col < gate.cols; ++col) {
      const double hidden = GeluTanh(static_cast<double>(gate.Row(row)[col])) * static_cast<double>(up.Row(row)[col]);
      largest = std::max(largest, std::abs(hidden));
    }
  }
  return largest;
}

float UnitDeviation(int64_t inputs) { return 1 / std::sqrt(static_cast<float>(inputs)); }

}  // namespace dgemma::test
