// Products with grouped weights: every instruction set against the definition in kernels/cpu/grouped.h, bit for bit, and the packed
// layout against what was stored in it.
#include "kernels/cpu/grouped.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/cpu/packed.h"
#include "tensor/targets.h"

#include "hwy/targets.h"
#include "op_cases.h"
#include "tensor/panels.h"
#include "tensor/rounding.h"

namespace dgemma::test {
namespace {

std::vector<WeightFormat> AllFormats() {
  std::vector<WeightFormat> formats;
  for (const WeightKind kind : {WeightKind::kInt8, WeightKind::kInt4}) {
    for (const int32_t group : {16, 32, 64}) {
      for (const bool has_min : {false, true}) formats.push_back({kind, group, has_min});
    }
  }
  formats.push_back(kInt8RowWeights);
  formats.push_back(kInt4RowWeights);
  return formats;
}

/// A matrix of random codes over their whole range, with random scales of both signs; of stepped formats random bytes, also such
/// as no quantisation makes.
struct CodedMatrix {
  CodedMatrix(const WeightFormat& format_in, int64_t out_in, int64_t in_in)
      : format(format_in), out(out_in), in(in_in) {
    std::mt19937 engine(static_cast<uint32_t>(out * 1000 + in));
    const int32_t low = format.kind == WeightKind::kInt8 ? -128 : format.has_min ? 0 : -8;
    std::uniform_int_distribution<int32_t> code(low, low + (format.kind == WeightKind::kInt8 ? 255 : 15));
    std::uniform_int_distribution<int32_t> scale(-1000, 1000);  // times 2^-10: exact in half precision
    panels.resize(static_cast<size_t>(GroupedBytes(format, 1, out, in)) + 64);
    const int64_t panel_bytes = PanelBytes(format, in);
    for (int64_t row = 0; row < out; ++row) {
      const std::span<std::byte> panel(Panels() + row / 16 * panel_bytes, static_cast<size_t>(panel_bytes));
      if (row % 16 == 0) ClearPanel(format, in, panel);
      GroupedRow coded;
      if (format.stepped() && row % 16 == 0)
        for (std::byte& byte : panel) byte = static_cast<std::byte>(engine());
      if (format.stepped()) {
        const uint16_t half = ToF16(static_cast<float>(scale(engine)) * 0x1p-10f);
        std::memcpy(panel.data() + row % 16 * 2, &half, sizeof(half));
        LoadRow(panel, format, in, row % 16, rows.emplace_back());
        continue;
      }
      for (int64_t i = 0; i < in; ++i) coded.code.push_back(static_cast<int8_t>(code(engine)));
      for (int64_t g = 0; g < ScaleCount(format, in); ++g) {
        coded.scale.push_back(static_cast<float>(scale(engine)) * 0x1p-10f);
        if (format.has_min) coded.min.push_back(static_cast<float>(scale(engine)) * 0x1p-8f);
      }
      StoreRow(coded, format, in, row % 16, panel);
      rows.push_back(coded);
    }
  }
  /// Aligned to 64 bytes.
  std::byte* Panels() { return panels.data() + (64 - reinterpret_cast<uintptr_t>(panels.data()) % 64) % 64; }

