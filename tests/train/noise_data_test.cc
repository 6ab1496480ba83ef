// Noise, canvases and order: exact canvases of small examples, frequencies within five standard deviations, draws that
// depend on their key only, a permutation that is one, and packing that is greedy and stable.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "train/noise.h"
#include "train/packing.h"

namespace dgemma {
namespace {

constexpr int32_t kFill = 9;
constexpr ExampleOptions kShape{.canvas = 4, .max_tokens = 64, .end_of_text = kFill};

/// Tokens 100, 101, ... with these answers.
Example Counting(std::vector<AnswerSpan> answers) {
  Example example{
      .tokens = std::vector<int32_t>(static_cast<size_t>(answers.back().end)), .answers = answers, .task = "t"};
  std::iota(example.tokens.begin(), example.tokens.end(), 100);
  return example;
}

/// No noise at all, always the given canvas.
class StillNoise final : public TrainNoise {
 public:
  explicit StillNoise(int64_t canvas) : canvas_(canvas) {}
  double Level(DrawPlace) const override { return 0; }
  int64_t Canvas(DrawPlace, int64_t) const override { return canvas_; }
  bool SelfCondition(DrawPlace) const override { return true; }
  int32_t Corrupt(DrawPlace, CanvasRow row, int32_t clean, double) const override {
    EXPECT_EQ(row.canvas_rows, 4);
    return clean;
  }

