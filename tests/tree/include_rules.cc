// The table of folders behind include_rules.h. A new folder of src/ is added here, with what it may include.
#include "include_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace dgemma::tree {
namespace {

/// A folder of src/ and the folders that it may include besides itself.
struct Folder {
  std::string_view name;
  std::string_view may_include;  ///< names with a space on both sides
};

// apps > server, train > engine > diffusion, text > model > kernels, vision > tensor > files > base; text is below
// model.
constexpr auto kFolders = std::to_array<Folder>({
    {"base", " "},
    {"files", " base "},
    {"tensor", " base files "},
    {"kernels", " base files tensor "},
    {"vision", " base files tensor kernels "},
    {"model", " base files tensor kernels vision "},
    {"diffusion", " base files tensor kernels vision model "},
    {"text", " base files "},
    {"engine", " base files tensor kernels vision model diffusion text "},
    {"server", " base files tensor kernels vision model diffusion text engine "},
    {"train", " base files tensor kernels vision model diffusion text engine "},
});

/// Public headers that every folder may include; the others are the engine's face and belong to it and to those above.
constexpr auto kPublicForAll = std::to_array<std::string_view>({"dgemma/status.h", "dgemma/export.h"});

const Folder* Find(std::string_view name) {
  const auto found = std::ranges::find(kFolders, name, &Folder::name);
  return found == kFolders.end() ? nullptr : &*found;
}

/// First component of a path, "" when it has no folder.
std::string_view Head(std::string_view path) {
  const size_t slash = path.find('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

/// The second component of a path such as "src/files/json.h".
std::string_view Second(std::string_view path) { return Head(path.substr(Head(path).size() + 1)); }

bool May(const Folder& folder, std::string_view other) {
  return folder.name == other || folder.may_include.find(fmt::format(" {} ", other)) != std::string_view::npos;
}

/// A header of one backend; the seam kernels/kernels.h is not one.
bool NamesBackend(std::string_view included) {
  return included.starts_with("kernels/cpu/") || included.starts_with("kernels/ref/") ||
         included.starts_with("kernels/cuda/");
}

std::optional<std::string> ErrorInSource(std::string_view folder_name, std::string_view included, bool quoted) {
  const Folder* folder = Find(folder_name);
  if (folder == nullptr) return fmt::format("src/{} is not a folder of the design", folder_name);
  const std::string_view head = Head(included);
  if (head == "dgemma") {
    if (std::ranges::find(kPublicForAll, included) != kPublicForAll.end()) return std::nullopt;
    if (folder_name == "engine" || May(*folder, "engine")) return std::nullopt;
    return fmt::format("{} may not include {} (the engine's face; only engine and those above it may)", folder_name,
                       included);
  }
  if (head == "embedded") return std::nullopt;  // written by cmake/embed.cmake
  if (Find(head) == nullptr) {
    // Highway's own habit is quotes.
    if (!quoted || head == "hwy") return std::nullopt;
    return fmt::format("\"{}\" is not written relative to src/", included);
  }
  if (!May(*folder, head)) return fmt::format("{} may not include {} ({})", folder_name, head, included);
  if (NamesBackend(included) && folder_name != "engine" && folder_name != "kernels") {
    return fmt::format("{} names a concrete backend ({}); only engine may", folder_name, included);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> IncludeError(std::string_view path, std::string_view included, bool quoted) {
  if (included.ends_with(".cc") || included.ends_with(".cpp") || included.ends_with(".cu")) {
    return fmt::format("includes the source file {}", included);
  }
  if (included.find("..") != std::string_view::npos) return fmt::format("climbs out of its folder: {}", included);
  const std::string_view top = Head(path);
  if (top == "src") return ErrorInSource(Second(path), included, quoted);
  if (top == "include" && Head(included) != "dgemma" && (quoted || Find(Head(included)) != nullptr)) {
    return fmt::format("a public header may include only dgemma/ and the standard library, not {}", included);
  }
  if (top == "apps" && NamesBackend(included)) {
    return fmt::format("apps names a concrete backend ({}); only engine may", included);
  }
  if (top == "examples" && (quoted || Find(Head(included)) != nullptr) && Head(included) != "dgemma") {
    return fmt::format("an example may include only the public headers, not {}", included);
  }
  return std::nullopt;
}

}  // namespace dgemma::tree
