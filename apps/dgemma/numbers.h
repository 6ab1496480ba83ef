// Numbers from command lines and chat commands: the whole text must be a number, finite unless said otherwise, in
// range. Messages say the value and the range and read well behind the name of an option.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "files/messages.h"

namespace dgemma {

/// A number in [low, high].
template <typename T>
Result<T> ParseNumber(std::string_view text, T low, T high) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto wrong = [&](std::string_view what) {
    const std::string range =
        high == std::numeric_limits<T>::max() ? fmt::format("{} or more", low) : fmt::format("{} to {}", low, high);
    return Fail(StatusCode::kInvalidArgument, fmt::format("{} {} ({})", Quoted(text), what, range));
  };
  if (error == std::errc::result_out_of_range) return wrong("is out of range");
  if (error != std::errc{} || end != text.data() + text.size()) return wrong("is not a number");
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) return wrong("is not a number");
  }
  if (value < low || value > high) return wrong("is out of range");
  return value;
}

/// A check for options that take a seed: what is wrong with `text`, or nothing.
inline std::string IsSeed(const std::string& text) {
  const auto seed = ParseNumber<uint64_t>(text, 0, std::numeric_limits<uint64_t>::max());
  return seed ? "" : seed.error().message;
}

}  // namespace dgemma
