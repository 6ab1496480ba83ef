// From JSON text to the entries of a safetensors table, without a JSON tree in between: any value where the format has
// no place for it ends the parse at once. Types, counts and keys are checked here; offsets and sizes in safetensors.cc.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "files/limits.h"
#include "files/safetensors.h"

namespace dgemma {

/// What the text states: entries in the order of the text, begin and end relative to the data, nothing cross-checked.
struct SafetensorsStatement {
  std::deque<SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads a header's JSON text, which must begin with '{'. Only safetensors.cc calls this.
Result<SafetensorsStatement> ReadSafetensorsStatement(std::string_view json, const FileLimits& limits);

}  // namespace dgemma
