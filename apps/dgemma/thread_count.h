// Numbers of threads that verbs take.
#pragma once

#include <string>

#include "dgemma/status.h"

namespace dgemma {

/// 1 to eight for each core, and to 16 where there are few: many more threads than cores only wait for each other.
Result<int> ParseThreadCount(const std::string& text);

/// A check for options: what is wrong with `text`, or nothing.
std::string IsThreadCount(const std::string& text);

}  // namespace dgemma
