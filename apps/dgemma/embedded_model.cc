// The bridge from embedded bytes to the engine.
#include "embedded_model.h"

#include <array>

#include "embedded/model.h"
#include "files/bytes.h"

namespace dgemma {

std::vector<MemoryFile> EmbeddedModelFiles() {
  std::vector<MemoryFile> files;
  for (const EmbeddedFile& file : ModelFiles()) files.push_back({.name = file.name, .bytes = file.bytes});
  return files;
}

std::string_view EmbeddedText(std::string_view file_name) {
  const EmbeddedFile* file = FindEmbedded(ModelFiles(), file_name);
  return file == nullptr ? std::string_view() : AsText(file->bytes);
}

std::span<const std::string_view> EmbeddedPrompts() {
  static constexpr std::array<std::string_view, 8> kPrompts = {"upper cat",
                                                               "spell bird",
                                                               "reverse cat",
                                                               "sort 50 14 33",
                                                               "add 123 456",
                                                               "count 1 to 5",
                                                               "json name=ada age=36 city=rome",
                                                               "sudoku 3241 4132 ..14 1.2."};
  return kPrompts;
}

Result<std::unique_ptr<Engine>> LoadEmbedded(const EngineOptions& options) {
  return Engine::FromMemory("embedded", EmbeddedModelFiles(), options);
}

}  // namespace dgemma
