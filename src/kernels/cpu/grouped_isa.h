// Headers that the sources of grouped products share; included before any target attribute.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/cpu/compiler.h"
#include "kernels/cpu/grouped.h"
#include "tensor/panels.h"

namespace dgemma {

/// One group of some panels: where its codes are, and where one scale belongs to a row, its steps.
template <size_t kPanels>
struct GroupOfPanels {
  const std::byte* codes[kPanels];
  const std::byte* steps[kPanels];
};

}  // namespace dgemma
