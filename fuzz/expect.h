// The one assertion of the fuzz targets: active in every build type, and a crash, which is what libFuzzer looks for.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace dgemma {

/// Ends the process when a property of a target does not hold.
inline void Expect(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "property does not hold: %s\n", property);
  std::abort();
}

}  // namespace dgemma
