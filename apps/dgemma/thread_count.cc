// The bound comes from the cores that this process may use.
#include "thread_count.h"

#include <algorithm>

#include "engine/backend.h"
#include "numbers.h"

namespace dgemma {

Result<int> ParseThreadCount(const std::string& text) {
  constexpr int kEachCore = 8, kAlways = 16, kEngineLimit = 1024;
  return ParseNumber<int>(text, 1, std::clamp(kEachCore * ThreadsFor(0), kAlways, kEngineLimit));
}

std::string IsThreadCount(const std::string& text) {
  const auto count = ParseThreadCount(text);
  return count ? "" : count.error().message;
}

}  // namespace dgemma
