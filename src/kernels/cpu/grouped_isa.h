// Headers that the sources of grouped products share; included before any target attribute.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/cpu/compiler.h"
#include "kernels/cpu/grouped.h"
#include "tensor/panels.h"
