// Scales, ticks, paths and the texts under the pointer. Coordinates are in units of the picture; the page scales it.
#include "train/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "train/report_text.h"

namespace dgemma {
namespace {

using Points = std::vector<Series::Point>;

constexpr double kWidth = 480, kHeight = 270;
constexpr double kLeft = 50, kRight = 10, kTop = 24, kBottom = 26;
constexpr double kSmallWidth = 220, kSmallHeight = 64;
constexpr size_t kColours = 8;
constexpr size_t kReadouts = 96;     // places under the pointer
constexpr size_t kReadoutLines = 4;  // lines whose values fit beside each other
constexpr size_t kCutFrom = 60;      // points; of fewer every one counts
constexpr size_t kSmoothFrom = 20;   // points; fewer are shown as they are

/// A range of values on a range of units.
struct Axis {
  double low = 0, high = 1;
  double from = 0, to = 1;
  double At(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

/// Logs rise, but a log is a file.
void SortPoints(Chart& chart) {
  const auto key = [](const Series::Point& point) { return std::pair(point.x, point.y); };
  for (ChartLine& line : chart.lines) std::ranges::sort(line.points, {}, key);
}

std::string Colour(size_t line) { return fmt::format("c{}{}", line % kColours, line >= kColours ? " dash" : ""); }

/// [low, high] made wide enough to divide by.
void Widen(double& low, double& high) {
  const double least = 1e-6 * std::max({std::abs(low), std::abs(high), 1e-12});
  if (high - low >= least) return;
  low -= std::max(least, std::abs(low) / 10);
  high += std::max(least, std::abs(high) / 10);
}

std::vector<double> ValuesOf(const std::vector<ChartLine>& lines, double Series::Point::* coordinate) {
  std::vector<double> values;
  for (const ChartLine& line : lines) {
    for (const Series::Point& point : line.points) values.push_back(point.*coordinate);
  }
  std::ranges::sort(values);
  return values;
}

/// The y axis, and the largest value when that is beyond it.
struct YScale {
  Axis axis;
  bool cut = false;
  double highest = 0;
};

YScale ScaleOf(const Chart& chart) {
  YScale scale{.axis = {.low = -0.03, .high = 1.05, .from = kHeight - kTop - kBottom, .to = 0}};
  if (chart.scale == ChartScale::kShare) return scale;
  const std::vector<double> values = ValuesOf(chart.lines, &Series::Point::y);
  double low = values.front(), high = values.back();
  const double usual = values[(values.size() - 1) * 9 / 10];
  scale.highest = high;
  scale.cut = values.size() >= kCutFrom && usual > 0 && high > 4 * usual;
  if (scale.cut) high = 2 * usual;
  if (low >= 0 && low < high / 2) low = 0;
  Widen(low, high);
  const double margin = (high - low) / 20;
  scale.axis.low = low == 0 ? 0 : low - margin;
  scale.axis.high = high + margin;
  return scale;
}

Axis StepAxis(const Chart& chart) {
  const std::vector<double> steps = ValuesOf(chart.lines, &Series::Point::x);
  double low = steps.front(), high = steps.back();
  if (low > 0 && low < (high - low) / 20) low = 0;
  if (high - low < 1) low -= 0.5, high += 0.5;
  const bool dots = std::ranges::any_of(chart.lines, [](const auto& line) { return line.look == LineLook::kDots; });
  const double margin = dots ? (high - low) / 50 : 0;
  return {.low = low - margin, .high = high + margin, .from = 0, .to = kWidth - kLeft - kRight};
}

std::string PathData(const Points& points, const Axis& x, const Axis& y) {
  std::string data;
  for (const Series::Point& point : points) {
    // Far outside values only have to leave the picture; renderers have 32 bits.
    const double at = std::clamp(y.At(point.y), -1e4, 1e4);
    data += fmt::format("{}{:.1f} {:.1f}", data.empty() ? "M" : "L", x.At(point.x), at);
  }
  return data;
}

std::string Path(const std::string& classes, const std::string& data) {
  return fmt::format("<path class=\"{}\" d=\"{}\"/>", classes, data);
}

/// What a line's mean course is: the smoothed points where they are smoothed.
Points Course(const ChartLine& line) {
  const bool smooth = line.look == LineLook::kSmoothed && line.points.size() >= kSmoothFrom;
  return smooth ? Smoothed(line.points) : line.points;
}

std::string DrawLine(const ChartLine& line, const std::string& colour, const Axis& x, const Axis& y) {
  std::string out;
  if (line.look == LineLook::kSmoothed && line.points.size() >= kSmoothFrom) {
    out += Path("raw " + colour, PathData(line.points, x, y));
  }
  const Points course = Course(line);
  if (course.size() > 1) out += Path("line " + colour, PathData(course, x, y));
  if (line.look != LineLook::kDots && course.size() > 1) return out;
  for (const Series::Point& point : course) {
    out += fmt::format("<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\"/>", colour, x.At(point.x),
                       std::clamp(y.At(point.y), -1e4, 1e4));
  }
  return out;
}

std::string ValueText(double value, ChartScale scale) {
  return scale == ChartScale::kShare ? PercentText(value) : NumberText(value);
}

std::string DrawAxes(const Axis& x, const Axis& y, ChartScale scale) {
  std::string out;
  const std::vector<double> rows =
      scale == ChartScale::kShare ? std::vector<double>{0, 0.25, 0.5, 0.75, 1} : Ticks(y.low, y.high, 5);
  const std::vector<std::string> row_texts =
      scale == ChartScale::kShare ? std::vector<std::string>{"0 %", "25 %", "50 %", "75 %", "100 %"} : TickTexts(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double at = kTop + y.At(rows[i]);
    out += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/>", kLeft, at, kWidth - kRight);
    out += fmt::format("<text class=\"tick end\" x=\"{}\" y=\"{:.1f}\">{}</text>", kLeft - 6, at + 4, row_texts[i]);
  }
  std::vector<double> columns = Ticks(x.low, x.high, 5);
  std::erase_if(columns, [](double step) { return step != std::round(step) || step < 0; });
  const std::vector<std::string> column_texts = TickTexts(columns);
  for (size_t i = 0; i < columns.size(); ++i) {
    const double at = kLeft + x.At(columns[i]);
    out += fmt::format("<path class=\"axis\" d=\"M{:.1f} {}v4\"/>", at, kHeight - kBottom);
    // At the right edge a label would leave the picture.
    const bool last = at > kWidth - kRight - 16;
    out += fmt::format("<text class=\"tick {}\" x=\"{:.1f}\" y=\"{}\">{}</text>", last ? "end" : "mid",
                       last ? kWidth - 2 : at, kHeight - 7, column_texts[i]);
  }
  return out + fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/>", kLeft, kHeight - kBottom, kWidth - kRight);
}

const Series::Point& Nearest(const Points& points, double x) {
  const auto behind = std::ranges::lower_bound(points, x, {}, &Series::Point::x);
  if (behind == points.begin()) return points.front();
  if (behind == points.end() || x - std::prev(behind)->x <= behind->x - x) return *std::prev(behind);
  return *behind;
}

/// Invisible strips side by side; the one under the pointer shows its step and the values there.
std::string DrawReadouts(const Chart& chart, const std::vector<Points>& courses, const Axis& x) {
  const Points& longest = *std::ranges::max_element(courses, {}, &Points::size);
  const size_t count = std::min(longest.size(), kReadouts);
  std::vector<double> steps;
  for (size_t i = 0; i < count; ++i)
    steps.push_back(longest[count == 1 ? 0 : i * (longest.size() - 1) / (count - 1)].x);
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    const double from = i == 0 ? x.low : (steps[i - 1] + steps[i]) / 2;
    const double to = i + 1 == count ? x.high : (steps[i] + steps[i + 1]) / 2;
    std::string text =
        fmt::format("step {}", CountText(static_cast<int64_t>(std::round(std::clamp(steps[i], -1e15, 1e15)))));
    size_t shown = 0;
    for (size_t line = 0; line < courses.size() && shown < kReadoutLines; ++line) {
      if (courses[line].empty()) continue;
      ++shown;
      text += fmt::format("<tspan class=\"{}\" dx=\"9\">{}</tspan>", Colour(line),
                          ValueText(Nearest(courses[line], steps[i]).y, chart.scale));
    }
    out += fmt::format(
        "<g class=\"at\"><rect x=\"{:.1f}\" y=\"0\" width=\"{:.1f}\" height=\"{}\"/><path d=\"M{:.1f} {}V{}\"/>"
        "<text x=\"{}\" y=\"15\">{}</text></g>",
        kLeft + x.At(from), std::max(0.0, x.At(to) - x.At(from)), kHeight, kLeft + x.At(steps[i]), kTop,
        kHeight - kBottom, kLeft, text);
  }
  return out;
}

std::string Legend(const Chart& chart, const std::vector<Points>& courses) {
  std::string out;
  for (size_t line = 0; line < courses.size(); ++line) {
    if (courses[line].empty()) continue;
    out += fmt::format("<li class=\"{}\"><i></i>{} <b>{}</b></li>", Colour(line),
                       EscapeHtml(chart.lines[line].name, 60), ValueText(courses[line].back().y, chart.scale));
  }
  return "<ul class=\"legend\">" + out + "</ul>";
}

}  // namespace

std::vector<double> Ticks(double low, double high, int wanted) {
  std::vector<double> ticks;
  if (!(low < high) || !std::isfinite(high - low) || wanted < 1) return ticks;
  const double rough = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / power;
  const double step = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  const double first = std::ceil(low / step - 1e-9), last = std::floor(high / step + 1e-9);
  if (!std::isfinite(first) || !(last - first <= 4.0 * wanted)) return ticks;
  for (double i = first; i <= last; ++i) ticks.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::vector<std::string> TickTexts(const std::vector<double>& ticks) {
  std::vector<std::string> texts;
  if (ticks.empty()) return texts;
  const double most = std::max(std::abs(ticks.front()), std::abs(ticks.back()));
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : most;
  const bool powers = most >= 1e12 || (most > 0 && most < 0.01);
  const double unit = most >= 2e6 ? 1e6 : most >= 1e4 ? 1e3 : 1;
  // How many decimals tell neighbours apart.
  const auto decimals = [&](double size) {
    return step > 0 ? static_cast<int>(std::clamp(-std::floor(std::log10(step / size) + 1e-9), 0.0, 9.0)) : 0;
  };
  const double power = powers ? std::floor(std::log10(step) + 1e-9) : 0;
  for (const double tick : ticks) {
    if (tick == 0) {
      texts.emplace_back("0");
    } else if (powers) {
      const double size = std::pow(10, power);
      texts.push_back(fmt::format("{:.{}f}e{:.0f}", tick / size, decimals(size), power));
    } else {
      texts.push_back(fmt::format("{:.{}f}{}", tick / unit, decimals(unit),
                                  unit == 1e6   ? "M"
                                  : unit == 1e3 ? "k"
                                                : ""));
    }
  }
  return texts;
}

std::vector<Series::Point> Smoothed(const std::vector<Series::Point>& points) {
  const std::ptrdiff_t size = std::ssize(points), reach = std::max<std::ptrdiff_t>(1, size / 40);
  std::vector<Series::Point> smooth = points;
  for (std::ptrdiff_t at = 0; at < size; ++at) {
    // The weighted least-squares line through the neighbours, at this point: inside their mean; at the ends, where
    // there are neighbours on one side only, a mean would lag behind a slope.
    double w = 0, wd = 0, wdd = 0, wy = 0, wdy = 0;
    double low = points[static_cast<size_t>(at)].y, high = low;
    for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, at - reach); i <= std::min(size - 1, at + reach); ++i) {
      const auto distance = static_cast<double>(i - at);
      const double weight = static_cast<double>(reach + 1) - std::abs(distance), y = points[static_cast<size_t>(i)].y;
      w += weight;
      wd += weight * distance;
      wdd += weight * distance * distance;
      wy += weight * y;
      wdy += weight * distance * y;
      low = std::min(low, y);
      high = std::max(high, y);
    }
    const double determinant = w * wdd - wd * wd;
    if (determinant > 0) smooth[static_cast<size_t>(at)].y = std::clamp((wdd * wy - wd * wdy) / determinant, low, high);
  }
  return smooth;
}

std::string ChartFigure(Chart chart) {
  SortPoints(chart);
  std::vector<Points> courses;
  for (const ChartLine& line : chart.lines) courses.push_back(Course(line));
  if (std::ranges::all_of(courses, &Points::empty)) return "";
  const Axis x = StepAxis(chart);
  const YScale y = ScaleOf(chart);
  const std::string title = EscapeHtml(chart.title, 120);
  std::string out = fmt::format("<figure><figcaption><h3>{}</h3>{}</figcaption>", title, Legend(chart, courses));
  out += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kWidth, kHeight, title);
  out += DrawAxes(x, y.axis, chart.scale);
  out += fmt::format("<svg x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\">", kLeft, kTop, kWidth - kLeft - kRight,
                     kHeight - kTop - kBottom);
  for (size_t line = 0; line < chart.lines.size(); ++line) out += DrawLine(chart.lines[line], Colour(line), x, y.axis);
  out += "</svg>";
  if (y.cut) {
    out += fmt::format("<text class=\"tick end\" x=\"{}\" y=\"{}\">cut off, up to {}</text>", kWidth - kRight - 4,
                       kTop + 14, NumberText(y.highest));
  }
  return out + DrawReadouts(chart, courses, x) + "</svg></figure>\n";
}

