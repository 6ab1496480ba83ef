// The rules of tree_check.h, line by line. Words and paths it looks for are spelled in halves, for it checks itself.
#include "tree_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>

#include "include_rules.h"

namespace dgemma::tree {
namespace {

namespace fs = std::filesystem;

constexpr auto kTopFolders = std::to_array<std::string_view>(
    {".ci", "apps", "bench", "cmake", "docs", "examples", "fuzz", "include", "script", "src", "tests", "web"});
constexpr auto kOpenWords =
    std::to_array<std::string_view>({"TO"
                                     "DO",
                                     "FIX"
                                     "ME",
                                     "XX"
                                     "X"});
/// First folders of absolute paths that exist only on somebody's machine.
constexpr auto kMachineRoots = std::to_array<std::string_view>({"home", "root", "work", "Users"});

enum class Kind { kNone, kCode, kScript, kPage };

Kind KindOf(std::string_view path) {
  const size_t slash = path.find('/');
  const std::string_view top = path.substr(0, slash);
  if (slash == std::string_view::npos) {
    if (path == "CMakeLists.txt") return Kind::kScript;
    return path.ends_with(".md") ? Kind::kPage : Kind::kNone;
  }
  if (std::ranges::find(kTopFolders, top) == kTopFolders.end()) return Kind::kNone;
  for (const std::string_view part : {"/data/", "/build/", "/dist/", "/node_modules/"}) {
    if (path.find(part) != std::string_view::npos) return Kind::kNone;
  }
  for (const std::string_view ending : {".h", ".cc", ".cpp", ".cu", ".cuh"}) {
    if (path.ends_with(ending)) return Kind::kCode;
  }
  if (path.ends_with(".md")) return Kind::kPage;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  const bool script = path.ends_with(".sh") || path.ends_with(".cmake") || name == "CMakeLists.txt" ||
                      ((top == "script" || top == ".ci") && name.find('.') == std::string_view::npos);
  return script ? Kind::kScript : Kind::kNone;
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

bool IsWordCharacter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Whether `word` stands alone in the line: neither end touches a letter, a digit or '_'.
bool HasWord(std::string_view line, std::string_view word) {
  for (size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !IsWordCharacter(line[at - 1])) && (end == line.size() || !IsWordCharacter(line[end]))) return true;
  }
  return false;
}

/// The first absolute path of somebody's machine in the line, "" when there is none.
std::string MachinePath(std::string_view line) {
  for (const std::string_view root : kMachineRoots) {
    const std::string path = fmt::format("/{}/", root);
    for (size_t at = line.find(path); at != std::string_view::npos; at = line.find(path, at + 1)) {
      const bool starts = at == 0 || (!IsWordCharacter(line[at - 1]) &&
                                      std::string_view("./}*$~-").find(line[at - 1]) == std::string_view::npos);
      if (starts) return path;
    }
  }
  return "";
}

struct Include {
  std::string_view name;
  bool quoted = false;
};

/// The name in an #include line; nothing for other lines.
std::optional<Include> ParseInclude(std::string_view line) {
  const auto skip_blanks = [&line] {
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  };
  skip_blanks();
  if (!line.starts_with('#')) return std::nullopt;
  line.remove_prefix(1);
  skip_blanks();
  if (!line.starts_with("include")) return std::nullopt;
  line.remove_prefix(std::string_view("include").size());
  skip_blanks();
  if (line.empty() || (line.front() != '"' && line.front() != '<')) return std::nullopt;
  const bool quoted = line.front() == '"';
  line.remove_prefix(1);
  return Include{line.substr(0, line.find(quoted ? '"' : '>')), quoted};
}

bool OpensWithComment(Kind kind, const std::vector<std::string_view>& lines) {
  if (lines.empty()) return false;
  if (kind == Kind::kCode) return lines[0].starts_with("//") || lines[0].starts_with("/*");
  const size_t first = lines[0].starts_with("#!") ? 1 : 0;
  return lines.size() > first && lines[first].starts_with("#");
}

/// Collects the violations of one file.
class Checker {
 public:
  explicit Checker(std::string_view path) : path_(path), kind_(KindOf(path)) {}

