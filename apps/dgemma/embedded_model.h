// The small model that is part of the program (models/tasks), loaded from memory without touching a disk.
// Its bytes are put in by cmake/embed.cmake.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {

/// Files of the embedded model; their bytes live as long as the program.
std::vector<MemoryFile> EmbeddedModelFiles();

/// One of them by name ("tokenizer.json"), or empty.
std::string_view EmbeddedText(std::string_view file_name);

/// A prompt that the embedded model answers right, one for each kind of task it knows well; models/tasks/README.md
/// has the answers.
std::span<const std::string_view> EmbeddedPrompts();

/// What is said when it is given more than a prompt.
constexpr std::string_view kOnlyPrompts =
    "the embedded model was trained on single prompts only: with a system text its answers are wrong or empty";

/// Loads it. Its facts say the name "embedded".
Result<std::unique_ptr<Engine>> LoadEmbedded(const EngineOptions& options);

}  // namespace dgemma
