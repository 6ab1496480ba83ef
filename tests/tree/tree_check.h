// Rules on the source tree that no compiler checks: direction of includes, length, opening comments, stray text.
// Pure functions of (path, text) except CheckTree, which walks a folder. Called by tree_check's main and by its own
// test.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dgemma::tree {

/// One broken rule. `line` counts from 1; 0 means the whole file.
struct Violation {
  std::string file;  ///< relative to the root of the tree, with '/'
  int line = 0;
  std::string rule;    ///< short name, such as "include-direction"
  std::string detail;  ///< what is wrong, for a person

  bool operator==(const Violation&) const = default;
};

/// No file of sources or scripts may be longer.
inline constexpr int kMaxLines = 800;

/// Checks one file. `path` is relative to the root ("src/files/json.h") and decides which rules hold.
std::vector<Violation> CheckFile(std::string_view path, std::string_view text);

/// True when CheckFile has rules for the path: sources, scripts, CMake files and pages in the folders that are ours.
bool IsChecked(std::string_view path);

/// Checks every file below `root` for which IsChecked holds, in the order of paths.
std::vector<Violation> CheckTree(const std::filesystem::path& root);

/// How many files CheckTree looked at; a walk that finds hardly anything is itself an error of the caller.
int CountChecked(const std::filesystem::path& root);

/// "file:line: rule: detail", as editors and people read it.
std::string Format(const Violation& violation);

}  // namespace dgemma::tree
