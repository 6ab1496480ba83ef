// The small model that is part of the program (models/starter), loaded from memory without touching a disk.
// Its bytes are put in by cmake/embed.cmake.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {

/// Files of the embedded model; their bytes live as long as the program.
std::vector<MemoryFile> EmbeddedModelFiles();

/// One of them by name ("tokenizer.json"), or empty.
std::string_view EmbeddedText(std::string_view file_name);

/// Loads it. Its facts say the name "embedded".
Result<std::unique_ptr<Engine>> LoadEmbedded(const EngineOptions& options);

}  // namespace dgemma