  WeightFormat format;
  int64_t out, in;
  std::vector<std::byte> panels;
  std::vector<GroupedRow> rows;
};

/// The sums of a row's codes, of groups and of all.
void SumRow(const QuantizedRows& a, int64_t row) {
  const int8_t* code = a.code + row * a.stride;
  a.RowSum()[row * a.sum_stride] = std::accumulate(code, code + a.stride, 0);
  SumGroups(ChooseRowOps(), a, row);
}

/// The definition, with integer sums in 64 bits.
float Defined(const QuantizedRows& a, int64_t row, const GroupedRow& w, const WeightFormat& format, int64_t in) {
  if (format.row_scale) {
    int64_t dot = 0;
    for (int64_t i = 0; i < in; ++i) dot += int64_t{a.code[row * a.stride + i]} * w.code[static_cast<size_t>(i)];
    return a.scale[row] * (w.scale[0] * static_cast<float>(dot));
  }
  float total = 0;
  for (int64_t g = 0; g < GroupCount(format, in); ++g) {
    int64_t dot = 0, sum = 0;
    for (int64_t i = g * format.group; i < std::min(in, (g + 1) * format.group); ++i) {
      dot += int64_t{a.code[row * a.stride + i]} * w.code[static_cast<size_t>(i)];
      sum += a.code[row * a.stride + i];
    }
    total = std::fma(w.scale[static_cast<size_t>(g)], static_cast<float>(dot), total);
    if (format.has_min) total = std::fma(-w.min[static_cast<size_t>(g)], static_cast<float>(sum), total);
  }
  return total * a.scale[row];
}

TEST(GroupedProduct, IsTheDefinitionOnEveryInstructionSetFormatAndShape) {
  for (const GroupedOps& ops : SupportedGroupedOps()) std::printf("%s\n", ops.target);
  struct Shape {
    int64_t rows, in, out;
  };
  for (const Shape& s :
       {Shape{1, 16, 16}, {1, 300, 70}, {2, 33, 15}, {5, 64, 33}, {7, 704, 40}, {13, 129, 17}, {29, 130, 64}}) {
    std::mt19937 engine(7);
    std::uniform_int_distribution<int32_t> code(-127, 127);
    std::vector<float> memory(static_cast<size_t>(CodeFloats(s.rows, s.in)));
    const QuantizedRows a = CodeRows(memory.data(), s.rows, s.in, CodeSums::kGroups);
    for (int64_t row = 0; row < s.rows; ++row) {
      a.scale[row] = 0.01f * static_cast<float>(row + 1);
      for (int64_t i = 0; i < s.in; ++i)
        a.code[row * a.stride + i] = static_cast<int8_t>(row == 0 ? 127 : code(engine));
      SumRow(a, row);
    }
    for (const WeightFormat& format : AllFormats()) {
      CodedMatrix w(format, s.out, s.in);
      for (const GroupedOps& ops : SupportedGroupedOps()) {
        Rows c(s.rows, s.out);
        ops.multiply({a, w.Panels(), format, s.in, s.out, c.view.data, c.view.stride});
        int64_t wrong = 0;
        for (int64_t row = 0; row < s.rows; ++row) {
          for (int64_t o = 0; o < s.out; ++o) {
            const float expected = Defined(a, row, w.rows[static_cast<size_t>(o)], format, s.in);
            wrong += std::bit_cast<uint32_t>(c.view.Row(row)[o]) != std::bit_cast<uint32_t>(expected) ? 1 : 0;
          }
          EXPECT_TRUE(std::isnan(c.view.Row(row)[s.out])) << "written past the row";
        }
        EXPECT_EQ(wrong, 0) << ops.target << " " << Name(format) << " " << s.rows << "x" << s.in << "x" << s.out;
      }
    }
  }
}

/// The longest rows, codes and activations all at their ends: the sum of 2^17 products fits int32, and partial sums may wrap.
TEST(GroupedProduct, OfTheLongestRowsIsExact) {
  constexpr int64_t kIn = kMostRowInputs;
  std::vector<float> memory(static_cast<size_t>(CodeFloats(1, kIn)));
  const QuantizedRows a = CodeRows(memory.data(), 1, kIn, CodeSums::kGroups);
  std::fill_n(a.code, kIn, int8_t{127});
  a.scale[0] = 1;
  SumRow(a, 0);
  for (const WeightFormat& format : {kInt8RowWeights, kInt4RowWeights}) {
    std::vector<std::byte> memory_of_panel(static_cast<size_t>(PanelBytes(format, kIn)) + 64);
    std::byte* begin = memory_of_panel.data() + (64 - reinterpret_cast<uintptr_t>(memory_of_panel.data()) % 64) % 64;
    const std::span<std::byte> panel(begin, static_cast<size_t>(PanelBytes(format, kIn)));
    ClearPanel(format, kIn, panel);
    const auto groups = static_cast<size_t>(GroupCount(format, kIn));
    for (const int8_t code : {int8_t{-128}, int8_t{127}}) {
      GroupedRow row{std::vector<int8_t>(kIn, code), {1.0f}, {}, {}, {}};
      if (format.stepped()) {
        row.step.assign(groups, 1);
        row.base.assign(groups, static_cast<uint8_t>(code + 128));
      }
      StoreRow(row, format, kIn, code < 0 ? 0 : 1, panel);
    }
    for (const GroupedOps& ops : SupportedGroupedOps()) {
      std::array<float, 16> c{};
      ops.multiply({a, begin, format, kIn, 16, c.data(), 16});
      EXPECT_EQ(c[0], -127.0f * 128 * kIn) << ops.target << " " << Name(format);
      EXPECT_EQ(c[1], 127.0f * 127 * kIn) << ops.target << " " << Name(format);
    }
  }
  EXPECT_TRUE(CheckRowLength(kInt8RowWeights, kIn));
  EXPECT_EQ(CheckRowLength(kInt8RowWeights, kIn + 1).error().code, StatusCode::kUnsupported);
  EXPECT_TRUE(CheckRowLength({WeightKind::kInt8, 64, false}, kIn + 1));
}

/// Calls `check` with every instruction set that Highway's kernels were compiled for and this machine has.
template <typename Check>
void OnEveryTarget(Check check) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    check(hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

TEST(WidenBlock, GivesTheValuesOfTheGroupsAndNoOtherRows) {
  for (const WeightFormat& format : AllFormats()) {
    CodedMatrix w(format, 70, 150);
    PackedMatrix matrix;
    matrix.panels = w.Panels();
    matrix.format = format;
    matrix.out = w.out;
    matrix.in = w.in;
    matrix.panel_bytes = PanelBytes(format, w.in);
    OnEveryTarget([&](const char* target) {
      const ProductOps ops = ChooseProductOps();
      const MatrixBlock block{16, 54, 48, 102};  // rows 16 to 69, columns 48 to 149: neither a multiple of 16
      LiveIds needed;
      for (const size_t row : {0U, 3U, 4U, 15U, 37U, 53U}) needed.set(row);
      std::vector<float> widened(7 * 64 * 16, -1e9f);
      WidenBlock(ops, matrix, block, needed, widened.data());
      int64_t wrong = 0;
      for (int64_t row = 0; row < block.rows; ++row) {
        std::vector<float> values(static_cast<size_t>(w.in));
        DequantizeRow(w.rows[static_cast<size_t>(block.row + row)], format, values);
        for (int64_t col = 0; col < block.cols; ++col) {
          const float value = widened[static_cast<size_t>((col / 16 * 64 + row) * 16 + col % 16)];
          const bool wanted = needed[static_cast<size_t>(row)];
          wrong += value != (wanted ? values[static_cast<size_t>(block.col + col)] : -1e9f) ? 1 : 0;
        }
      }
      EXPECT_EQ(wrong, 0) << Name(format) << ", " << target;
    });
  }
}

TEST(ListAbove, NamesThePlacesThatAboveCounts) {
  const std::vector<float> x = Normals(256, 5);
  OnEveryTarget([&](const char* target) {
    const RowOps ops = ChooseRowOps();
    for (const int64_t n : {1, 3, 15, 16, 17, 100, 255, 256}) {
      for (const float threshold : {0.0f, 0.1f, 1.5f, std::abs(x[0]), 9.0f}) {
        std::vector<uint8_t> expected, places(static_cast<size_t>(n) + 1, uint8_t{77});
        for (int64_t i = 0; i < n; ++i) {
          if (x[static_cast<size_t>(i)] > threshold) expected.push_back(static_cast<uint8_t>(i));
        }
        const int64_t found = ops.list_above(x.data(), n, threshold, places.data());
        EXPECT_EQ(found, ops.above(x.data(), n, threshold).count) << target;
        EXPECT_EQ(places[static_cast<size_t>(found)], 77) << target << ": written past the last place";
        places.resize(static_cast<size_t>(found));
        EXPECT_EQ(places, expected) << target << ", " << n << " values above " << threshold;
      }
    }
  });
}

TEST(SumGroups, SumsGroupsOfEverySize) {
  std::mt19937 engine(11);
  std::uniform_int_distribution<int32_t> code(-128, 127);
  std::vector<float> memory(static_cast<size_t>(CodeFloats(2, 150)));
  const QuantizedRows a = CodeRows(memory.data(), 2, 150, CodeSums::kGroups);
  for (int64_t row = 0; row < 2; ++row) {  // the second one all at the edge
    for (int64_t i = 0; i < a.stride; ++i)
      a.code[row * a.stride + i] = static_cast<int8_t>(i >= 150 ? 0 : row == 1 ? -128 : code(engine));
  }
  OnEveryTarget([&](const char* target) {
    for (int64_t row = 0; row < 2; ++row) {
      SumGroups(ChooseRowOps(), a, row);
      for (const int64_t group : {16, 32, 64}) {
        const int32_t* sums = a.GroupSums(group) + row * a.sum_stride;
        for (int64_t g = 0; g < 192 / group; ++g) {
          int32_t expected = 0;
          for (int64_t i = g * group; i < (g + 1) * group; ++i) expected += a.code[row * a.stride + i];
          EXPECT_EQ(sums[g], expected) << target << ", groups of " << group;
        }
      }
    }
  });
}

TEST(Panels, GiveBackWhatWasStored) {
  for (const WeightFormat& format : AllFormats()) {
    CodedMatrix w(format, 37, 150);
    for (int64_t row = 0; row < w.out && format.stepped(); ++row) {  // what can be stored is what quantisation makes
      const std::span<std::byte> panel(w.Panels() + row / 16 * PanelBytes(format, 150),
                                       static_cast<size_t>(PanelBytes(format, 150)));
      if (row % 16 == 0) ClearPanel(format, 150, panel);
      QuantizeRow(Normals(150, static_cast<uint32_t>(row)), format, {}, w.rows[static_cast<size_t>(row)]);
      StoreRow(w.rows[static_cast<size_t>(row)], format, 150, row % 16, panel);
    }
    const auto bytes = static_cast<size_t>(PanelBytes(format, 150));
    EXPECT_EQ(bytes % 64, 0U);
    for (int64_t row = 0; row < w.out; ++row) {
      GroupedRow back;
      LoadRow({w.Panels() + static_cast<size_t>(row / 16) * bytes, bytes}, format, w.in, row % 16, back);
      const GroupedRow& stored = w.rows[static_cast<size_t>(row)];
      EXPECT_EQ(back.code, stored.code) << Name(format);
      EXPECT_EQ(back.scale, stored.scale) << Name(format);
      EXPECT_EQ(back.min, stored.min) << Name(format);
      EXPECT_EQ(back.step, stored.step) << Name(format);
      EXPECT_EQ(back.base, stored.base) << Name(format);
    }
  }
}

TEST(Pack, GivesTheSameGroupsOnAnyNumberOfThreads) {
  for (const WeightType& type : kGroupedTypes) {
    const Stored stored(type, 3, 37, 70, 1);
    const Weight one = *Cpu(1)->Pack(stored.tensor, type.format), four = *Cpu(4)->Pack(stored.tensor, type.format);
    EXPECT_EQ(one.buffer.bytes, GroupedBytes(type.format, 3, 37, 70));
    EXPECT_EQ(std::memcmp(one.buffer.Floats(), four.buffer.Floats(), static_cast<size_t>(one.buffer.bytes)), 0)
        << type.Name();
  }
}

TEST(Pack, TakesPanelsOfItsFormatWhereTheyLieAndQuantisesOthersAnew) {
  const WeightFormat format{WeightKind::kInt4, 32, true}, other{WeightKind::kInt8, 16, false};
  CodedMatrix coded(format, 37, 70);
  StoredTensor tensor{1, 37, 70, {}, {}};
  tensor.panels = {format, {coded.Panels(), static_cast<size_t>(GroupedBytes(format, 1, 37, 70))}, nullptr};
  for (const std::unique_ptr<Kernels>& kernels : {Cpu(), Ref()}) {
    const std::vector<int32_t> ids = {36};
    Rows kept(1, 70), anew(1, 70);
    kernels->Embed(ids, *kernels->Pack(tensor, format), 1.0f, kept.view);
    kernels->Embed(ids, *kernels->Pack(tensor, other), 1.0f, anew.view);
    GroupedRow row = coded.rows[36];
    std::vector<float> values(70), rounded(70);
    DequantizeRow(row, format, values);
    EXPECT_TRUE(SameBits(kept.view, Rows(1, 70, values).view));
    QuantizeRow(values, other, {}, row);
    DequantizeRow(row, other, rounded);
    EXPECT_TRUE(SameBits(anew.view, Rows(1, 70, rounded).view));
  }
  EXPECT_EQ(Cpu()->Pack(tensor, format)->buffer.owner.get(), coded.Panels());
}

TEST(Pack, RefusesWhatNoGroupCanHold) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1e9f}) {
    for (const std::unique_ptr<Kernels>& kernels : {Cpu(4), Ref()}) {
      Stored stored(DType::kF32, 2, 40, 33, 1);
      std::memcpy(stored.bytes.data() + (50 * 33 + 32) * sizeof(float), &bad, sizeof(bad));
      const Result<Weight> refused = kernels->Pack(stored.tensor, {WeightKind::kInt8, 32, false});
      ASSERT_FALSE(refused) << bad;
      EXPECT_EQ(refused.error().code, StatusCode::kInvalidFile);
    }
  }
}

}  // namespace
}  // namespace dgemma::test
