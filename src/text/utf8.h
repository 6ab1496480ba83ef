// UTF-8 as the text folder needs it: validation, the one place where invalid bytes are replaced, stepping through valid
// text, Unicode white space, and making text safe to print on a terminal. Knows nothing of tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dgemma {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// True when `text` is well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF). Linear time.
bool IsValidUtf8(std::string_view text);

/// `text` with each maximal ill-formed part replaced by U+FFFD, as Python's `bytes.decode("utf-8", errors="replace")`
/// and the WHATWG decoder do. This is the only treatment of invalid input in the program. Result at most 3x as long.
std::string ReplaceInvalidUtf8(std::string_view text);

/// Code point at `position` of well-formed UTF-8, moving `position` behind it. Requires position < text.size().
char32_t NextCodePoint(std::string_view text, size_t& position);

/// Appends a code point (a Unicode scalar value) as UTF-8.
void AppendUtf8(char32_t code_point, std::string& out);

/// `text` without leading and trailing white space, where white space is what Python's str.strip() removes.
/// Requires well-formed UTF-8 (ill-formed bytes simply count as no white space).
std::string_view StripWhitespace(std::string_view text);

/// `text` made safe for a terminal: ill-formed bytes, control characters (C0 except newline and tab, DEL, C1),
/// line and paragraph separators, direction overrides and isolates, tag characters and other invisible formatting
/// (U+00AD, U+200B, U+2060..U+206F, U+FEFF, ...) become U+FFFD. Zero width joiners, which emoji and several scripts
/// need, stay.
std::string PrintableText(std::string_view text);

/// `text` in quotes for a one-line message: printable, newlines and tabs replaced too, cut after 80 bytes.
std::string QuotedText(std::string_view text);

}  // namespace dgemma
