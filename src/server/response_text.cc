// HTTP/1.1 as text.
#include "server/response_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace dgemma {
namespace {

bool IsFieldText(std::string_view text) {
  return std::ranges::none_of(text, [](unsigned char byte) { return byte < 0x20 || byte == 0x7F; });
}

bool Has(std::span<const HttpField> fields, std::string_view name) {
  return std::ranges::find(fields, name, &HttpField::name) != fields.end();
}

}  // namespace

std::string ResponseHead(int status, std::string_view content_type, std::span<const HttpField> fields,
                         const HeadFacts& facts) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nX-Request-Id: {}\r\nX-Content-Type-Options: nosniff\r\n",
                                status, ReasonPhrase(status), HttpDate(facts.now), facts.id);
  if (!content_type.empty()) out += fmt::format("Content-Type: {}\r\n", content_type);
  if (!Has(fields, "Cache-Control")) out += "Cache-Control: no-store\r\n";
  for (const std::span<const HttpField> some : {fields, facts.fields}) {
    for (const HttpField& field : some) {
      if (IsFieldText(field.name) && IsFieldText(field.value))
        out += fmt::format("{}: {}\r\n", field.name, field.value);
    }
  }
  if (facts.framing == BodyFraming::kLength && status != 204)
    out += fmt::format("Content-Length: {}\r\n", facts.length);
  // Proxies that collect an answer before they pass it on would undo streaming.
  if (facts.framing != BodyFraming::kLength) out += "X-Accel-Buffering: no\r\n";
  if (facts.framing == BodyFraming::kChunks) out += "Transfer-Encoding: chunked\r\n";
  if (!facts.keep_alive) {
    out += "Connection: close\r\n";
  } else if (facts.minor_version == 0) {
    out += "Connection: keep-alive\r\n";
  }
  return out + "\r\n";
}

std::string ChunkText(std::string_view bytes) { return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes); }

std::string HttpDate(std::time_t time) {
  constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) parts = {};
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[static_cast<size_t>(parts.tm_wday)],
                     parts.tm_mday, kMonths[static_cast<size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour,
                     parts.tm_min, parts.tm_sec);
}

}  // namespace dgemma
