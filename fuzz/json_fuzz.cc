// Any text as JSON: no crash, bounds hold, and what is accepted comes back equal after writing and reading it again.
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdint>

#include "expect.h"
#include "files/bytes.h"
#include "files/json.h"

using dgemma::Expect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto value = dgemma::ParseJson(dgemma::AsText(std::as_bytes(std::span(bytes, size))));
  if (!value) {
    const std::string& message = value.error().message;
    Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
    return 0;
  }
  const std::string text = boost::json::serialize(*value);
  const auto again = dgemma::ParseJson(text);
  Expect(again.has_value(), "written JSON is readable");
  Expect(boost::json::serialize(*again) == text, "reading what was written changes nothing");
  return 0;
}
