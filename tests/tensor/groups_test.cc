// Quantisation into groups: against the plain choice of scale, the importance of columns, what half precision cannot hold; and the
// codes of activations.
#include "tensor/groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/hash.h"
#include "tensor/rounding.h"
#include "tensor/stored.h"
#include "weight_rows.h"

namespace dgemma {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<WeightFormat> AllFormats() {
  std::vector<WeightFormat> formats;
  for (const WeightKind kind : {WeightKind::kInt8, WeightKind::kInt4}) {
    for (const int32_t group : {16, 32, 64}) {
      for (const bool has_min : {false, true}) formats.push_back({kind, group, has_min});
    }
  }
  return formats;
}

/// Rows of several shapes: normal, long-tailed, all positive, all negative, sparse.
std::vector<std::vector<float>> SampleRows() {
  std::vector<std::vector<float>> rows(5);
  std::mt19937 engine(3);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  for (int64_t i = 0; i < 333; ++i) {
    const float value = normal(engine);
    rows[0].push_back(value);
    rows[1].push_back(value * std::abs(value) * 100);
    rows[2].push_back(std::abs(value) + 0.2f);
    rows[3].push_back(-std::abs(value));
    rows[4].push_back(i % 7 == 0 ? value : 0.0f);
  }
  return rows;
}

std::vector<float> Back(const GroupedRow& coded, const WeightFormat& format) {
  std::vector<float> values(coded.code.size());
  DequantizeRow(coded, format, values);
  return values;
}

/// sum importance (w - w')^2 over the values [begin, end).
double Error(const std::vector<float>& w, const std::vector<float>& back, const std::vector<float>& importance,
             size_t begin, size_t end) {
  double error = 0;
  for (size_t i = begin; i < end; ++i) {
    const double difference = static_cast<double>(w[i]) - static_cast<double>(back[i]);
    error += difference * difference * (importance.empty() ? 1.0 : static_cast<double>(importance[i]));
  }
  return error;
}

/// One group by the plain rule: the scale takes the largest magnitude to `end`, or with a minimum the range to all codes.
std::vector<float> PlainGroup(std::vector<float> w, const WeightFormat& format, float end) {
  const bool int8 = format.kind == WeightKind::kInt8;
  const float low = int8             ? (format.has_min ? -128.0f : -127.0f)
                    : format.has_min ? 0.0f
                                     : -8.0f,
              high = low + (int8 ? 255.0f : 15.0f);
  float scale = 0, min = 0;
  if (format.has_min) {
    const float from = std::min(0.0f, std::ranges::min(w)), to = std::max(0.0f, std::ranges::max(w));
    scale = FromF16(ToF16((to - from) / (high - low)));
    min = FromF16(ToF16(scale * low - from));
  } else {
    scale = FromF16(ToF16(std::ranges::max(w, {}, [](float value) { return std::abs(value); }) / end));
  }
  for (float& value : w) {
    const float code = scale == 0 ? 0 : std::clamp(std::nearbyint((value + min) / scale), low, std::min(high, 127.0f));
    value = scale * code - min;
  }
  return w;
}

std::vector<float> Importance(size_t size) {
  std::vector<float> importance(size);
  for (size_t i = 0; i < size; ++i) importance[i] = i % 5 == 0 ? 100.0f : i % 5 == 1 ? 0.0f : 1.0f;
  return importance;
}

TEST(QuantizeRow, IsNeverWorseThanThePlainScale) {
  for (const WeightFormat& format : AllFormats()) {
    for (const std::vector<float>& row : SampleRows()) {
      for (const std::vector<float>& importance : {std::vector<float>(), Importance(row.size())}) {
        GroupedRow coded;
        QuantizeRow(row, format, importance, coded);
        const std::vector<float> back = Back(coded, format);
        for (size_t begin = 0; begin < row.size(); begin += static_cast<size_t>(format.group)) {
          const size_t end = std::min(row.size(), begin + static_cast<size_t>(format.group));
          const auto first = row.begin() + static_cast<int64_t>(begin), last = row.begin() + static_cast<int64_t>(end);
          const double error = Error(row, back, importance, begin, end);
          for (const float to :
               format.kind == WeightKind::kInt8 ? std::vector{127.0f} : std::vector{7.0f, -7.0f, -8.0f}) {
            std::vector<float> plain(begin, 0.0f);
            const std::vector<float> group = PlainGroup({first, last}, format, to);
            plain.insert(plain.end(), group.begin(), group.end());
            EXPECT_LE(error, Error(row, plain, importance, begin, end) * (1 + 1e-9))
                << Name(format) << " group at " << begin;
          }
        }
      }
    }
  }
}

TEST(QuantizeRow, SpendsItsCodesWhereTheImportanceIs) {
  const std::vector<float> row = SampleRows()[0], importance = Importance(row.size()), alike(row.size(), 3.0f);
  for (const WeightFormat& format : AllFormats()) {
    GroupedRow without, with, same;
    QuantizeRow(row, format, {}, without);
    QuantizeRow(row, format, importance, with);
    QuantizeRow(row, format, alike, same);
    EXPECT_EQ(same.code, without.code) << Name(format);
    const double before = Error(row, Back(without, format), importance, 0, row.size());
    const double after = Error(row, Back(with, format), importance, 0, row.size());
    const bool searched = format.kind == WeightKind::kInt4 || format.has_min;
    EXPECT_LE(after, before * (searched ? 0.95 : 1)) << Name(format);
  }
}

TEST(QuantizeRow, MissesNoValueByMoreThanItsCut) {
  for (const WeightFormat& format : AllFormats()) {
    for (const std::vector<float>& row : SampleRows()) {
      GroupedRow coded;
      QuantizeRow(row, format, {}, coded);
      const std::vector<float> back = Back(coded, format);
      for (size_t i = 0; i < row.size(); ++i) {
        // Half a step within the range. int4 without minima leaves out 1.2 of its 8 steps on one side and has one step less on the
        // other; a range with minima is cut by up to 0.15 at either end. Scales and minima are rounded to 2^-11.
        const auto group = i / static_cast<size_t>(format.group);
        const double step = std::abs(static_cast<double>(coded.scale[group]));
        const double steps = format.kind == WeightKind::kInt8 ? 255 : 15;
        const double cut = format.has_min ? 0.15 / 0.7 * steps : format.kind == WeightKind::kInt4 ? 2.2 : 0;
        const double offset = format.has_min ? std::abs(static_cast<double>(coded.min[group])) : 0;
        EXPECT_LE(std::abs(static_cast<double>(back[i]) - static_cast<double>(row[i])),
                  step * (0.5 + cut + steps * 0x1p-11) + offset * 0x1p-11 + 0x1p-25)
            << Name(format) << " value " << i;
      }
    }
  }
}

TEST(QuantizeRow, KeepsItsOwnGridAndZeros) {
  for (const WeightFormat& format : AllFormats()) {
    GroupedRow coded, again;
    const std::vector<float> zeros(48, 0.0f);
    QuantizeRow(zeros, format, {}, coded);
    EXPECT_EQ(Back(coded, format), zeros) << Name(format);
    if (format.has_min) continue;
    QuantizeRow(SampleRows()[0], format, {}, coded);
    const std::vector<float> grid = Back(coded, format);
    QuantizeRow(grid, format, {}, again);
    EXPECT_EQ(Back(again, format), grid) << Name(format);
  }
}

TEST(QuantizeRow, WithOneScaleInInt8IsThePlainRow) {
  for (const std::vector<float>& row : SampleRows()) {
    GroupedRow coded;
    QuantizeRow(row, kInt8RowWeights, {}, coded);
    WeightFormat whole{WeightKind::kInt8, static_cast<int32_t>(row.size()), false};
    EXPECT_EQ(Back(coded, kInt8RowWeights), PlainGroup(row, whole, 127.0f));
    ASSERT_EQ(coded.scale.size(), 1U);
  }
}

/// Against all 16 steps and every base, tried one by one in float64. Rows as they come, so the candidates may lose a little.
TEST(QuantizeRow, WithStepsIsCloseToTheBestOfAllStepsAndBases) {
  for (const std::vector<float>& row : SampleRows()) {
    for (const std::vector<float>& importance : {std::vector<float>(), Importance(row.size())}) {
      GroupedRow coded;
      QuantizeRow(row, kInt4RowWeights, importance, coded);
      const std::vector<float> back = Back(coded, kInt4RowWeights);
      ASSERT_EQ(coded.scale.size(), 1U);
      const double scale = static_cast<double>(coded.scale[0]);
      const float largest = std::abs(std::ranges::max(row, {}, [](float w) { return std::abs(w); }));
      EXPECT_NEAR(scale, static_cast<double>(largest) / 120, scale * 0x1p-10) << "the largest magnitude is 120 of 128";
      double all = 0, best_of_all = 0;
      for (size_t begin = 0, g = 0; begin < row.size(); begin += 32, ++g) {
        const size_t end = std::min(row.size(), begin + 32);
        const int32_t own_step = coded.step[g], own_base = coded.base[g];
        ASSERT_TRUE(own_step >= 1 && own_step <= 16 && own_base + 15 * own_step <= 255) << own_step << " " << own_base;
        double best = std::numeric_limits<double>::infinity();
        for (int32_t step = 1; step <= 16; ++step) {
          for (int32_t base = 0; base + 15 * step <= 255; ++base) {
            double error = 0;
            for (size_t i = begin; i < end; ++i) {
              const double place = static_cast<double>(row[i]) / scale + 128 - base;
              const double stored = std::clamp(std::nearbyint(place / step), 0.0, 15.0);
              const double difference = (place - stored * step) * scale;
              error += difference * difference * (importance.empty() ? 1.0 : static_cast<double>(importance[i]));
            }
            best = std::min(best, error);
          }
        }
        for (size_t i = begin; i < end; ++i) {
          const int32_t stored = (coded.code[i] + 128 - own_base) / own_step;
          EXPECT_TRUE(stored >= 0 && stored <= 15 && stored * own_step + own_base - 128 == coded.code[i]);
        }
        all += Error(row, back, importance, begin, end);
        best_of_all += best;
      }
      // Few candidates miss what weights of 0 and 100 side by side would need; without weights they are close.
      EXPECT_LE(all, best_of_all * (importance.empty() ? 1.25 : 2.5));
    }
  }
}

TEST(QuantizeRow, WithOneScaleKeepsZerosAndRefusesWhatHalfPrecisionCannotHold) {
  for (const WeightFormat& format : {kInt8RowWeights, kInt4RowWeights}) {
    GroupedRow coded;
    const std::vector<float> zeros(48, 0.0f);
    QuantizeRow(zeros, format, {}, coded);
    EXPECT_EQ(Back(coded, format), zeros);
    std::vector<float> row(40, 0.5f);
    for (const float value : {9e6f, -1e30f, std::numeric_limits<float>::max()}) {
      row[37] = value;
      const Result<void> refused =
          ReadGroupedRow(OneRun(DType::kF32, 1, 1, 40, std::as_bytes(std::span(row))), 0, 0, format, {}, coded);
      ASSERT_FALSE(refused) << Name(format) << " " << value;
      EXPECT_NE(refused.error().message.find("half precision"), std::string::npos) << refused.error().message;
    }
    row[37] = 7e6f;
    EXPECT_TRUE(ReadGroupedRow(OneRun(DType::kF32, 1, 1, 40, std::as_bytes(std::span(row))), 0, 0, format, {}, coded));
    row.assign(40, 1e-30f);  // far below half precision: zeros
    QuantizeRow(row, format, {}, coded);
    EXPECT_EQ(Back(coded, format), std::vector<float>(40, 0.0f));
    EXPECT_EQ(*ParseWeightFormat(Name(format)), format);
  }
}

/// Of rows of every kind, with and without importance, as the search made them that tried one candidate after the other.
TEST(QuantizeRow, StillMakesTheSameCodes) {
  constexpr std::pair<const char*, uint64_t> kRecorded[] = {
      {"int8-16", 0x5D224021086D7089},     {"int8-32", 0x192B0D626B732171},     {"int8-64", 0x20C11615A461ADF9},
      {"int8-16-min", 0xD854A77AA0CFE92A}, {"int8-32-min", 0x1206CF22E18C07C0}, {"int8-64-min", 0x87DB917FC3C6017F},
      {"int4-16", 0x092627F28FFF9838},     {"int4-32", 0x84B7042B59192260},     {"int4-64", 0x5169E7276D02F6F0},
      {"int4-16-min", 0x071CDD17733E46C3}, {"int4-32-min", 0xE2DB67D62AC9ED63}, {"int4-64-min", 0x798FFFC44896F095}};
  std::vector<float> importance = WeightRow(14, 1000);
  for (float& weight : importance) weight = std::abs(weight);
  for (const auto& [name, recorded] : kRecorded) {
    Fnv1a hash;
    for (int kind = 0; kind < kWeightRowKinds; ++kind) {
      for (const auto& weights : {std::span<const float>(), std::span<const float>(importance)}) {
        GroupedRow coded;
        QuantizeRow(WeightRow(kind, 1000), *ParseWeightFormat(name), weights, coded);
        for (const auto& part : {std::as_bytes(std::span(coded.code)), std::as_bytes(std::span(coded.scale)),
                                 std::as_bytes(std::span(coded.min))})
          hash.Add(part);
      }
    }
    EXPECT_EQ(hash.value(), recorded) << name;
  }
}

TEST(RoundToF16, IsTheWayThereAndBack) {
  const auto check = [](uint32_t bits) {
    const auto value = std::bit_cast<float>(bits);
    const float there_and_back = FromF16(ToF16(value)), rounded = RoundToF16(value);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(rounded)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(rounded), std::bit_cast<uint32_t>(there_and_back)) << value;
    }
  };
  for (uint32_t half = 0; half < 0x10000; ++half) {
    // Every half, the middle to the next one, and the neighbours of both.
    const auto bits = std::bit_cast<uint32_t>(FromF16(static_cast<uint16_t>(half)));
    for (const uint32_t around : {bits, bits + 0x1000, bits + 0x00800000})
      for (const uint32_t near : {around - 1, around, around + 1}) check(near);
  }
  std::mt19937 engine(5);
  for (int i = 0; i < 1'000'000; ++i) check(static_cast<uint32_t>(engine()));
}

