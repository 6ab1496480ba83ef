// Block types against what the Python package gguf decodes and encodes (tests/golden/make_blocks.py), and bounds on the
// errors of our encoders.
#include "tensor/ggml_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "base/hash.h"
#include "files/checkpoint_files.h"
#include "tensor/rounding.h"
#include "tensor/stored.h"
#include "weight_rows.h"

namespace dgemma {
namespace {

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                                 DType::kQ4K,  DType::kQ5K,  DType::kQ6K,  DType::kIq4Xs};
constexpr DType kEncodedTypes[] = {DType::kQ4_0, DType::kQ8_0, DType::kQ4K, DType::kQ5K, DType::kQ6K, DType::kIq4Xs};

const CheckpointFiles& Recorded() {
  static const auto files = OpenSafetensors(DGEMMA_SOURCE_DIR "/tests/data/tensor/ggml_blocks.safetensors");
  EXPECT_TRUE(files) << files.error().message;
  return *files;
}

TensorBytes Tensor(const std::string& name) { return Recorded().Tensor(name).value(); }

std::vector<float> Floats(const std::string& name) {
  const TensorBytes tensor = Tensor(name);
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

/// Rows of one block type, or of another type, as one matrix.
StoredTensor Matrix(DType dtype, std::span<const std::byte> bytes, int64_t rows) {
  const auto cols = static_cast<int64_t>(bytes.size() / BytesPerBlock(dtype) * ValuesPerBlock(dtype)) / rows;
  return OneRun(dtype, 1, rows, cols, bytes);
}

TEST(GgmlBlocks, DecodeToTheFloatsOfThePythonPackage) {
  for (const DType dtype : kBlockTypes) {
    const std::string name(Name(dtype));
    const std::vector<float> expected = Floats(name + ".values");
    const TensorBytes blocks = Tensor(name + ".blocks");
    ASSERT_EQ(blocks.shape[1], BytesPerBlock(dtype)) << name;
    ASSERT_EQ(blocks.shape[0] * ValuesPerBlock(dtype), expected.size()) << name;
    std::vector<float> decoded(expected.size());
    DecodeBlocks(dtype, blocks.bytes, decoded);
    EXPECT_EQ(std::memcmp(decoded.data(), expected.data(), expected.size() * sizeof(float)), 0) << name;

    const StoredTensor matrix = Matrix(dtype, blocks.bytes, static_cast<int64_t>(blocks.shape[0]));
    EXPECT_TRUE(IsWeightType(dtype));
    const auto last = static_cast<size_t>((matrix.rows - 1) * matrix.cols);
    ReadRow(matrix, 0, matrix.rows - 1, decoded.data());
    EXPECT_TRUE(
        std::equal(decoded.begin(), decoded.begin() + matrix.cols, expected.begin() + static_cast<int64_t>(last)))
        << name;
  }
}

/// Codes times scales, minus minima: to the bit in blocks of 32, whose scales and minima are half precision; else within
/// the rounding to half precision, 2^-11 of each, or 2^-25 where they are subnormal.
TEST(GgmlBlocks, CodesInGroupsAreTheFilesOwn) {
  for (const DType dtype : kBlockTypes) {
    const WeightFormat format = *GroupsOf(dtype);
    const TensorBytes blocks = Tensor(std::string(Name(dtype)) + ".blocks");
    const StoredTensor matrix = Matrix(dtype, blocks.bytes, static_cast<int64_t>(blocks.shape[0]));
    EXPECT_EQ(NaturalFormat(matrix), format);
    std::vector<float> exact(static_cast<size_t>(matrix.cols)), rounded(exact.size());
    int64_t refused = 0;
    for (int64_t row = 0; row < matrix.rows; ++row) {
      ReadRow(matrix, 0, row, exact.data());
      GroupedRow grouped;
      if (!ReadGroupedRow(matrix, 0, row, format, {}, grouped)) {
        ++refused;  // 65504 times an integer is beyond half precision
        continue;
      }
      DequantizeRow(grouped, format, rounded);
      if (ValuesPerBlock(dtype) == 32) {
        EXPECT_EQ(std::memcmp(rounded.data(), exact.data(), exact.size() * sizeof(float)), 0) << Name(dtype) << row;
      }
      for (size_t i = 0; i < exact.size(); ++i) {
        const size_t group = i / static_cast<size_t>(format.group);
        const float min = format.has_min ? grouped.min[group] : 0;
        const float code = std::abs(static_cast<float>(grouped.code[i]));
        const float bound =
            (std::abs(grouped.scale[group]) * 0x1.01p-11f + 0x1p-25f) * code + std::abs(min) * 0x1.01p-11f + 0x1p-25f;
        ASSERT_LE(std::abs(exact[i] - rounded[i]), bound) << Name(dtype) << " " << row << " " << i;
      }
    }
    EXPECT_LE(refused, format.has_min ? 4 : 2) << Name(dtype);
    EXPECT_EQ(refused > 0, ValuesPerBlock(dtype) == 256) << Name(dtype);
  }
}

std::vector<std::byte> Encode(DType dtype, std::span<const float> row) {
  std::vector<std::byte> blocks(row.size() / ValuesPerBlock(dtype) * BytesPerBlock(dtype));
  const auto done = EncodeBlocks(dtype, row, blocks);
  EXPECT_TRUE(done) << done.error().message;
  return blocks;
}

double SquaredError(DType dtype, std::span<const std::byte> blocks, std::span<const float> row, size_t begin,
                    size_t count) {
  std::vector<float> decoded(row.size());
  DecodeBlocks(dtype, blocks, decoded);
  double sum = 0;
  for (size_t i = begin; i < begin + count; ++i) sum += std::pow(static_cast<double>(decoded[i]) - row[i], 2);
  return sum;
}

TEST(GgmlBlocks, Q8_0IsEncodedAsThePythonPackageDoesIt) {
  const std::vector<float> row = Floats("encode.row");
  const auto expected = Tensor("encode.Q8_0").bytes;
  EXPECT_TRUE(std::ranges::equal(Encode(DType::kQ8_0, row), expected));
}

TEST(GgmlBlocks, Q4_0IsNowhereWorseThanThePythonPackage) {
  const std::vector<float> row = Floats("encode.row");
  const auto theirs = Tensor("encode.Q4_0").bytes;
  const std::vector<std::byte> ours = Encode(DType::kQ4_0, row);
  double ratio = 0;
  for (size_t begin = 0; begin < row.size(); begin += 32) {
    const double error = SquaredError(DType::kQ4_0, ours, row, begin, 32);
    const double reference = SquaredError(DType::kQ4_0, theirs, row, begin, 32);
    // The scale is rounded to half precision after the fit; that can cost 2^-11 of the values.
    double length = 0;
    for (size_t i = begin; i < begin + 32; ++i) length += static_cast<double>(row[i]) * row[i];
    EXPECT_LE(std::sqrt(error), std::sqrt(reference) + 0x1p-11 * std::sqrt(length) + 0x1p-23) << begin;
    ratio += reference > 0 ? error / reference / 32 : 1.0 / 32;
  }
  EXPECT_LT(ratio, 0.95) << "the fit should gain something";
}

/// Rows of several kinds: symmetric, one-sided, constant, with outliers, tiny.
std::vector<std::vector<float>> Rows() {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<std::vector<float>> rows(7, std::vector<float>(512));
  for (size_t i = 0; i < 512; ++i) {
    rows[0][i] = normal(random);
    rows[1][i] = std::abs(normal(random)) + 0.5f;
    rows[2][i] = -std::abs(normal(random)) - 0.01f;
    rows[3][i] = normal(random) * (i % 37 == 0 ? 40.0f : 1.0f);
    rows[4][i] = i < 256 ? 0.25f : -0.25f;
    rows[5][i] = normal(random) * (i < 300 ? 1.0f : 1e-3f);
    rows[6][i] = 0;
  }
  return rows;
}

/// A coding of the fit stays available after scales and minima are rounded, and the nearest codes can only be better.
/// So the root mean square error of a group is at most that of the plainest coding (half a step of its whole range, one
/// step where the codes are uneven) plus the rounding of the scale times the largest code, plus the rounding of the
/// minimum.
TEST(GgmlBlocks, ErrorsOfTheEncodersStayWithinSteps) {
  struct Steps {
    DType dtype;
    double codes;  // from end to end; they cover the range of a group, or twice its largest magnitude without a minimum
    double largest_code;
    double scale_rounding;  // of the block's largest scale: half a step of 0..63, a step where the integers are uneven
    double uneven;          // steps that the plainest coding may miss
  };
  constexpr Steps kSteps[] = {{DType::kQ8_0, 254, 127, 0, 0.5},     {DType::kQ4_0, 16, 8, 0, 1},
                              {DType::kQ4K, 15, 15, 0.5 / 63, 0.5}, {DType::kQ5K, 31, 31, 0.5 / 63, 0.5},
                              {DType::kQ6K, 64, 32, 1.0 / 128, 1},  {DType::kIq4Xs, 254, 127, 1.0 / 32, 14}};
  for (const Steps& steps : kSteps) {
    const bool has_min = GroupsOf(steps.dtype)->has_min;
    const auto group = static_cast<size_t>(GroupsOf(steps.dtype)->group),
               block = static_cast<size_t>(ValuesPerBlock(steps.dtype));
    for (const std::vector<float>& row : Rows()) {
      const auto range_of = [&](size_t begin, size_t count) {
        const auto [low, high] = std::ranges::minmax(std::span(row).subspan(begin, count));
        return has_min ? static_cast<double>(std::max(0.0f, high) - std::min(0.0f, low))
                       : 2.0 * static_cast<double>(std::max(std::abs(low), std::abs(high)));
      };
      const std::vector<std::byte> blocks = Encode(steps.dtype, row);
      for (size_t begin = 0; begin < row.size(); begin += group) {
        const double range = range_of(begin / block * block, block);
        // The fit may stretch a step by a quarter of the outermost codes, hence 1.25; half precision rounds to 2^-11,
        // or 2^-25.
        const double scale_error = 1.25 * range / steps.codes * (steps.scale_rounding + 0x1p-11) + 0x1p-25;
        const double min_error = has_min ? range * (0.5 / 63 + 0x1p-11) + 63 * 0x1p-25 : 0;
        const double bound =
            steps.uneven * range_of(begin, group) / steps.codes + scale_error * steps.largest_code + min_error;
        const double error =
            std::sqrt(SquaredError(steps.dtype, blocks, row, begin, group) / static_cast<double>(group));
        EXPECT_LE(error, bound) << Name(steps.dtype) << " group at " << begin;
      }
    }
  }
}

/// Relative errors of gaussian rows, as published figures of these types are given: the order of the types, and that a
/// fit is better than the uniform error of a full range, step / sqrt(12) with a range of about 2 x 2.2 deviations for
/// 32 values.
TEST(GgmlBlocks, GaussianRowsLoseLittle) {
  const std::vector<float> row = Rows()[0];
  double length = 0;
  for (const float value : row) length += static_cast<double>(value) * value;
  const auto relative = [&](DType dtype) {
    return std::sqrt(SquaredError(dtype, Encode(dtype, row), row, 0, row.size()) / length);
  };
  for (const DType dtype : kEncodedTypes)
    std::printf("%-6s relative error %.5f\n", std::string(Name(dtype)).c_str(), relative(dtype));
  EXPECT_LT(relative(DType::kQ8_0), 4.4 / 254 / std::sqrt(12.0) * 1.2);
  EXPECT_LT(relative(DType::kQ6K), 4.4 / 64 / std::sqrt(12.0) * 1.2);
  EXPECT_LT(relative(DType::kQ5K), 4.4 / 31 / std::sqrt(12.0) * 1.2);
  EXPECT_LT(relative(DType::kQ4K), 4.4 / 15 / std::sqrt(12.0) * 1.2);
  EXPECT_LT(relative(DType::kIq4Xs), relative(DType::kQ4_0)) << "uneven codes suit a gaussian better";
}

TEST(GgmlBlocks, EncodingADecodedRowAgainChangesLittle) {
  for (const DType dtype : kEncodedTypes) {
    for (const std::vector<float>& row : Rows()) {
      std::vector<float> once(row.size()), twice(row.size());
      DecodeBlocks(dtype, Encode(dtype, row), once);
      DecodeBlocks(dtype, Encode(dtype, once), twice);
      double first = 1e-12, again = 0;
      for (size_t i = 0; i < row.size(); ++i) {
        first += std::pow(static_cast<double>(once[i]) - row[i], 2);
        again += std::pow(static_cast<double>(twice[i]) - once[i], 2);
      }
      EXPECT_LE(again, first) << Name(dtype);
    }
  }
}

/// Of rows of every kind, as the encoder made them that tried one candidate after the other.
TEST(GgmlBlocks, EncodersStillWriteTheSameBytes) {
  constexpr std::pair<DType, uint64_t> kRecorded[] = {
      {DType::kQ4_0, 0x01A3EFCE5CB42685}, {DType::kQ8_0, 0x70597AD4DAD64426}, {DType::kQ4K, 0x416FE9FAAB1A9256},
      {DType::kQ5K, 0x406FA9C220358EA9},  {DType::kQ6K, 0x08FDF531710BAF40},  {DType::kIq4Xs, 0x8CBC432159BD9122}};
  for (const auto& [dtype, recorded] : kRecorded) {
    Fnv1a hash;
    for (int kind = 0; kind < kWeightRowKinds; ++kind) hash.Add(Encode(dtype, WeightRow(kind, 1024)));
    EXPECT_EQ(hash.value(), recorded) << Name(dtype);
  }
}

TEST(GgmlBlocks, WhatNoBlockCanHoldIsRefused) {
  for (const DType dtype : kEncodedTypes) {
    std::vector<float> row(256, 0.5f);
    std::vector<std::byte> blocks(BytesPerBlock(dtype) * 256 / ValuesPerBlock(dtype));
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      row[255] = bad;
      EXPECT_EQ(EncodeBlocks(dtype, row, blocks).error().message, "holds NaN or infinity, which no block can hold");
    }
    row[255] = std::numeric_limits<float>::max();
    EXPECT_EQ(EncodeBlocks(dtype, row, blocks).error().code, StatusCode::kInvalidFile) << Name(dtype);
  }
}

TEST(GgmlBlocks, TypesThatAreOnlyReadAreNotWritten) {
  for (const DType dtype : {DType::kQ4_1, DType::kQ5_0, DType::kQ5_1}) {
    const std::vector<float> row(64, 0.5f);
    std::vector<std::byte> blocks(BytesPerBlock(dtype) * 2);
    const auto refused = EncodeBlocks(dtype, row, blocks);
    ASSERT_FALSE(refused) << Name(dtype);
    EXPECT_EQ(refused.error().code, StatusCode::kUnsupported);
    EXPECT_EQ(refused.error().message, "type " + std::string(Name(dtype)) + " is only read, not written");
    EXPECT_TRUE(std::ranges::all_of(blocks, [](std::byte byte) { return byte == std::byte{0}; }));
  }
}

TEST(StoredTensor, RunsOfSeveralTypesAreOneMatrix) {
  const TensorBytes low = Tensor("Q4_K.blocks"), high = Tensor("Q6_K.blocks");
  StoredTensor matrix;
  matrix.count = 2;
  matrix.rows = 4;
  matrix.cols = 256;
  for (size_t expert = 0; expert < 2; ++expert) {
    matrix.runs.push_back({DType::kQ4K, 2, low.bytes.subspan(expert * 2 * 144, 2 * 144)});
    matrix.runs.push_back({DType::kQ6K, 2, high.bytes.subspan(expert * 2 * 210, 2 * 210)});
  }
  EXPECT_EQ(NaturalFormat(matrix), (WeightFormat{WeightKind::kInt8, 16, false})) << "the format that keeps most";
  const std::vector<float> first = Floats("Q4_K.values"), second = Floats("Q6_K.values");
  std::vector<float> row(256);
  for (int64_t index = 0; index < 2; ++index) {
    for (int64_t r = 0; r < 4; ++r) {
      ReadRow(matrix, index, r, row.data());
      const std::vector<float>& from = r < 2 ? first : second;
      EXPECT_TRUE(std::equal(row.begin(), row.end(), from.begin() + (index * 2 + r % 2) * 256)) << index << r;
    }
  }
}

}  // namespace
}  // namespace dgemma
