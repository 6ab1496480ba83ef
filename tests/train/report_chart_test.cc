// Numbers and charts of the report: rounding, ticks, smoothing, and where in the picture a value lies.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>

#include "train/report_text.h"
#include "train/svg_chart.h"

namespace dgemma {
namespace {

using Points = std::vector<Series::Point>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(ReportText, RoundsForPeople) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(-1234567), "-1,234,567");
  EXPECT_EQ(CountText(-123), "-123");
  EXPECT_EQ(NumberText(12345.6), "12,346");
  EXPECT_EQ(NumberText(99.96), "100");
  EXPECT_EQ(NumberText(12.34), "12.3");
  EXPECT_EQ(NumberText(1.234), "1.23");
  EXPECT_EQ(NumberText(-0.1234), "-0.123");
  EXPECT_EQ(NumberText(0.0123), "0.0123");
  EXPECT_EQ(NumberText(1e-4), "1.0e-4");
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(kNan), "–");
  EXPECT_EQ(NumberText(1e100), "1.0e+100");
  EXPECT_EQ(PercentText(0), "0 %");
  EXPECT_EQ(PercentText(0.5), "50.0 %");
  EXPECT_EQ(PercentText(0.9999), "99.9 %");  // only all is 100 %
  EXPECT_EQ(PercentText(1), "100 %");
  EXPECT_EQ(PercentText(kNan), "–");
  EXPECT_EQ(DurationText(0.25), "0.2 s");
  EXPECT_EQ(DurationText(59.4), "59 s");
  EXPECT_EQ(DurationText(200), "3 min 20 s");
  EXPECT_EQ(DurationText(18720), "5 h 12 min");
  EXPECT_EQ(DurationText(3 * 86400 + 7200), "3 d 2 h");
  EXPECT_EQ(DurationText(-1), "–");
  EXPECT_EQ(BytesText(512), "512 B");
  EXPECT_EQ(BytesText(1288490189), "1.3 GB");
  EXPECT_EQ(CompactText(950), "950");
  EXPECT_EQ(CompactText(4100000), "4.1 M");
  EXPECT_EQ(CompactText(25800000000), "25.8 B");
}