TEST(ReadGroupedRow, RefusesWhatHalfPrecisionCannotHold) {
  for (const WeightFormat& format : AllFormats()) {
    auto read = [&](float value) {
      std::vector<float> values(40, 0.5f);
      values[37] = value;
      GroupedRow row;
      return ReadGroupedRow(OneRun(DType::kF32, 1, 1, 40, std::as_bytes(std::span(values))), 0, 0, format, {}, row);
    };
    // int8 without minima holds up to 127 times 65,504, int4 9.2 times that with its widest cut.
    const float most = format.has_min ? 60'000.0f : format.kind == WeightKind::kInt8 ? 8'300'000.0f : 520'000.0f;
    const float beyond = format.kind == WeightKind::kInt8 ? 34'000'000.0f : 2'000'000.0f;
    for (const float sign : {1.0f, -1.0f}) {
      EXPECT_TRUE(read(sign * most)) << Name(format);
      for (const float value : {sign * beyond, sign * 1e30f, sign * std::numeric_limits<float>::max()}) {
        const Result<void> refused = read(value);
        ASSERT_FALSE(refused) << Name(format) << " " << value;
        EXPECT_EQ(refused.error().code, StatusCode::kInvalidFile);
        EXPECT_NE(refused.error().message.find("half precision"), std::string::npos) << refused.error().message;
      }
      EXPECT_FALSE(read(sign * kInf));
    }
    EXPECT_FALSE(read(kNan));
    EXPECT_TRUE(read(1e-30f));
  }
}

