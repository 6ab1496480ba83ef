// `dgemma completion SHELL`: prints a completion script made from the command line itself, so it never goes stale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "files/messages.h"
#include "verbs.h"

namespace dgemma {
namespace {

struct Flag {
  std::vector<std::string> names;    ///< with dashes
  std::vector<std::string> choices;  ///< of its value, when they are listed as {a,b,c}
  bool takes_value = false;
  std::string help;
};

struct Verb {
  std::string name;
  std::string help;
  std::vector<Flag> flags;
  std::vector<std::vector<std::string>> positionals;  ///< the choices of each; none where it is a file or free text
};

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// Those of a type "{a,b,c}".
std::vector<std::string> ChoicesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (!type.starts_with('{') || !type.ends_with('}')) return {};
  return Split(type.substr(1, type.size() - 2));
}

Flag Describe(const CLI::Option& option) {
  Flag flag;
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  flag.choices = ChoicesOf(option);
  flag.takes_value = option.get_items_expected_max() > 0;
  flag.help = FirstLine(option.get_description());
  return flag;
}

std::vector<Verb> Describe(const CLI::App& app) {
  std::vector<Verb> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    Verb described{
        .name = verb->get_name(), .help = FirstLine(verb->get_description()), .flags = {}, .positionals = {}};
    for (const CLI::Option* option : verb->get_options()) {
      if (option->nonpositional()) {
        described.flags.push_back(Describe(*option));
      } else {
        described.positionals.push_back(ChoicesOf(*option));
      }
    }
    verbs.push_back(std::move(described));
  }
  return verbs;
}

std::string Words(const std::vector<Verb>& verbs) {
  std::string words;
  for (const Verb& verb : verbs) words += (words.empty() ? "" : " ") + verb.name;
  return words;
}

// In single quotes, for all three shells.
std::string Quote(const std::string& text) {
  std::string quoted = "'";
  for (const char byte : text) quoted += byte == '\'' ? std::string("'\\''") : std::string(1, byte);
  return quoted + "'";
}

std::string Joined(const std::vector<std::string>& choices) { return fmt::format("{}", fmt::join(choices, " ")); }

std::string Bash(const std::vector<Verb>& verbs) {
  std::string choices;
  std::string places;
  std::string flags;
  for (const Verb& verb : verbs) {
    std::string names;
    for (const Flag& flag : verb.flags) {
      std::string pattern;
      for (const std::string& name : flag.names) {
        names += (names.empty() ? "" : " ") + name;
        pattern += (pattern.empty() ? "" : "|") + verb.name + ":" + name;
      }
      if (!flag.choices.empty()) choices += fmt::format("    {}) words={} ;;\n", pattern, Quote(Joined(flag.choices)));
    }
    for (size_t place = 0; place < verb.positionals.size(); ++place) {
      if (verb.positionals[place].empty()) continue;
      places += fmt::format("      {}:{}) words={} ;;\n", verb.name, place + 2, Quote(Joined(verb.positionals[place])));
    }
    flags += fmt::format("    {}) words={} ;;\n", verb.name, Quote(names));
  }
  return fmt::format(R"(# bash completion of dgemma; load it with: source <(dgemma completion bash)
_dgemma() {{
  local verb=${{COMP_WORDS[1]-}} current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '{}' -- "$current")
    return
  fi
  case $verb:$before in
{}  esac
  if [[ -z $words && $current == -* ]]; then
    case $verb in
{}    esac
  fi
  if [[ -z $words && $current != -* ]]; then
    case $verb:$COMP_CWORD in
{}    esac
  fi
  if [[ -n $words ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -o filenames -F _dgemma dgemma
)",
                     Words(verbs), choices, flags, places);
}

// Text inside the brackets and colons of zsh's _arguments.
std::string ZshText(const std::string& text) {
  std::string escaped;
  for (const char byte : text) {
    if (byte == '[' || byte == ']' || byte == ':' || byte == '\\') escaped += '\\';
    escaped += byte;
  }
  return escaped;
}

std::string Zsh(const std::vector<Verb>& verbs) {
  std::string list;
  std::string cases;
  for (const Verb& verb : verbs) {
    list += fmt::format("    {}\n", Quote(ZshText(verb.name) + ":" + verb.help));
    cases += fmt::format("    {}) _arguments", verb.name);
    for (const Flag& flag : verb.flags) {
      std::string value;
      if (!flag.choices.empty()) {
        value = fmt::format(":value:({})", Joined(flag.choices));
      } else if (flag.takes_value) {
        value = ":value:_files";
      }
      for (const std::string& name : flag.names) {
        cases += fmt::format(" \\\n      {}", Quote(fmt::format("{}[{}]{}", name, ZshText(flag.help), value)));
      }
    }
    for (size_t place = 0; place < verb.positionals.size(); ++place) {
      const auto& of = verb.positionals[place];
      cases +=
          fmt::format(" \\\n      '{}:value:{}'", place + 1, of.empty() ? "_files" : fmt::format("({})", Joined(of)));
    }
    cases += " \\\n      '*:file:_files' ;;\n";
  }
  return fmt::format(R"(#compdef dgemma
# zsh completion of dgemma; load it with: source <(dgemma completion zsh)
_dgemma() {{
  local -a verbs=(
{}  )
  if ((CURRENT == 2)); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  ((CURRENT--))
  case $verb in
{}  esac
}}
compdef _dgemma dgemma
)",
                     list, cases);
}

std::string Fish(const std::vector<Verb>& verbs) {
  std::string script = "# fish completion of dgemma; load it with: dgemma completion fish | source\n";
  for (const Verb& verb : verbs) {
    script += fmt::format("complete -c dgemma -n __fish_use_subcommand -a {} -d {}\n", verb.name, Quote(verb.help));
    for (const Flag& flag : verb.flags) {
      script += fmt::format("complete -c dgemma -n '__fish_seen_subcommand_from {}'", verb.name);
      for (const std::string& name : flag.names) {
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (flag.takes_value) script += " -r";
      if (!flag.choices.empty()) script += " -f -a " + Quote(Joined(flag.choices));
      script += " -d " + Quote(flag.help) + "\n";
    }
    for (const auto& of : verb.positionals) {
      if (of.empty()) continue;
      script +=
          fmt::format("complete -c dgemma -n '__fish_seen_subcommand_from {}' -a {}\n", verb.name, Quote(Joined(of)));
    }
  }
  return script;
}

}  // namespace

void AddCompletion(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("completion", "Prints a completion script for a shell.");
  verb->footer(
      "Examples:\n"
      "  source <(dgemma completion bash)\n"
      "  dgemma completion zsh > ~/.zfunc/_dgemma\n"
      "  dgemma completion fish > ~/.config/fish/completions/dgemma.fish");
  auto shell = std::make_shared<std::string>();
  verb->add_option("shell", *shell, "a shell")->type_name("{bash,zsh,fish}")->required();
  verb->callback([&app, &program, shell] {
    const std::vector<Verb> verbs = Describe(app);
    if (*shell == "bash") {
      program.out.Write(Bash(verbs));
    } else if (*shell == "zsh") {
      program.out.Write(Zsh(verbs));
    } else if (*shell == "fish") {
      program.out.Write(Fish(verbs));
    } else {
      program.Fail("completion",
                   {StatusCode::kInvalidArgument, Quoted(*shell) + " is no shell known here (bash, zsh, fish)"});
    }
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
