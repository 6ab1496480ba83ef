// Any bytes as a safetensors file: no crash, and an accepted table covers the file exactly, in order, with right sizes.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "files/safetensors.h"

using dgemma::Expect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(bytes, size));
  const auto parsed = dgemma::ParseSafetensors(file);
  if (!parsed) {
    const std::string& message = parsed.error().message;
    Expect(!message.empty() && message.size() < 1000, "a short message");
    Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
    return 0;
  }
  uint64_t covered = parsed->data_begin;
  for (const dgemma::SafetensorsEntry& entry : parsed->tensors) {
    Expect(entry.begin == covered && entry.end >= entry.begin, "tensors follow each other");
    covered = entry.end;
    __extension__ unsigned __int128 needed = BytesPerValue(entry.dtype);
    for (const uint64_t dimension : entry.shape) {
      needed *= dimension;
      Expect(needed <= UINT64_MAX, "sizes fit 64 bits");
    }
    Expect(needed == entry.end - entry.begin, "bytes agree with shape and dtype");
  }
  Expect(covered == size, "tensors cover the file");
  return 0;
}