std::string SmallChartFigure(Chart chart) {
  SortPoints(chart);
  std::string values, lines;
  if (std::ranges::all_of(chart.lines, [](const ChartLine& line) { return line.points.empty(); })) return "";
  Axis x = StepAxis(chart);
  x.from = 2, x.to = kSmallWidth - 4;
  const Axis y{.low = 0, .high = 1, .from = kSmallHeight - 4, .to = 4};
  for (size_t line = 0; line < chart.lines.size(); ++line) {
    const Points course = Course(chart.lines[line]);
    if (course.empty()) continue;
    values += fmt::format("<b class=\"{}\">{}</b>", Colour(line), PercentText(course.back().y));
    if (course.size() > 1) {
      const std::string data = PathData(course, x, y);
      lines += Path("area " + Colour(line), fmt::format("{}V{}H{:.1f}Z", data, y.from, x.At(course.front().x)));
      lines += Path("line " + Colour(line), data);
    }
    lines += fmt::format("<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\"/>", Colour(line),
                         x.At(course.back().x), y.At(course.back().y));
  }
  const std::string title = EscapeHtml(chart.title, 60);
  return fmt::format(
      "<figure class=\"small\"><figcaption><h3>{0}</h3><span>{1}</span></figcaption>"
      "<svg viewBox=\"0 0 {2} {3}\" role=\"img\" aria-label=\"{0}\"><path class=\"grid\" d=\"M0 {4}H{2}M0 {5}H{2}M0 "
      "{6}H{2}\"/>"
      "{7}</svg></figure>\n",
      title, values, kSmallWidth, kSmallHeight, y.At(0), y.At(0.5), y.At(1), lines);
}

}  // namespace dgemma