 private:
  int64_t canvas_;
};

TEST(TrainExamples, LastCanvasIsFilledAndCanvasesAfterItDoNotExist) {
  const TrainExample made =
      MakeTrainExample(Counting({{3, 9}}), kShape, {.canvases = CanvasesTrained::kAll}, StillNoise(0), {});
  EXPECT_EQ(made.clean, (std::vector<int32_t>{100, 101, 102, 103, 104, 105, 106, 107, 108, 9}))
      << "the row behind predicts nothing";
  EXPECT_EQ(made.next_token, (std::vector<int32_t>{101, 102, 103, 104, 105, 106, 107, 108, 9, 9}));
  ASSERT_EQ(made.canvases.size(), 2u);
  EXPECT_EQ(made.canvases[0].pos, 3);
  EXPECT_EQ(made.canvases[0].target, (std::vector<int32_t>{103, 104, 105, 106}));
  EXPECT_EQ(made.canvases[1].pos, 7);
  EXPECT_EQ(made.canvases[1].target, (std::vector<int32_t>{107, 108, 9, 9}));
  EXPECT_EQ(made.canvases[1].noisy, made.canvases[1].target);
  EXPECT_EQ(made.response_begin(), 3);
  EXPECT_EQ(made.rows(), 10 + 8);
  EXPECT_EQ(made.task, "t");
  EXPECT_TRUE(made.self_condition);
}

TEST(TrainExamples, AnAnswerOfWholeCanvasesHasNoFill) {
  const TrainExample made = MakeTrainExample(Counting({{3, 7}}), kShape, {}, StillNoise(0), {});
  EXPECT_EQ(made.clean.size(), 6u);
  ASSERT_EQ(made.canvases.size(), 1u);
  EXPECT_EQ(made.canvases[0].target, (std::vector<int32_t>{103, 104, 105, 106}));
}

TEST(TrainExamples, EveryAnswerStartsItsOwnCanvasesAndLaterTurnsSeeItClean) {
  const Example example = Counting({{2, 7}, {9, 10}});
  const TrainExample made = MakeTrainExample(example, kShape, {.canvases = CanvasesTrained::kAll}, StillNoise(0), {});
  ASSERT_EQ(made.canvases.size(), 3u);
  EXPECT_EQ(made.canvases[0].pos, 2);
  EXPECT_EQ(made.canvases[1].pos, 6);
  EXPECT_EQ(made.canvases[1].target, (std::vector<int32_t>{106, 9, 9, 9})) << "not the turn that follows";
  EXPECT_EQ(made.canvases[2].pos, 9);
  EXPECT_EQ(made.canvases[2].target, (std::vector<int32_t>{109, 9, 9, 9}));
  EXPECT_EQ(made.clean, (std::vector<int32_t>{100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 9, 9}));
  for (int64_t canvas = 0; canvas < 3; ++canvas) {
    const TrainExample one = MakeTrainExample(example, kShape, {}, StillNoise(canvas), {});
    ASSERT_EQ(one.canvases.size(), 1u);
    EXPECT_EQ(one.canvases[0].pos, made.canvases[static_cast<size_t>(canvas)].pos);
    EXPECT_EQ(one.clean, made.clean);
  }
}

TEST(TrainExamples, FillAndTextCanBeLeftOutOfTheLosses) {
  const TargetOptions targets{
      .canvases = CanvasesTrained::kAll, .fill = FillTargets::kNone, .next_token = NextTokenTargets::kAnswers};
  const TrainExample made = MakeTrainExample(Counting({{2, 4}, {6, 7}}), kShape, targets, StillNoise(0), {});
  EXPECT_EQ(made.canvases[0].target, (std::vector<int32_t>{102, 103, -1, -1}));
  EXPECT_EQ(made.canvases[0].noisy, (std::vector<int32_t>{102, 103, 9, 9}));
  // Row 1 predicts the first answer's first token, row 5 the second's; rows behind it would predict the fill.
  EXPECT_EQ(made.next_token, (std::vector<int32_t>{-1, 102, 103, -1, -1, 106}));
  const TrainExample at_start = MakeTrainExample(Counting({{0, 4}}), kShape, targets, StillNoise(0), {});
  EXPECT_EQ(at_start.next_token, (std::vector<int32_t>{101, 102, 103}));
}

/// An example of `canvases` whole canvases of 256 behind one token.
Example Long(int64_t canvases) {
  Example example = Counting({{1, 1 + 256 * canvases}});
  std::ranges::fill(example.tokens, 5);
  return example;
}

TEST(SeededTrainNoise, ReplacesPositionsAtTheLevelUniformlyOverTheVocabulary) {
  constexpr int64_t kVocab = 16;
  constexpr ExampleOptions kWide{.canvas = 256, .max_tokens = 1 << 20, .end_of_text = 1};
  for (const double level : {0.05, 0.5, 0.9}) {
    const SeededTrainNoise noise(3, {.t_min = level, .t_max = level, .vocab = kVocab});
    std::vector<double> counts(kVocab);
    double rows = 0;
    for (int64_t step = 0; step < 8; ++step) {
      const TrainExample made =
          MakeTrainExample(Long(50), kWide, {.canvases = CanvasesTrained::kAll}, noise, {step, step % 3});
      EXPECT_EQ(made.noise_level, level);
      for (const TrainCanvas& canvas : made.canvases) {
        for (const int32_t id : canvas.noisy) ++counts[static_cast<size_t>(id)];
        rows += 256;
      }
    }
    for (size_t id = 0; id < counts.size(); ++id) {
      const double p = level / kVocab + (id == 5 ? 1 - level : 0);
      EXPECT_NEAR(counts[id], rows * p, 5 * std::sqrt(rows * p * (1 - p))) << "level " << level << ", id " << id;
    }
  }
}

TEST(SeededTrainNoise, LevelCanvasAndSelfConditioningAreUniform) {
  constexpr int kDraws = 20'000, kCanvases = 7;
  const SeededTrainNoise noise(11, {.t_min = 0.2, .t_max = 0.6, .self_condition = 0.3, .vocab = 4});
  std::vector<double> tenths(10), canvases(kCanvases);
  double conditioned = 0;
  for (int step = 0; step < kDraws; ++step) {
    const double level = noise.Level({step, 1});
    ASSERT_GE(level, 0.2);
    ASSERT_LT(level, 0.6);
    ++tenths[static_cast<size_t>((level - 0.2) / 0.4 * 10)];
    ++canvases[static_cast<size_t>(noise.Canvas({step, 1}, kCanvases))];
    conditioned += noise.SelfCondition({step, 1});
  }
  const auto near = [](double count, double p) { EXPECT_NEAR(count, kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p))); };
  for (const double count : tenths) near(count, 0.1);
  for (const double count : canvases) near(count, 1.0 / kCanvases);
  near(conditioned, 0.3);
}

