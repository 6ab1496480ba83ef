// Any text as a shard index: no crash, and an accepted table only has plain file names and complete references.
#include <algorithm>
#include <cstdint>

#include "expect.h"
#include "files/bytes.h"
#include "files/shard_index.h"

using dgemma::Expect;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto index = dgemma::ParseShardIndex(dgemma::AsText(std::as_bytes(std::span(bytes, size))));
  if (!index) {
    const std::string& message = index.error().message;
    Expect(std::ranges::all_of(message, [](char byte) { return byte >= 0x20 && byte < 0x7f; }), "one printable line");
    return 0;
  }
  Expect(!index->file_of.empty(), "at least one tensor");
  for (const std::string& file : index->files) {
    Expect(file != ".." && file.find('/') == std::string::npos && file.find('\0') == std::string::npos, "plain names");
  }
  for (const auto& [tensor, file] : index->file_of) Expect(file < index->files.size(), "references exist");
  return 0;
}
