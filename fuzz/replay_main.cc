// Runs a fuzz target over stored inputs: every file of the folders named on the command line, the empty input, and each
// file cut in half. A finding is a crash, as under libFuzzer. Fails when a folder holds no file, so that a lost corpus
// shows.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

int main(int count, char** arguments) {
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (int i = 1; i < count; ++i) {
    std::error_code error;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(arguments[i], error)) files.push_back(entry.path());
    if (error || files.empty()) {
      std::fprintf(stderr, "%s: no inputs to replay\n", arguments[i]);
      return 1;
    }
    std::sort(files.begin(), files.end());
    for (const std::filesystem::path& path : files) {
      std::ifstream in(path, std::ios::binary);
      const std::vector<char> content{std::istreambuf_iterator<char>(in), {}};
      for (const size_t size : {content.size(), content.size() / 2}) {
        // A block of exactly this size, so that a sanitizer sees any access behind its end.
        const std::vector<uint8_t> input(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
        LLVMFuzzerTestOneInput(input.data(), input.size());
      }
    }
    std::printf("%s: %zu inputs\n", arguments[i], files.size());
  }
  return 0;
}
