// Terminal detection from the descriptor and the environment.
#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <string_view>

namespace dgemma {
namespace {

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

// The first of the three that is set decides, as in setlocale. None set: today's terminals speak UTF-8.
bool SpeaksUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = Environment(name);
    if (value.empty()) continue;
    std::string lower(value);
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower.contains("utf-8") || lower.contains("utf8");
  }
  return true;
}

Colors ColorsOf(std::string_view term) {
  const bool many = term.contains("256") || term.contains("kitty") || term.contains("alacritty") ||
                    term.contains("direct") || !Environment("COLORTERM").empty();
  return many ? Colors::k256 : Colors::kBasic;
}

}  // namespace

TerminalTraits DescribeTerminal(int descriptor, ColorWish wish) {
  TerminalTraits traits;
  traits.utf8 = SpeaksUtf8();
  traits.is_terminal = ::isatty(descriptor) == 1;
  const std::string_view term = Environment("TERM");
  traits.can_redraw = traits.is_terminal && !term.empty() && term != "dumb";
  if (traits.can_redraw && wish == ColorWish::kAuto && Environment("NO_COLOR").empty()) traits.colors = ColorsOf(term);
  return traits;
}

TerminalSize SizeOf(int descriptor) {
  winsize window{};
  if (::ioctl(descriptor, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0) return {};
  return {window.ws_col, window.ws_row};
}

}  // namespace dgemma
