// Which instruction sets the vector code is compiled for. Included before any Highway header in every re-included source: the
// best of the enabled sets is chosen at run time. Left out: sets without fixed vector sizes, and x86 sets between the baseline
// and AVX2 (no processor of the last ten years stops there).
#pragma once

// The names are Highway's; it expands this where all of them are defined.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_PPC8)
