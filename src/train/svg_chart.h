// Line charts as inline SVG for a page with the style of report_style.h: axes with round ticks, a legend, and under the
// pointer the values of a step, without any script. Knows nothing of training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/run_log.h"

namespace dgemma {

enum class LineLook : uint8_t {
  kPlain,
  kSmoothed,  ///< the points faint, smoothed on top
  kDots,      ///< a mark at every point: few points, each measured
};

struct ChartLine {
  std::string name{};  ///< any text
  std::vector<Series::Point> points{};
  LineLook look = LineLook::kPlain;
};

enum class ChartScale : uint8_t {
  kFree,   ///< from the values; what is far above nearly all others is cut off and named
  kShare,  ///< 0 to 100 %
};

struct Chart {
  std::string title{};  ///< any text
  std::vector<ChartLine> lines{};
  ChartScale scale = ChartScale::kFree;
};

/// Round numbers in [low, high], about `wanted` of them, rising by 1, 2 or 5 times a power of ten. Empty unless low <
/// high, both finite.
std::vector<double> Ticks(double low, double high, int wanted);

/// The ticks as text, all with the same unit and number of digits: "0", "20k", "40k".
std::vector<std::string> TickTexts(const std::vector<double>& ticks);

/// As many points: each on the least-squares line of its neighbours, a twentieth of all, with triangular
/// weights. Stays within the neighbours' range.
std::vector<Series::Point> Smoothed(const std::vector<Series::Point>& points);

/// A <figure> with title, legend and picture. Lines without points have no legend; "" when no line has points.
std::string ChartFigure(Chart chart);

/// A <figure> that fits beside many others: the name, the last values, and the lines from 0 to 100 % without axes.
std::string SmallChartFigure(Chart chart);

}  // namespace dgemma
