// The checker that compare_safetensors.py runs: safetensors files on stdin, each behind its length as 32 bits
// little-endian; one line each on stdout. "ok" is followed by the tensors (name in hex, dtype, shape, FNV-1a of the
// bytes) in file order, "bad" by the message. With an argument, each accepted file is also written to that path by our
// writer, for the crate to read.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "files/bytes.h"
#include "files/safetensors.h"
#include "files/safetensors_writer.h"

namespace {

std::string Describe(const dgemma::SafetensorsEntry& entry, std::span<const std::byte> file) {
  std::string line = " ";
  char digits[24];
  for (const char byte : entry.name) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    line += digits;
  }
  line += ":" + std::string(Name(entry.dtype)) + ":";
  for (const uint64_t dimension : entry.shape) line += std::to_string(dimension) + ",";
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte byte : file.subspan(entry.begin, entry.end - entry.begin)) {
    hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3;
  }
  std::snprintf(digits, sizeof digits, ":%016llx", static_cast<unsigned long long>(hash));
  return line + digits;
}

bool Rewrite(const dgemma::SafetensorsHeader& header, std::span<const std::byte> file, const char* path) {
  std::vector<dgemma::TensorToWrite> tensors;
  for (const auto& entry : header.tensors) {
    tensors.push_back(dgemma::TensorFromMemory(entry.name, entry.dtype, entry.shape,
                                               file.subspan(entry.begin, entry.end - entry.begin)));
  }
  return dgemma::WriteSafetensors(path, std::move(tensors), header.metadata).has_value();
}

}  // namespace

int main(int count, char** arguments) {
  unsigned char prefix[4];
  while (std::fread(prefix, 1, 4, stdin) == 4) {
    const size_t length =
        size_t{prefix[0]} | size_t{prefix[1]} << 8 | size_t{prefix[2]} << 16 | size_t{prefix[3]} << 24;
    // A block of exactly this size, so that a sanitizer sees any access behind the file's end.
    std::vector<std::byte> file(length);
    if (std::fread(file.data(), 1, length, stdin) != length) return 1;
    const auto parsed = dgemma::ParseSafetensors(file);
    std::string line = parsed ? "ok" : "bad " + parsed.error().message;
    if (parsed) {
      for (const auto& entry : parsed->tensors) line += Describe(entry, file);
    }
    if (parsed && count > 1 && !Rewrite(*parsed, file, arguments[1])) line = "bad rewriting failed";
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  }
  return 0;
}
