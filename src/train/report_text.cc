// Escaping and rounding behind report_text.h.
#include "train/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr std::string_view kNothing = "–";

/// "12,345" from "12345", sign kept.
std::string Grouped(std::string digits) {
  const std::ptrdiff_t first = digits.starts_with('-') ? 1 : 0;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > first; at -= 3) digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

/// "1.2e-4".
std::string WithPower(double number) {
  std::string text = fmt::format("{:.1e}", number);
  const size_t exponent = text.find('e') + 2;
  while (text[exponent] == '0' && exponent + 1 < text.size()) text.erase(exponent, 1);
  return text;
}

/// The largest unit that leaves at least 1, in three digits.
std::string InUnits(double value, double base, std::span<const std::string_view> units) {
  size_t unit = 0;
  for (; unit + 1 < units.size() && value >= base; ++unit) value /= base;
  return fmt::format("{:.{}f}{}", value, unit == 0 || value >= 100 ? 0 : 1, units[unit]);
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char byte : PrintableText(text)) {
    switch (byte) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += byte;
    }
  }
  return out;
}

std::string EscapeHtml(std::string_view text, size_t limit) {
  if (text.size() <= limit) return EscapeHtml(text);
  const auto continues = [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; };
  while (limit > 0 && continues(limit)) --limit;
  return EscapeHtml(text.substr(0, limit)) +
         fmt::format("… ({} bytes more)", CountText(static_cast<int64_t>(text.size() - limit)));
}

std::string CountText(int64_t count) { return Grouped(fmt::format("{}", count)); }

std::string NumberText(double number) {
  const double size = std::abs(number);
  if (!std::isfinite(number)) return std::string(kNothing);
  if (size >= 1e15) return WithPower(number);
  if (size >= 99.95) return Grouped(fmt::format("{:.0f}", number));
  if (size == 0) return "0";
  if (size < 9.995e-3) return WithPower(number);
  return fmt::format("{:.{}f}", number, size >= 9.995 ? 1 : size >= 0.9995 ? 2 : size >= 0.09995 ? 3 : 4);
}

std::string PercentText(double share) {
  if (!std::isfinite(share)) return std::string(kNothing);
  if (share == 0 || share >= 1) return fmt::format("{:.0f} %", 100 * share);
  return fmt::format("{:.1f} %", std::min(100 * share, 99.9));  // only all is 100 %
}

std::string DurationText(double seconds) {
  if (!(seconds >= 0 && seconds < 1e12)) return std::string(kNothing);
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::round(seconds));
  const int64_t minutes = whole / 60, hours = whole / 3600, days = whole / 86400;
  if (days > 0) return fmt::format("{} d {} h", days, hours % 24);
  if (hours > 0) return fmt::format("{} h {} min", hours, minutes % 60);
  if (minutes > 0) return fmt::format("{} min {} s", minutes, whole % 60);
  return fmt::format("{} s", whole);
}

std::string CompactText(int64_t count) {
  static constexpr auto kUnits = std::to_array<std::string_view>({"", " k", " M", " B"});
  return InUnits(static_cast<double>(count), 1000, kUnits);
}

}  // namespace dgemma