TEST(QuantizeActivations, RoundsToTheNearestOf127Steps) {
  std::vector<int8_t> code(6);
  const std::vector<float> x = {254.0f, -3.0f, 5.0f, -254.0f, 0.9f, 1.1f};  // scale 2: ties at 1.5 and 2.5 go to even
  EXPECT_EQ(QuantizeActivations(x, code), 2.0f);
  EXPECT_EQ(code, (std::vector<int8_t>{127, -2, 2, -127, 0, 1}));
  for (const std::vector<float>& row : SampleRows()) {
    code.resize(row.size());
    const double scale = static_cast<double>(QuantizeActivations(row, code));
    for (size_t i = 0; i < row.size(); ++i)
      EXPECT_LE(std::abs(scale * code[i] - static_cast<double>(row[i])), scale * 0.5001);
  }
}

TEST(QuantizeActivations, TakesTinyRowsForZeroAndSpoilsRowsThatAreNotFinite) {
  std::vector<int8_t> code(3);
  const std::vector<int8_t> zero(3, 0);
  for (const float tiny : {0.0f, -0.0f, 1e-45f, 1e-38f, kLeastActivation * 0.99f}) {
    EXPECT_EQ(QuantizeActivations(std::vector{0.0f, tiny, -tiny}, code), 0.0f) << tiny;
    EXPECT_EQ(code, zero);
  }
  EXPECT_GT(QuantizeActivations(std::vector{0.0f, kLeastActivation, -kLeastActivation}, code), 0.0f);
  EXPECT_EQ(code, (std::vector<int8_t>{0, 127, -127}));
  for (const float bad : {kNan, kInf, -kInf}) {
    EXPECT_TRUE(std::isnan(QuantizeActivations(std::vector{1.0f, bad, 2.0f}, code)));
    EXPECT_EQ(code, zero);
  }
}

}  // namespace
}  // namespace dgemma
