// The denoise head, its samples, logits and soft embeddings: cpu against ref.
#include <array>
#include <cmath>
#include <limits>

#include "op_cases.h"

namespace dgemma::test {
namespace {

struct HeadShape {
  int64_t rows, width, vocab;
  float deviation;  ///< of the hidden rows: larger makes sharper distributions
};

constexpr std::array<HeadShape, 11> kShapes = {{{1, 48, 160, 1.0f},
                                                {2, 64, 512, 1.0f},
                                                {7, 33, 161, 3.0f},
                                                {255, 16, 512, 1.0f},
                                                {256, 48, 160, 2.0f},
                                                {257, 16, 2100, 1.0f},
                                                {13, 70, 5000, 8.0f},
                                                {300, 24, 5000, 12.0f},
                                                {5, 1, 17, 1.0f},
                                                {9, 3, 255, 1.0f},
                                                {4, 255, 70, 1.0f}}};

std::string Label(const std::string& op, const WeightType& type, const HeadShape& s) {
  return op + " " + type.Name() + " rows " + std::to_string(s.rows) + " D " + std::to_string(s.width) + " V " +
         std::to_string(s.vocab);
}

/// Error of a logit: its sum, and 8 roundings of values up to 30 in the softcap and the division by the temperature.
double LogitBound(const WeightType& type, const HeadShape& s, const std::vector<float>& hidden) {
  return SumBound(s.width, LargestRowNorm(hidden, s.width), 0.5 * type.Walk()) + 8 * 30 * kEps;
}

/// The soft embedding over a table that is not float32 leaves out up to 2^-9 of the mass: at most that share of the largest value (head.cc).
double DroppedBound(const Stored& table, double scale) {
  return table.format != kFloat32Weights ? 0x1p-9 * table.Largest() * scale : 0;
}

HeadParams Params(const std::vector<float>& temperature) {
  HeadParams params;
  params.temperature = temperature;
  params.embed_scale = 1.5f;
  return params;
}

std::vector<float> Temperatures(int64_t begin, int64_t rows) {
  std::vector<float> temperature;
  for (int64_t row = begin; row < begin + rows; ++row) temperature.push_back(0.4f + 0.002f * static_cast<float>(row));
  return temperature;
}

TEST(Logits, AgreeWithRef) {
  for (const WeightType& type : AllTypes()) {
    for (const HeadShape& s : kShapes) {
      const Stored table(type, 1, s.vocab, s.width, 1, 0.5f);
      const std::vector<float> hidden = Normals(s.rows * s.width, 2, s.deviation);
      CheckOp({Label("logits", type, s), s.rows, LogitBound(type, s, hidden), [&](const OpRun& run) {
                 Rows out(run.rows, s.vocab);
                 run.kernels.Logits(run.Input(hidden, s.width).view, Packed(run.kernels, table), 30.0f, out.view);
                 return out;
               }});
    }
  }
}

TEST(Denoise, AgreesWithRefOnStatisticsAndSoftEmbedding) {
  for (const WeightType& type : AllTypes()) {
    for (const HeadShape& s : kShapes) {
      const Stored table(type, 1, s.vocab, s.width, 1, 0.5f);
      const std::vector<float> hidden = Normals(s.rows * s.width, 2, s.deviation);
      OpCase op{Label("denoise", type, s), s.rows, 0, {}};
      // A probability's relative error is twice that of its tempered logit; entropies (at most ln V) and embeddings (at most
      // 5 deviations times the scale) move by that share, and sums over the vocabulary add their own rounding.
      const double logit = LogitBound(type, s, hidden) / 0.4;
      op.bound = (2 * logit + kEps * std::sqrt(static_cast<double>(s.vocab))) * std::log(static_cast<double>(s.vocab)) +
                 DroppedBound(table, 1.5);
      op.run = [&](const OpRun& run) {
        const std::vector<float> temperature = Temperatures(run.begin, run.rows);
        const std::unique_ptr<HeadScratch> scratch = run.kernels.MakeHeadScratch();
        std::vector<HeadRow> rows(static_cast<size_t>(run.rows));
        Rows soft(run.rows, s.width), out(run.rows, s.width + 4);
        run.kernels.Denoise(run.Input(hidden, s.width).view, Packed(run.kernels, table), Params(temperature), *scratch,
                            rows, soft.view);
        for (int64_t row = 0; row < run.rows; ++row) {
          const HeadRow& found = rows[static_cast<size_t>(row)];
          EXPECT_EQ(found.finite, run.begin + row != run.nan_row);
          float* values = out.view.Row(row);
          std::copy_n(soft.view.Row(row), s.width, values);
          values[s.width] = static_cast<float>(found.argmax) / static_cast<float>(s.vocab);
          values[s.width + 1] = found.max;
          values[s.width + 2] = found.entropy;
          values[s.width + 3] = 0;
        }
        return out;
      };
      CheckOp(op);
    }
  }
}

TEST(Sample, PicksTheIdsOfRefForTheSameUniforms) {
  for (const WeightType& type : AllTypes()) {
    for (const HeadShape& s : kShapes) {
      const Stored table(type, 1, s.vocab, s.width, 1, 0.5f);
      const Rows hidden(s.rows, s.width, Normals(s.rows * s.width, 2, s.deviation));
      const std::vector<float> temperature = Temperatures(0, s.rows);
      std::vector<int32_t> picked;
      std::vector<double> uniform;
      for (int64_t row = s.rows - 1; row >= 0; --row) {
        picked.push_back(static_cast<int32_t>(row));
        uniform.push_back(std::fmod(0.6180339887 * static_cast<double>(row + 1), 1.0));
      }
      uniform[0] = 1e-9;
      auto sample = [&](Kernels& kernels) {
        const std::unique_ptr<HeadScratch> scratch = kernels.MakeHeadScratch();
        std::vector<HeadRow> rows(static_cast<size_t>(s.rows));
        Rows soft(s.rows, s.width), gone = hidden;
        gone.view.data = gone.storage.data();
        kernels.Denoise(gone.view, Packed(kernels, table), Params(temperature), *scratch, rows, soft.view);
        std::fill(gone.storage.begin(), gone.storage.end(),
                  0.0f);  // the caller may overwrite its rows before it samples
        std::vector<int32_t> ids(picked.size());
        kernels.Sample(*scratch, picked, uniform, ids);
        return ids;
      };
      const std::vector<int32_t> ids = sample(*Cpu());
      EXPECT_EQ(ids, sample(*Ref())) << Label("sample", type, s);
      EXPECT_EQ(ids, sample(*Cpu(2)));
      EXPECT_EQ(ids, sample(*Cpu(4)));
    }
  }
}

TEST(Sample, OfTheLargestUniformStaysInsideTheVocabulary) {
  const Stored table(DType::kF32, 1, 161, 8, 1);
  const std::unique_ptr<Kernels> cpu = Cpu();
  const std::unique_ptr<HeadScratch> scratch = cpu->MakeHeadScratch();
  const Rows hidden(1, 8, Normals(8, 2));
  Rows soft(1, 8);
  std::vector<HeadRow> rows(1);
  const std::vector<float> temperature = {1.0f};
  cpu->Denoise(hidden.view, Packed(*cpu, table), Params(temperature), *scratch, rows, soft.view);
  const std::vector<int32_t> picked = {0};
  const std::vector<double> uniform = {0x1.fffffffffffffp-1};
  std::vector<int32_t> ids = {-1};
  cpu->Sample(*scratch, picked, uniform, ids);
  EXPECT_GE(ids[0], 150);
  EXPECT_LE(ids[0], 160);
}

TEST(Denoise, NamesTheLowestOfEqualLogits) {
  for (int64_t vocab : {int64_t{300}, int64_t{5000}}) {
    Stored table(DType::kF32, 1, vocab, 4, 1);
    for (int64_t id = 0; id < vocab; ++id) std::copy_n(table.bytes.data(), 16, table.bytes.data() + id * 16);
    const std::unique_ptr<Kernels> cpu = Cpu();
    const std::unique_ptr<HeadScratch> scratch = cpu->MakeHeadScratch();
    const Rows hidden(1, 4, Normals(4, 2));
    Rows soft(1, 4);
    std::vector<HeadRow> rows(1);
    const std::vector<float> temperature = {1.0f};
    cpu->Denoise(hidden.view, Packed(*cpu, table), Params(temperature), *scratch, rows, soft.view);
    EXPECT_EQ(rows[0].argmax, 0);
    EXPECT_NEAR(rows[0].entropy, std::log(static_cast<double>(vocab)), 1e-5);
  }
}

TEST(SoftEmbed, AgreesWithRefAndTakesMinusInfinityAsImpossible) {
  for (const WeightType& type : AllTypes()) {
    for (const HeadShape& s : kShapes) {
      const Stored table(type, 1, s.vocab, s.width, 1, 0.5f);
      std::vector<float> logits = Normals(s.rows * s.vocab, 2, 2.0f * s.deviation);
      for (size_t i = 0; i < logits.size(); i += 5) logits[i] = -std::numeric_limits<float>::infinity();
      for (int64_t id = 0; id < s.vocab - 1; ++id)
        logits[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
      logits[static_cast<size_t>(s.vocab - 1)] = 1.0f;  // the first row allows one id only
      const double bound = (8 + std::sqrt(static_cast<double>(s.vocab))) * kEps * 4 * 3 + DroppedBound(table, 1.5);
      CheckOp({Label("soft embed", type, s), s.rows, bound, [&](const OpRun& run) {
                 Rows soft(run.rows, s.width);
                 run.kernels.SoftEmbed(run.Input(logits, s.vocab).view, Packed(run.kernels, table), 1.5f, soft.view);
                 return soft;
               }});
    }
  }
}

}  // namespace
}  // namespace dgemma::test