  std::vector<Violation> Run(std::string_view text) {
    if (kind_ == Kind::kNone) return {};
    const std::vector<std::string_view> lines = Lines(text);
    if (kind_ != Kind::kPage) CheckWhole(text, lines);
    for (size_t i = 0; i < lines.size(); ++i) CheckLine(static_cast<int>(i) + 1, lines[i]);
    return std::move(found_);
  }

 private:
  void Add(int line, std::string_view rule, std::string detail) {
    found_.push_back({std::string(path_), line, std::string(rule), std::move(detail)});
  }

  void CheckWhole(std::string_view text, const std::vector<std::string_view>& lines) {
    // A folder's CMakeLists.txt is a list of its files and says so itself.
    if (!path_.ends_with("CMakeLists.txt") && !OpensWithComment(kind_, lines))
      Add(1, "opening-comment", "does not open with a comment on what it holds");
    if (std::ssize(lines) > kMaxLines) {
      Add(kMaxLines + 1, "length", fmt::format("{} lines; at most {}", lines.size(), kMaxLines));
    }
    if (!text.empty() && !text.ends_with('\n')) {
      Add(static_cast<int>(lines.size()), "whitespace", "the last line does not end");
    }
  }

  void CheckLine(int number, std::string_view line) {
    const std::string machine = MachinePath(line);
    if (!machine.empty()) Add(number, "machine-path", fmt::format("a path of one machine: {}", machine));
    if (kind_ == Kind::kPage) return;
    if (line.find('\t') != std::string_view::npos) Add(number, "whitespace", "a tab");
    if (line.ends_with(' ') || line.ends_with('\r')) Add(number, "whitespace", "blanks or CR at the end");
    for (const std::string_view word : kOpenWords) {
      if (HasWord(line, word)) Add(number, "open-work", fmt::format("the word {}", word));
    }
    if (kind_ != Kind::kCode) return;
    if (const std::optional<Include> include = ParseInclude(line)) {
      if (const std::optional<std::string> error = IncludeError(path_, include->name, include->quoted)) {
        Add(number, "include-direction", *error);
      }
    }
  }

  std::string_view path_;
  Kind kind_;
  std::vector<Violation> found_;
};

/// Paths below root that are checked, relative, sorted.
std::vector<std::string> CheckedPaths(const fs::path& root) {
  std::vector<std::string> paths;
  const auto take = [&](const fs::path& file) {
    std::string path = file.lexically_relative(root).generic_string();
    if (IsChecked(path)) paths.push_back(std::move(path));
  };
  for (const fs::directory_entry& entry : fs::directory_iterator(root)) {
    if (entry.is_regular_file()) take(entry.path());
  }
  for (const std::string_view top : kTopFolders) {
    if (!fs::is_directory(root / top)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / top)) {
      if (entry.is_regular_file()) take(entry.path());
    }
  }
  std::ranges::sort(paths);
  return paths;
}

}  // namespace

bool IsChecked(std::string_view path) { return KindOf(path) != Kind::kNone; }

std::vector<Violation> CheckFile(std::string_view path, std::string_view text) { return Checker(path).Run(text); }

std::vector<Violation> CheckTree(const fs::path& root) {
  std::vector<Violation> all;
  for (const std::string& path : CheckedPaths(root)) {
    std::ifstream file(root / path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::ranges::move(CheckFile(path, text), std::back_inserter(all));
  }
  return all;
}

int CountChecked(const fs::path& root) { return static_cast<int>(CheckedPaths(root).size()); }

std::string Format(const Violation& violation) {
  return fmt::format("{}:{}: {}: {}", violation.file, violation.line, violation.rule, violation.detail);
}

}  // namespace dgemma::tree
