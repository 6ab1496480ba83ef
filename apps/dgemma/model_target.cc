// Names of files, and whether they exist; nothing is opened.
#include "model_target.h"

#include <fmt/format.h>
#include <filesystem>

#include "base/try.h"

namespace dgemma {

Result<void> CheckNotSource(const std::string& out, const std::string& in) {
  std::error_code ignored;
  if (in.empty() || !std::filesystem::equivalent(out, in, ignored)) return {};
  return Fail(StatusCode::kInvalidArgument, out + ": is the model that is read; give another OUT");
}

Result<void> CheckModelTarget(const std::string& out, const std::string& in, bool force) {
  std::error_code ignored;
  if (!std::filesystem::exists(out, ignored)) return {};
  DG_CHECK_OK(CheckNotSource(out, in));
  if (!std::filesystem::is_directory(out, ignored)) {
    return Fail(StatusCode::kInvalidArgument, out + ": is a file, not a folder");
  }
  const auto holds = [&](const char* file) {
    return std::filesystem::exists(std::filesystem::path(out) / file, ignored);
  };
  if (holds("model.safetensors.index.json")) {
    return Fail(StatusCode::kInvalidArgument,
                out + ": holds a model in several files, which would stay beside the new one; give another OUT");
  }
  for (const char* file : {"model.safetensors", "config.json", "tokenizer.json"}) {
    if (force || !holds(file)) continue;
    return Fail(StatusCode::kInvalidArgument,
                fmt::format("{}: holds a model already ({}; --force replaces it)", out, file));
  }
  return {};
}

}  // namespace dgemma
