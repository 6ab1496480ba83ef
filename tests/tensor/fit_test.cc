// Fits against one candidate after the other, to the bit, on every instruction set of this machine.
#include "tensor/fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tensor/ggml_layout.h"
#include "tensor/targets.h"
#include "weight_rows.h"

#include "hwy/targets.h"

namespace dgemma {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Ratio(float value, float scale) { return scale == 0 ? 0.0f : value / scale; }

int32_t Nearest(CodeRange codes, float ratio) {
  return static_cast<int32_t>(
      std::nearbyint(std::clamp(ratio, static_cast<float>(codes.lowest), static_cast<float>(codes.highest))));
}

size_t NearestIq4(float ratio) {
  size_t nearest = 0;
  const float inside = std::clamp(ratio, -127.0f, 113.0f);  // where distances differ
  for (size_t code = 1; code < kIq4Values.size(); ++code) {
    const auto distance = [inside](size_t c) { return std::abs(static_cast<float>(kIq4Values[c]) - inside); };
    if (distance(code) < distance(nearest)) nearest = code;
  }
  return nearest;
}

struct Sums {
  double wc = 0, cc = 0, c = 0, w = 0, ww = 0, n = 0;
  void Add(float value, float code) {
    const auto v = static_cast<double>(value), k = static_cast<double>(code);
    wc += v * k, cc += k * k, c += k, w += v, ww += v * v, n += 1;
  }
};

template <typename Coding>
float SlowScale(std::span<const float> group, float end, int32_t candidates, Coding coding) {
  const auto [low, high] = std::ranges::minmax(group);
  const float largest = -low > high ? low : high;
  float best = 0;
  double most = 0;  // of the squared length explained
  for (int32_t candidate = -candidates; candidate <= candidates; ++candidate) {
    const float trial = largest / (end + 0.1f * static_cast<float>(candidate));
    Sums sums;
    for (const float value : group) sums.Add(value, coding(Ratio(value, trial)));
    const double explained = sums.cc > 0 ? sums.wc * sums.wc / sums.cc : 0;
    if (explained > most) {
      most = explained;
      best = static_cast<float>(sums.wc / sums.cc);
    }
  }
  return best;
}

ScaleAndMin SlowScaleAndMin(std::span<const float> group, int32_t highest) {
  const auto [low, high] = std::ranges::minmax(group);
  const float begin = std::min(0.0f, low), range = std::max(0.0f, high) - begin;
  ScaleAndMin best{0, -begin};
  double least = std::numeric_limits<double>::infinity();
  for (int32_t candidate = -8; candidate <= 12; ++candidate) {
    const float trial = range / (static_cast<float>(highest) + 0.1f * static_cast<float>(candidate));
    Sums s;
    for (const float value : group)
      s.Add(value, static_cast<float>(Nearest({0, highest}, Ratio(value - begin, trial))));
    const double determinant = s.n * s.cc - s.c * s.c;
    double scale = determinant > 0 ? (s.n * s.wc - s.c * s.w) / determinant : 0;
    double min = (scale * s.c - s.w) / s.n;
    if (min < 0) {
      min = 0;
      scale = s.cc > 0 ? s.wc / s.cc : 0;
    }
    const double error =
        s.ww - 2 * (scale * s.wc - min * s.w) + scale * scale * s.cc - 2 * scale * min * s.c + s.n * min * min;
    if (error < least) {
      least = error;
      best = {static_cast<float>(scale), static_cast<float>(min)};
    }
  }
  return best;
}

ScaleAndMin SlowLeastError(std::span<const float> group, std::span<const float> importance, CodeRange codes,
                           std::span<const ScaleAndMin> candidates) {
  ScaleAndMin best{kInfinity, 0};
  double least = std::numeric_limits<double>::infinity();
  for (const ScaleAndMin& fit : candidates) {
    if (!std::isfinite(fit.scale) || !std::isfinite(fit.min)) continue;
    double error = 0;
    for (size_t i = 0; i < group.size(); ++i) {
      const auto code = static_cast<float>(Nearest(codes, Ratio(group[i] + fit.min, fit.scale)));
      const double difference = static_cast<double>(group[i]) - static_cast<double>(fit.scale * code - fit.min);
      error += (importance.empty() ? 1.0 : static_cast<double>(importance[i])) * difference * difference;
    }
    if (error < least) {
      least = error;
      best = fit;
    }
  }
  return best;
}

bool Same(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }
bool Same(ScaleAndMin a, ScaleAndMin b) { return Same(a.scale, b.scale) && Same(a.min, b.min); }

class Fit : public ::testing::Test {
 protected:
  static void Force(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~Fit() override { Force(0); }

  /// check(group of 32, where) for groups of every kind on every instruction set.
  template <typename Check>
  static void ForEachGroup(const Check& check) {
    Force(0);
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      Force(target);
      for (int kind = 0; kind < kWeightRowKinds; ++kind) {
        const std::vector<float> row = WeightRow(kind, 1024);
        for (size_t begin = 0; begin < row.size(); begin += 32) {
          check(std::span<const float, 32>(row.data() + begin, 32), std::string(hwy::TargetName(target)) + " kind " +
                                                                        std::to_string(kind) + " group at " +
                                                                        std::to_string(begin));
          if (HasFailure()) return;
        }
      }
    }
  }
};

TEST_F(Fit, ScalesAreThoseOfOneTrialAfterTheOther) {
  ForEachGroup([](std::span<const float, 32> group, const std::string& where) {
    for (const CodeRange codes : {CodeRange{-8, 7}, CodeRange{-32, 31}}) {
      for (const size_t size : {size_t{16}, size_t{32}}) {
        const float slow = SlowScale(group.first(size), static_cast<float>(codes.lowest), 12,
                                     [&](float ratio) { return static_cast<float>(Nearest(codes, ratio)); });
        EXPECT_TRUE(Same(FitScale(group.first(size), codes), slow)) << where;
      }
    }
  });
}

TEST_F(Fit, ScalesWithMinimaAreThoseOfOneTrialAfterTheOther) {
  ForEachGroup([](std::span<const float, 32> group, const std::string& where) {
    for (const int32_t highest : {15, 31})
      EXPECT_TRUE(Same(FitScaleAndMin(group, highest), SlowScaleAndMin(group, highest))) << where;
  });
  std::vector<float> wide(32, 0.0f);
  wide[3] = -3e38f;
  wide[4] = 3e38f;
  EXPECT_EQ(FitScaleAndMin(std::span(wide).first<32>(), 15).scale, kInfinity) << "the range is beyond float32";
}

TEST_F(Fit, ScalesOfUnevenCodesAreThoseOfAll321Trials) {
  ForEachGroup([](std::span<const float, 32> group, const std::string& where) {
    const float slow =
        SlowScale(group, -127, 160, [](float ratio) { return static_cast<float>(kIq4Values[NearestIq4(ratio)]); });
    EXPECT_TRUE(Same(FitIq4Scale(group), slow)) << where;
  });
}

TEST_F(Fit, TheLeastErrorIsThatOfOneCandidateAfterTheOther) {
  const std::vector<float> sizes = WeightRow(5, 32);
  std::vector<float> importance;
  for (size_t i = 0; i < sizes.size(); ++i)
    importance.push_back(i % 7 == 0 ? 0.0f : std::ldexp(std::abs(sizes[i]), static_cast<int>(i) - 16));
  ForEachGroup([&](std::span<const float, 32> group, const std::string& where) {
    const auto [low, high] = FindExtremes(group);
    EXPECT_EQ(low, std::ranges::min(group)) << where;
    EXPECT_EQ(high, std::ranges::max(group)) << where;
    for (const CodeRange codes : {CodeRange{-8, 7}, CodeRange{0, 15}, CodeRange{-128, 127}}) {
      for (const size_t count : {size_t{1}, size_t{16}, size_t{25}, kMostCandidates}) {
        std::vector<ScaleAndMin> candidates(count);
        for (size_t i = 0; i < count; ++i) {
          const auto shrunk = 1.0f - 0.03f * static_cast<float>(i / 2);
          candidates[i].scale = (high - low) * shrunk / static_cast<float>(codes.highest - codes.lowest);
          candidates[i].min = candidates[i].scale * static_cast<float>(codes.lowest) - low * shrunk;
          if (i == 5) candidates[i].scale = kInfinity;
          if (i == 8) candidates[i].min = kInfinity;
          if (i == 9) candidates[i].scale = 0;
        }
        for (const auto& weights : {std::span<const float>(), std::span<const float>(importance)}) {
          for (const size_t size : {size_t{32}, size_t{29}, size_t{1}}) {
            const auto part = group.first(size);
            const auto part_weights = weights.first(std::min(weights.size(), size));
            EXPECT_TRUE(Same(LeastError(part, part_weights, codes, candidates),
                             SlowLeastError(part, part_weights, codes, candidates)))
                << where << " " << size << " values, " << count << " candidates";
          }
        }
      }
    }
  });
  const std::vector<ScaleAndMin> infinite(3, {kInfinity, 0});
  EXPECT_EQ(LeastError(sizes, {}, {-8, 7}, infinite).scale, kInfinity);
}

TEST_F(Fit, CodesAreTheNearest) {
  ForEachGroup([](std::span<const float, 32> group, const std::string& where) {
    std::vector<int8_t> code(33);
    for (const CodeRange codes : {CodeRange{-8, 7}, CodeRange{0, 31}, CodeRange{-128, 127}}) {
      for (const size_t size : {size_t{32}, size_t{13}}) {
        for (const ScaleAndMin fit : {ScaleAndMin{group[0] / 7, 0}, ScaleAndMin{0.01f, 0.05f}, ScaleAndMin{0, 1}}) {
          code[size] = 99;
          NearestCodes(group.first(size), fit, codes, code.data());
          EXPECT_EQ(code[size], 99) << "beyond the end";
          for (size_t i = 0; i < size; ++i)
            EXPECT_EQ(code[i], Nearest(codes, Ratio(group[i] + fit.min, fit.scale))) << where << " value " << i;
        }
      }
    }
    for (const float scale : {group[0] / 60, 0.001f, -0.002f, 0.0f}) {
      NearestIq4Codes(group, scale, code.data());
      for (size_t i = 0; i < group.size(); ++i)
        EXPECT_EQ(static_cast<size_t>(code[i]), NearestIq4(Ratio(group[i], scale))) << where << " value " << i;
    }
  });
}

}  // namespace
}  // namespace dgemma
