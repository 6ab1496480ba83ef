// Help pages are CLI11's, wrapped; `dgemma help VERB` prints what `dgemma VERB --help` prints.
#include "help.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "files/messages.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr int kMostColumns = 100;
constexpr int kFewestColumns = 40;  // narrower terminals break lines themselves
constexpr size_t kDeeper = 4;       // how far a line of one column goes on to the right of its beginning

// Where the rest of a long line begins.
size_t HangingIndent(std::string_view line, size_t columns) {
  const size_t begin = std::min(line.find_first_not_of(' '), line.size());
  const size_t gap = line.find("  ", begin);
  const size_t second = gap == std::string_view::npos ? gap : line.find_first_not_of(' ', gap);
  if (second < columns * 2 / 3) return second;
  const bool continued = begin >= columns / 4;  // CLI11 puts a description below a long flag there
  return begin == 0 || continued ? begin : begin + kDeeper;
}

// The last place at which the line may be broken: before a blank, else behind a comma, else at the next blank.
size_t BreakOf(std::string_view line, size_t indent, size_t columns) {
  const size_t blank = line.rfind(' ', columns);
  if (blank != std::string_view::npos && line.find_first_not_of(' ') < blank && blank > indent) return blank;
  const size_t comma = line.rfind(',', columns - 1);
  if (comma != std::string_view::npos && comma > indent) return comma + 1;
  return std::min(line.find(' ', columns), line.size());
}

size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({changed, row[j] + 1, row[j - 1] + 1}));
    }
  }
  return row.back();
}

std::vector<const CLI::App*> VerbsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The verb nearest to a word; empty when none is near.
std::string NearestVerb(const CLI::App& app, std::string_view word) {
  std::string nearest;
  size_t least = std::max<size_t>(2, word.size() / 3) + 1;
  for (const CLI::App* verb : VerbsOf(app)) {
    const std::string& name = verb->get_name();
    const bool begun = word.size() >= 3 && name.starts_with(word);
    const size_t distance = begun ? 0 : Distance(name, word);
    if (distance >= std::min(least, std::max(name.size(), word.size()))) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

}  // namespace

const CLI::App* FindVerb(const CLI::App& app, std::string_view name) {
  const auto verbs = VerbsOf(app);
  const auto found = std::ranges::find(verbs, name, [](const CLI::App* verb) { return verb->get_name(); });
  return found == verbs.end() ? nullptr : *found;
}

int TextColumns(const Output& output) {
  const TerminalTraits traits = DescribeTerminal(output.descriptor(), ColorWish::kNever);
  return traits.is_terminal ? std::min(SizeOf(output.descriptor()).columns, kMostColumns) : kMostColumns;
}

std::string Wrapped(std::string_view text, int columns) {
  const auto width = static_cast<size_t>(std::max(columns, kFewestColumns));
  std::string wrapped;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end));
    const size_t indent = HangingIndent(line, width);
    while (line.size() > width) {
      const size_t at = BreakOf(line, indent, width);
      const size_t rest = line.find_first_not_of(' ', at);
      if (rest == std::string::npos) break;
      wrapped += line.substr(0, line.find_last_not_of(' ', at - 1) + 1) + "\n";
      line = std::string(indent, ' ') + line.substr(rest);
    }
    wrapped += line;
    if (end < text.size()) wrapped += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return wrapped;
}

std::string HelpPage(const CLI::App& app, int columns) {
  std::string page = app.get_parent() == nullptr ? app.help() : app.help(app.get_parent()->get_name());
  // CLI11 puts a blank before the text of an option; a value that needs an equals sign must not have one.
  for (size_t at = page.find(" [="); at != std::string::npos; at = page.find(" [=", at)) {
    page.erase(at, 1);
    const size_t end = page.find("]  ", at);
    if (end < page.find('\n', at)) page.insert(end + 1, 1, ' ');
  }
  for (size_t at = page.find("\n\n\n"); at != std::string::npos; at = page.find("\n\n\n", at)) page.erase(at, 1);
  return Wrapped(page, columns);
}

std::string UnknownVerb(const CLI::App& app, const std::string& word) {
  const std::string nearest = NearestVerb(app, word);
  return fmt::format("{}: there is no such verb ({}`dgemma --help` lists them)", Quoted(word),
                     nearest.empty() ? "" : fmt::format("did you mean `{}`? ", nearest));
}

void AddHelp(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("help", "The help of a verb, as `dgemma VERB --help`; without one this list.");
  verb->footer("Examples:\n  dgemma help\n  dgemma help run");
  std::string names;
  for (const CLI::App* other : VerbsOf(app)) names += (names.empty() ? "" : ",") + other->get_name();
  auto name = std::make_shared<std::string>();
  verb->add_option("verb", *name, "a verb")->type_name("{" + names + "}")->option_text("VERB");
  verb->callback([&app, &program, name] {
    const CLI::App* page = name->empty() ? &app : FindVerb(app, *name);
    if (page != nullptr) {
      program.out.Write(HelpPage(*page, TextColumns(program.out)));
    } else {
      program.Fail("help", {StatusCode::kInvalidArgument, UnknownVerb(app, *name)});
    }
  });
}

}  // namespace dgemma
