// The tokenizer's time grows linearly, whatever repeats: texts that keep merging busy, and the same 16 times as long.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <limits>

#include "text/starter_tokenizer.h"

namespace dgemma {
namespace {

/// Seconds of this thread's processor time, so that a busy machine does not count.
double ProcessorSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double BestSeconds(const std::string& pattern, size_t bytes, SpecialTokens special) {
  std::string text;
  while (text.size() < bytes) text += pattern;
  double best = std::numeric_limits<double>::infinity();
  for (int attempt = 0; attempt < 3; ++attempt) {
    const double begin = ProcessorSeconds();
    const std::vector<int32_t> ids = StarterTokenizer().Encode(text, special);
    best = std::min(best, ProcessorSeconds() - begin);
    EXPECT_FALSE(ids.empty());
  }
  return best;
}

TEST(TokenizerCost, TimeIsLinear) {
  for (const char* pattern : {"a", "ab", "e ", " ", "\n", "the ", "reverse stone ", "0123456789", "{\"a\":", "\u00e9",
                              "\U0001F600", "\xff", "<", "<|turn>", "<|turn"}) {
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
      const double few = BestSeconds(pattern, 16 << 10, special), many = BestSeconds(pattern, 256 << 10, special);
      // 64 leaves room for the logarithm and for caches; quadratic cost would give 256.
      EXPECT_LE(many, 64 * few) << testing::PrintToString(pattern) << ": " << few << " s, then " << many << " s";
    }
  }
}

}  // namespace
}  // namespace dgemma