TEST(SeededTrainNoise, DrawsDependOnTheirKeyOnly) {
  const NoiseOptions options{.vocab = 1000};
  const auto noisy = [&](uint64_t seed, DrawPlace place) {
    const ExampleOptions shape{.canvas = 256, .max_tokens = 1024, .end_of_text = 1};
    const TrainExample made =
        MakeTrainExample(Long(2), shape, {.canvases = CanvasesTrained::kAll}, SeededTrainNoise(seed, options), place);
    return std::tuple(made.noise_level, made.self_condition, made.canvases[0].noisy, made.canvases[1].noisy);
  };
  const auto base = noisy(1, {4, 2});
  EXPECT_EQ(base, noisy(1, {4, 2}));
  for (const auto& other : {noisy(2, {4, 2}), noisy(1, {5, 2}), noisy(1, {4, 3}), noisy(1, {2, 4})}) {
    EXPECT_NE(std::get<0>(base), std::get<0>(other));
    EXPECT_NE(std::get<2>(base), std::get<2>(other));
  }
  EXPECT_NE(std::get<2>(base), std::get<3>(base)) << "canvases of one example have different draws";

  // A canvas has the same noise alone and with the others.
  const Example example = Long(3);
  const ExampleOptions shape{.canvas = 256, .max_tokens = 1024, .end_of_text = 1};
  const SeededTrainNoise noise(1, options);
  const TrainExample all = MakeTrainExample(example, shape, {.canvases = CanvasesTrained::kAll}, noise, {7, 0});
  const TrainExample one = MakeTrainExample(example, shape, {}, noise, {7, 0});
  const auto same = std::ranges::find(all.canvases, one.canvases[0].pos, &TrainCanvas::pos);
  ASSERT_NE(same, all.canvases.end());
  EXPECT_EQ(same->noisy, one.canvases[0].noisy);
}

TEST(RecordedTrainNoise, ReplaysWhatWasRecorded) {
  const std::vector<RecordedDraws> draws = {{0.1, 0, false, {1, 2, 3, 4}},
                                            {0.2, 1, true, {5, 6, 7, 8}},
                                            {0.3, 1, false, {2, 2, 2, 2}},
                                            {0.4, 0, true, {3, 3, 3, 3}}};
  const RecordedTrainNoise noise(draws, 2, CanvasesTrained::kOne);
  const TrainExample made = MakeTrainExample(Counting({{3, 9}}), kShape, {}, noise, {0, 1});
  EXPECT_EQ(made.noise_level, 0.2);
  EXPECT_TRUE(made.self_condition);
  ASSERT_EQ(made.canvases.size(), 1u);
  EXPECT_EQ(made.canvases[0].pos, 7);
  EXPECT_EQ(made.canvases[0].noisy, (std::vector<int32_t>{5, 6, 7, 8}));
  EXPECT_EQ(made.canvases[0].target, (std::vector<int32_t>{107, 108, 9, 9}));
  EXPECT_EQ(MakeTrainExample(Counting({{3, 9}}), kShape, {}, noise, {1, 0}).noise_level, 0.3);
  const RecordedTrainNoise both({{0.5, 0, false, {1, 2, 3, 4, 5, 6, 7, 8}}}, 1, CanvasesTrained::kAll);
  const TrainExample all = MakeTrainExample(Counting({{3, 9}}), kShape, {.canvases = CanvasesTrained::kAll}, both, {});
  EXPECT_EQ(all.canvases[1].noisy, (std::vector<int32_t>{5, 6, 7, 8}));
}

