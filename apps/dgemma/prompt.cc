// The rules for positionals, and gathering the prompt's text.
#include "prompt.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/try.h"
#include "files/messages.h"
#include "input.h"

namespace dgemma {
namespace {

bool Exists(const std::string& path) {
  std::error_code ignored;
  return path == "embedded" || std::filesystem::exists(path, ignored);
}

bool NamesModel(const std::string& text) {
  std::error_code ignored;
  if (std::filesystem::is_directory(text, ignored)) return true;
  const bool path =
      text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text.ends_with(".gguf");
  return path && text.find_first_of(" \t\n") == std::string::npos;
}

void DropNewline(std::string& text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
}

}  // namespace

Result<void> Decide(PromptArguments& arguments) {
  auto& positional = arguments.positional;
  if (positional.size() > 2)
    return Fail(StatusCode::kInvalidArgument, "too many arguments (quote a PROMPT of several words)");
  if (positional.size() == 2 && !arguments.model.empty()) {
    return Fail(StatusCode::kInvalidArgument,
                "--model: contradicts a MODEL argument (with it, only a PROMPT; quote one of several words)");
  }
  if (positional.size() == 2 && !Exists(positional.front()) && !NamesModel(positional.front())) {
    return Fail(
        StatusCode::kInvalidArgument,
        Quoted(positional.front()) + ": there is no such model folder or file (quote a PROMPT of several words)");
  }
  if (positional.size() == 2 || (positional.size() == 1 && arguments.model.empty() && NamesModel(positional.front()))) {
    arguments.model = positional.front();
    positional.erase(positional.begin());
  }
  if (positional.empty()) return {};
  if (arguments.prompt)
    return Fail(StatusCode::kInvalidArgument, "--prompt: contradicts a PROMPT argument (give one of them)");
  arguments.prompt = positional.front();
  positional.clear();
  return {};
}

Result<std::optional<std::string>> PromptText(const PromptArguments& arguments) {
  std::string text;
  if (arguments.prompt || arguments.file) {
    text = arguments.prompt.value_or("");
    if (text == "-") {
      DG_TRY(text, ReadStandardInput());
      DropNewline(text);
    }
    if (arguments.file) {
      DG_TRY(std::string content, ReadInputFile(*arguments.file));
      DropNewline(content);
      text += (text.empty() ? "" : "\n\n") + content;
    }
  } else if (InputIsTerminal()) {
    return std::nullopt;
  } else {
    DG_TRY(text, ReadStandardInput());
    DropNewline(text);
  }
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return Fail(StatusCode::kInvalidArgument, "prompt: is empty (give PROMPT, --prompt, --file or standard input)");
  }
  return text;
}

}  // namespace dgemma