TEST(ReportText, EscapesEverythingThatIsMarkup) {
  EXPECT_EQ(EscapeHtml("<b a=\"1\" c='2'>&amp;"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
  EXPECT_EQ(EscapeHtml("a\nb\tc"), "a\nb\tc");
  EXPECT_EQ(EscapeHtml(std::string("\0\x1b\x7f", 3)), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(EscapeHtml("\xff<\u202e>"), "\uFFFD&lt;\uFFFD&gt;");
  EXPECT_EQ(EscapeHtml("äöü", 6), "äöü");
  EXPECT_EQ(EscapeHtml("äöü", 5), "äö… (2 bytes more)");
  EXPECT_EQ(EscapeHtml("äöü", 3), "ä… (4 bytes more)");
  EXPECT_EQ(EscapeHtml("\x80\x80\x80", 2), "… (3 bytes more)");
}

TEST(ReportTicks, AreRound) {
  EXPECT_EQ(Ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(Ticks(-0.03, 1.05, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(Ticks(0, 99999, 5), (std::vector<double>{0, 20000, 40000, 60000, 80000}));
  EXPECT_EQ(TickTexts({0, 20000, 40000}), (std::vector<std::string>{"0", "20k", "40k"}));
  EXPECT_EQ(TickTexts({0, 0.5, 1, 1.5}), (std::vector<std::string>{"0", "0.5", "1.0", "1.5"}));
  EXPECT_EQ(TickTexts({0, 5e-5, 1e-4}), (std::vector<std::string>{"0", "5e-5", "10e-5"}));
  EXPECT_EQ(TickTexts({0, 5e5, 1e6, 1.5e6, 2e6}), (std::vector<std::string>{"0", "0.5M", "1.0M", "1.5M", "2.0M"}));
  EXPECT_EQ(TickTexts({0, 500, 1000}), (std::vector<std::string>{"0", "500", "1000"}));
  EXPECT_TRUE(Ticks(1, 1, 5).empty());
  EXPECT_TRUE(Ticks(kNan, 1, 5).empty());
  EXPECT_TRUE(Ticks(0, std::numeric_limits<double>::infinity(), 5).empty());
  EXPECT_TRUE(TickTexts({}).empty());
}

TEST(ReportTicks, OfAnyRangeAreFewInsideAndTellable) {
  std::mt19937_64 draws(7);
  std::uniform_real_distribution<double> share(0, 1);
  for (int trial = 0; trial < 20'000; ++trial) {
    const double size = std::pow(10, 24 * share(draws) - 12);
    const double low = share(draws) < 0.5 ? 0 : size * (2 * share(draws) - 1);
    const double high = low + size * (0.001 + share(draws));
    const std::vector<double> ticks = Ticks(low, high, 5);
    ASSERT_GE(ticks.size(), 3U) << low << " " << high;
    ASSERT_LE(ticks.size(), 9U) << low << " " << high;
    const double slack = 1e-8 * (high - low);
    for (const double tick : ticks) ASSERT_TRUE(tick >= low - slack && tick <= high + slack) << low << " " << high;
    const std::vector<std::string> texts = TickTexts(ticks);
    ASSERT_EQ(std::set(texts.begin(), texts.end()).size(), texts.size()) << low << " " << high;
  }
}

TEST(ReportSmoothing, KeepsStraightLinesAndTakesNoiseAway) {
  Points straight, noisy;
  std::mt19937 draws(3);
  for (int i = 0; i < 600; ++i) {
    straight.push_back({i * 10.0, 3 - 0.5 * i});
    noisy.push_back({i * 10.0, draws() % 2 == 0 ? 1.0 : -1.0});
  }
  const Points same = Smoothed(straight), quiet = Smoothed(noisy);
  ASSERT_EQ(same.size(), straight.size());
  double square = 0;
  for (size_t i = 0; i < same.size(); ++i) {
    EXPECT_EQ(same[i].x, straight[i].x);
    EXPECT_NEAR(same[i].y, straight[i].y, 1e-9);
    if (i >= 15 && i < 585) square += quiet[i].y * quiet[i].y / 570;
    EXPECT_LE(std::abs(quiet[i].y), 1);
  }
  // Weights 1..16..1 over 256: the variance falls to the sum of their squares, 2736 / 65536 = 0.042.
  EXPECT_NEAR(square, 0.042, 0.025);
  EXPECT_TRUE(Smoothed({}).empty());
  EXPECT_EQ(Smoothed({{1, 2}}), (Points{{1, 2}}));
}

TEST(ReportChart, PutsValuesWhereTheAxesSay) {
  // 420 x 220 units of plot, its corner at (50, 24): x from 0 to 100, y from 0 to 100 % with 3 % below and 5 % above.
  const std::string figure = ChartFigure({.title = "A & B",
                                          .lines = {{.name = "<x>", .points = {{0, 0}, {100, 1}}}, {.name = "none"}},
                                          .scale = ChartScale::kShare});
  EXPECT_TRUE(Has(figure, "<h3>A &amp; B</h3>")) << figure;
  EXPECT_TRUE(Has(figure, "<li class=\"c0\"><i></i>&lt;x&gt; <b>100 %</b></li></ul>"));
  EXPECT_FALSE(Has(figure, "none"));
  EXPECT_TRUE(Has(figure, "<path class=\"line c0\" d=\"M0.0 213.9L420.0 10.2\"/>"));
  EXPECT_TRUE(Has(figure, "<text class=\"tick end\" x=\"44\" y=\"241.9\">0 %</text>"));
  EXPECT_TRUE(Has(figure, "<text class=\"tick mid\" x=\"218.0\" y=\"263\">40</text>"));
  EXPECT_TRUE(Has(figure, "<text x=\"50\" y=\"15\">step 100<tspan class=\"c0\" dx=\"9\">100 %</tspan></text>"));
}

TEST(ReportChart, IsEmptyWithoutPoints) {
  EXPECT_EQ(ChartFigure({.title = "t", .lines = {{.name = "a"}}}), "");
  EXPECT_EQ(ChartFigure({}), "");
  EXPECT_EQ(SmallChartFigure({.title = "t", .lines = {{.name = "a"}}}), "");
}

TEST(ReportChart, CutsOffWhatIsFarAboveTheRest) {
  Points points;
  for (int i = 0; i < 100; ++i) points.push_back({static_cast<double>(i), i == 50 ? 5000.0 : 2.0 + i % 2});
  EXPECT_TRUE(Has(ChartFigure({.title = "t", .lines = {{.name = "a", .points = points}}}), "cut off, up to 5,000"));
  points[50].y = 4;
  EXPECT_FALSE(Has(ChartFigure({.title = "t", .lines = {{.name = "a", .points = points}}}), "cut off"));
}

TEST(ReportChart, AnyFinitePointsGiveAPictureWithFiniteCoordinates) {
  std::mt19937_64 draws(11);
  const auto value = [&] {
    static constexpr double kValues[] = {0, -0.0, 1, -1, 1e-300, 1e100, -1e100, 1e15, 0.1, 5e-324, 1e-12, 123456789};
    return kValues[draws() % std::size(kValues)];
  };
  for (int trial = 0; trial < 3000; ++trial) {
    Chart chart{.title = "t"};
    for (int line = 0; line < 3; ++line) {
      ChartLine one{.name = "a", .look = static_cast<LineLook>(draws() % 3)};
      for (size_t i = draws() % 40; i > 0; --i) one.points.push_back({value(), value()});
      chart.lines.push_back(std::move(one));
    }
    for (const std::string& figure : {ChartFigure(chart), SmallChartFigure(chart)}) {
      ASSERT_FALSE(Has(figure, "nan") || Has(figure, "inf")) << figure;
    }
  }
}

TEST(ReportChart, TwentyThousandPointsAreAFewHundredKilobytes) {
  Series series;
  for (int i = 0; i < 20'000; ++i) series.Add(i, std::sin(i));
  const std::string figure =
      ChartFigure({.title = "t", .lines = {{.name = "a", .points = series.points(), .look = LineLook::kSmoothed}}});
  EXPECT_LT(figure.size(), 60'000U);
}

}  // namespace
}  // namespace dgemma