TEST(NoiseOptionsCheck, NamesTheField) {
  EXPECT_TRUE(CheckNoiseOptions({.vocab = 1}));
  EXPECT_FALSE(CheckNoiseOptions({.vocab = 0}));
  EXPECT_FALSE(CheckNoiseOptions({.t_min = -0.1, .vocab = 8}));
  EXPECT_FALSE(CheckNoiseOptions({.t_min = 0.5, .t_max = 0.4, .vocab = 8}));
  EXPECT_FALSE(CheckNoiseOptions({.t_max = 1.5, .vocab = 8}));
  EXPECT_FALSE(CheckNoiseOptions({.t_max = std::nan(""), .vocab = 8}));
  EXPECT_EQ(CheckNoiseOptions({.self_condition = 2, .vocab = 8}).error().message,
            "self_condition: 2 is not a probability");
}

TEST(DataOrder, EveryEpochIsAPermutation) {
  for (const int64_t count : {1, 2, 3, 5, 16, 17, 100, 1000, 4097}) {
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<bool> seen(static_cast<size_t>(count));
      for (int64_t index = 0; index < count; ++index) {
        const int64_t place = ExampleAt(epoch * count + index, count, 42, Order::kShuffled);
        ASSERT_GE(place, 0);
        ASSERT_LT(place, count);
        ASSERT_FALSE(seen[static_cast<size_t>(place)]) << count << " " << epoch << " " << index;
        seen[static_cast<size_t>(place)] = true;
      }
    }
  }
}

TEST(DataOrder, EpochsAndSeedsDifferAndPlacesAreUniform) {
  constexpr int64_t kCount = 1000;
  int64_t same_epoch = 0, same_seed = 0;
  for (int64_t index = 0; index < kCount; ++index) {
    same_epoch += Shuffled(index, kCount, 1, 0) == Shuffled(index, kCount, 1, 1);
    same_seed += Shuffled(index, kCount, 1, 0) == Shuffled(index, kCount, 2, 0);
  }
  EXPECT_LT(same_epoch, 12);  // one expected; Poisson
  EXPECT_LT(same_seed, 12);
  // Over many seeds each of ten places is as likely as any other for each index.
  constexpr int kSeeds = 20'000, kSmall = 10;
  for (int64_t index = 0; index < kSmall; ++index) {
    std::vector<double> places(kSmall);
    for (uint64_t seed = 0; seed < kSeeds; ++seed) ++places[static_cast<size_t>(Shuffled(index, kSmall, seed, 0))];
    for (const double count : places) EXPECT_NEAR(count, kSeeds * 0.1, 5 * std::sqrt(kSeeds * 0.09)) << index;
  }
}

TEST(DataOrder, PositionIsTheWholeState) {
  EXPECT_EQ(ExampleAt(0, 3, 1, Order::kAsGiven), 0);
  EXPECT_EQ(ExampleAt(5, 3, 1, Order::kAsGiven), 2);
  EXPECT_EQ(ExampleAt(12'345, 100, 7, Order::kShuffled), Shuffled(45, 100, 7, 123));
  constexpr int64_t kHuge = int64_t{1} << 40;
  const int64_t place = Shuffled(kHuge - 1, kHuge, 7, 0);
  EXPECT_GE(place, 0);
  EXPECT_LT(place, kHuge);
}

TEST(Packing, LongestFirstIntoTheFirstGroupWithRoom) {
  using Groups = std::vector<std::vector<int64_t>>;
  const std::vector<int64_t> rows = {3, 9, 5, 5, 2, 30};
  // 30 alone; 9; 5 + 5; 3 + 2 do not fit with 9 nor both with 5 + 5.
  EXPECT_EQ(PackPasses(rows, 10), (Groups{{0, 4}, {1}, {2, 3}, {5}}));
  EXPECT_EQ(PackPasses(rows, 100), (Groups{{0, 1, 2, 3, 4, 5}}));
  EXPECT_EQ(PackPasses({}, 10), Groups());
  std::set<int64_t> all;
  for (const auto& group : PackPasses(rows, 12)) all.insert(group.begin(), group.end());
  EXPECT_EQ(all.size(), rows.size());
}

}  // namespace
}  // namespace dgemma
