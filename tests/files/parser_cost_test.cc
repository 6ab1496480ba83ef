// What a hostile header may cost (promise A2 of the design): peak memory at most twice the header and 1 MiB, time
// linear. A program of its own, because it counts every allocation.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#include "files/bytes.h"
#include "files/safetensors.h"
#include "safetensors_bytes.h"
#include "support/counted_new.h"

namespace dgemma {
namespace {

/// Headers of about `bytes` bytes that make a reader work or remember as much as possible.
std::vector<std::pair<const char*, std::string>> NastyHeaders(size_t bytes) {
  const auto repeat = [bytes](const std::function<std::string(size_t)>& piece) {
    std::string text;
    for (size_t i = 0; text.size() < bytes; ++i) text += piece(i);
    return text;
  };
  const auto numbered = [](const std::string& shape) {
    return [shape](size_t i) { return (i ? "," : "{") + Entry(std::to_string(i), "U8", shape, "0,0"); };
  };
  return {
      {"brackets", "{\"a\":" + std::string(bytes, '[')},
      {"objects", repeat([](size_t) { return "{\"a\":"; })},
      {"shape_without_end", "{\"a\":{\"shape\":[" + repeat([](size_t) { return "0,"; })},
      {"long_name", "{\"" + std::string(bytes, 'a')},
      {"long_escaped_name", "{\"" + repeat([](size_t) { return "\\n"; })},
      {"long_metadata", "{\"__metadata__\":{\"a\":\"" + std::string(bytes, 'a') + "\"}} x"},
      {"long_escaped_metadata", "{\"__metadata__\":{\"a\":\"" + repeat([](size_t) { return "\\n"; }) + "\"}} x"},
      {"many_metadata",
       "{\"__metadata__\":" + repeat([](size_t i) { return (i ? ",\"" : "{\"") + std::to_string(i) + "\":\"\""; })},
      {"many_scalars", repeat(numbered(""))},
      {"many_vectors", repeat(numbered("0"))},
      {"many_dimensions", repeat(numbered("0,0,0,0,0,0,0,0"))},
      {"many_equal_names", repeat([](size_t i) { return (i ? "," : "{") + Entry("a", "U8", "0", "0,0"); }) + "}"},
      {"spaces", "{" + std::string(bytes, ' ')},
      {"trailing_spaces", "{}" + std::string(bytes, ' ') + "x"},
  };
}

TEST(SafetensorsCost, PeakMemoryOfABadHeader) {
  for (const size_t bytes : {size_t{100'000}, size_t{3'500'000}}) {
    for (const auto& [name, header] : NastyHeaders(bytes)) {
      const std::string file = SafetensorsFile(header, 0);
      const size_t before = test::LiveBytes();
      test::ResetPeak();
      EXPECT_FALSE(ParseSafetensors(AsBytes(file))) << name;
      const size_t peak = test::PeakBytes() - before;
      std::printf("%-24s %9zu bytes of header, peak %9zu\n", name, header.size(), peak);
      EXPECT_LE(peak, 2 * header.size() + (1 << 20)) << name << ", " << header.size() << " bytes";
    }
  }
}

TEST(SafetensorsCost, TimeOfABadHeaderIsLinear) {
  const auto seconds = [](const std::string& file) {
    double best = 1e9;
    for (int attempt = 0; attempt < 3; ++attempt) {
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_FALSE(ParseSafetensors(AsBytes(file)));
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
  };
  const auto small = NastyHeaders(200'000), large = NastyHeaders(3'200'000);
  ASSERT_EQ(small.size(), large.size());
  for (size_t i = 0; i < small.size(); ++i) {
    const double few = seconds(SafetensorsFile(small[i].second, 0)),
                 many = seconds(SafetensorsFile(large[i].second, 0));
    std::printf("%-24s %8.3f ms, 16 times as long: %8.3f ms\n", small[i].first, 1e3 * few, 1e3 * many);
    // 16 times the input: a factor of 64 leaves room for sorting and caches; quadratic cost would give 256. The
    // constant lets a busy machine pause us.
    EXPECT_LE(many, 64 * few + 0.05) << small[i].first;
  }
}

}  // namespace
}  // namespace dgemma
