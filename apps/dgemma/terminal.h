// What the program knows about the terminal behind an output: whether there is one, its size, its colours.
// Escape sequences that change its state are written by LiveBlock and HiddenCursor only.
#pragma once

#include "output.h"

namespace dgemma {

enum class ColorWish { kAuto, kNever };

/// Colours of a terminal. kNone also means no bold or dim: nothing but text and cursor movement.
enum class Colors { kNone, kBasic, k256 };

struct TerminalTraits {
  bool is_terminal = false;
  bool can_redraw = false;  ///< moves its cursor (TERM is set and not "dumb")
  bool utf8 = true;         ///< false only when the locale names another encoding
  Colors colors = Colors::kNone;
};

/// Columns and rows, at least 1; 80 x 24 when nobody says.
struct TerminalSize {
  int columns = 80;
  int rows = 24;
  bool operator==(const TerminalSize&) const = default;
};

/// Looks at the descriptor, TERM, COLORTERM, NO_COLOR and the locale's variables.
TerminalTraits DescribeTerminal(int descriptor, ColorWish wish);

/// The size now; ask again for each frame, windows change.
TerminalSize SizeOf(int descriptor);

/// Hides the cursor while alive. Signals::ExitNow shows it again when the program is ended in between.
class HiddenCursor {
 public:
  explicit HiddenCursor(Output& output) : output_(output) { output_.Write("\x1b[?25l"); }
  ~HiddenCursor() { output_.Write("\x1b[?25h"); }
  HiddenCursor(const HiddenCursor&) = delete;
  HiddenCursor& operator=(const HiddenCursor&) = delete;

 private:
  Output& output_;
};

}  // namespace dgemma
