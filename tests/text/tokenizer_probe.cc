// Lets a script compare the tokenizer with another one: reads texts from a file, writes ids, times and decoded text.
// Called by compare_gemma.py only; holds no checks of its own.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>

#include "text/tokenizer.h"

namespace {

std::string ReadAll(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

uint32_t TakeWord(std::string_view& bytes) {
  uint32_t word = 0;
  std::copy_n(bytes.begin(), 4, reinterpret_cast<char*>(&word));
  bytes.remove_prefix(4);
  return word;
}

template <typename T>
void Put(std::ofstream& file, const T* values, size_t count) {
  file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(T)));
}

/// Processor time of this program: other programs on the machine do not count.
double Seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

/// tokenizer_probe TOKENIZER.json IN OUT. IN: records {u32 literal, u32 repeats, u32 length, bytes}. OUT: load seconds
/// (f64), then records {f64 best seconds, u32 ids, i32[ids], u32 length, decoded text with control tokens kept}. Native
/// byte order.
int main(int count, char** arguments) {
  if (count != 4) return 2;
  const std::string json = ReadAll(arguments[1]);
  const double start = Seconds();
  const auto tokenizer = dgemma::Tokenizer::FromJson(json);
  const double load = Seconds() - start;
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 1;
  }
  const std::string input = ReadAll(arguments[2]);
  std::ofstream out(arguments[3], std::ios::binary);
  Put(out, &load, 1);
  for (std::string_view rest = input; rest.size() >= 12;) {
    const bool literal = TakeWord(rest) != 0;
    const uint32_t repeats = TakeWord(rest);
    const uint32_t length = TakeWord(rest);
    const std::string_view text = rest.substr(0, length);
    rest.remove_prefix(text.size());
    double best = 1e9;
    std::vector<int32_t> ids;
    for (uint32_t i = 0; i < repeats; ++i) {
      const double begin = Seconds();
      ids = tokenizer->Encode(text, literal ? dgemma::SpecialTokens::kAsText : dgemma::SpecialTokens::kParse);
      best = std::min(best, Seconds() - begin);
    }
    const std::string decoded = tokenizer->Decode(ids, dgemma::SpecialText::kKeep);
    const auto id_count = static_cast<uint32_t>(ids.size()), decoded_length = static_cast<uint32_t>(decoded.size());
    Put(out, &best, 1);
    Put(out, &id_count, 1);
    Put(out, ids.data(), ids.size());
    Put(out, &decoded_length, 1);
    Put(out, decoded.data(), decoded.size());
  }
  return 0;
}
