// Names of the files, and the order in which they are written: the largest first, for it is the one that may not fit.
#include "model/model_folder.h"

#include <string_view>
#include <utility>

#include "base/try.h"
#include "files/atomic_file.h"
#include "files/bytes.h"
#include "files/messages.h"
#include "files/new_folder.h"
#include "files/safetensors_writer.h"
#include "model/quantized_names.h"

namespace dgemma {

Result<std::string> TextOrNothing(const CheckpointFiles& files, const char* name) {
  auto text = files.Text(name);
  if (!text && text.error().code == StatusCode::kNotFound) return std::string();
  return text;
}

Result<ModelTexts> ReadTexts(const CheckpointFiles& files) {
  ModelTexts texts;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"}) {
    DG_TRY(std::string text, TextOrNothing(files, name));
    if (!text.empty() && name == std::string_view("config.json")) {
      DG_TRY(text, At(name, WithoutQuantMethod(std::move(text))));
    }
    if (!text.empty()) texts.emplace(name, std::move(text));
  }
  return texts;
}

Result<void> WriteModelFiles(const std::filesystem::path& folder, std::vector<TensorToWrite> tensors,
                             const ModelTexts& texts, const ModelMetadata& metadata) {
  DG_CHECK_OK(WriteSafetensors(folder / "model.safetensors", std::move(tensors), metadata));
  for (const auto& [name, text] : texts) DG_CHECK_OK(SaveFile(folder / name, AsBytes(text)));
  return {};
}

Result<void> SaveModelFolder(const std::filesystem::path& target, std::vector<TensorToWrite> tensors,
                             const ModelTexts& texts, const ModelMetadata& metadata) {
  return SaveNewFolder(target, [&](const std::filesystem::path& folder) {
    return WriteModelFiles(folder, std::move(tensors), texts, metadata);
  });
}

}  // namespace dgemma
