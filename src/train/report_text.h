// Text of the HTML report: outside text made safe for a page, and numbers in words for people.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace dgemma {

/// `text` as character data or quoted attribute value of HTML: markup escaped, and what PrintableText (text/utf8.h)
/// replaces replaced: control characters, direction overrides, ill-formed UTF-8.
std::string EscapeHtml(std::string_view text);

/// EscapeHtml of at most `limit` bytes, cut between code points, and how many bytes are missing: "abc… (12 bytes
/// more)".
std::string EscapeHtml(std::string_view text, size_t limit);

std::string CountText(int64_t count);  ///< "12,345"
std::string NumberText(
    double number);  ///< three digits: "12,345", "1.23", "0.0123", "1.2e-4"; "–" for what is not finite
std::string PercentText(double share);     ///< of a share in [0, 1]: "97.3 %"; "–" for what is not finite
std::string DurationText(double seconds);  ///< "42 s", "3 min 20 s", "5 h 12 min", "2 d 3 h"
std::string CompactText(int64_t count);    ///< "950", "4.1 M", "25.8 B"

}  // namespace dgemma
