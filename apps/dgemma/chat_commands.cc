// The commands of the chat, one row each.
#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/try.h"
#include "chat.h"
#include "embedded_model.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

using Done = Result<void>;

Status Missing(const char* what) { return {StatusCode::kInvalidArgument, what}; }

Done Help(Chat& chat, const std::string& topic) {
  if (topic == "set") {
    for (const Setting& setting : AllSettings()) {
      chat.SayWrapped(fmt::format("  {:<22}  {}", fmt::format("{} {}", NameOf(setting), setting.value), setting.help));
    }
    return {};
  }
  for (const ChatCommand& command : ChatCommands()) {
    chat.SayWrapped(fmt::format("  {:<28}  {}", fmt::format("{} {}", command.name, command.argument), command.help));
  }
  chat.SayWrapped("  \"\"\"                           begins and ends a message of several lines");
  return {};
}

Done SetOne(Chat& chat, const std::string& argument) {
  const size_t space = argument.find_first_of(" =");
  if (space == std::string::npos)
    return std::unexpected(Missing("/set: needs a NAME and a VALUE (/help set lists the names)"));
  const std::string name = argument.substr(0, space);
  const std::string value = argument.substr(space + 1);
  Settings changed = chat.start().settings;
  DG_CHECK_OK(Set(changed, name, value));
  DG_CHECK_OK(Resolve(changed, chat.start().defaults));
  chat.start().settings = changed;
  for (const Setting& setting : AllSettings()) {
    if (NameOf(setting) == name) chat.Say(fmt::format("{} is {}", name, setting.get(changed).value_or(value)));
  }
  return {};
}

Done SetNamed(Chat& chat, const char* name, const std::string& value) {
  if (value.empty()) return std::unexpected(Missing("a value is missing"));
  return SetOne(chat, fmt::format("{} {}", name, value));
}

Done ShowState(Chat& chat, const std::string&) {
  const ChatStart& start = chat.start();
  const ModelFacts& facts = start.engine.facts();
  DG_TRY(const GenerateOptions options, Resolve(start.settings, start.defaults));
  chat.Say(fmt::format("  model      {} ({:.1f} M parameters, {}, {})", facts.name,
                       static_cast<double>(facts.parameters) / 1e6, facts.dtype, facts.backend));
  chat.Say(fmt::format("  context    {} tokens, canvas {}", facts.context_tokens, facts.canvas_tokens));
  chat.SayWrapped(fmt::format(
      "  sampling   steps {}, entropy-bound {}, t-max {}, t-min {}, stability {}, confidence {}, max-tokens {}",
      options.steps, options.entropy_bound, options.t_max, options.t_min, options.stability, options.confidence,
      options.max_new_tokens));
  chat.Say(fmt::format("  seed {}, view {}, thinking {}", options.seed, Name(start.view.view),
                       start.thinking == Thinking::kOn ? "on" : "off"));
  chat.Say(fmt::format("  system     {}",
                       start.conversation.system.empty() ? "(none)" : PrintableText(start.conversation.system)));
  chat.Say(fmt::format("  turns      {}", start.conversation.turns.size() / 2));
  return {};
}

Done Clear(Chat& chat, const std::string&) {
  chat.Restart({.system = chat.start().conversation.system, .turns = {}});
  chat.Say("conversation cleared");
  return {};
}

Done Save(Chat& chat, const std::string& path) {
  if (path.empty()) return std::unexpected(Missing("/save: needs a FILE"));
  DG_CHECK_OK(SaveConversation(path, chat.start().conversation));
  chat.SayTurns("saved to " + PrintableText(path));
  return {};
}

Done Load(Chat& chat, const std::string& path) {
  if (path.empty()) return std::unexpected(Missing("/load: needs a FILE"));
  DG_TRY(Conversation loaded, LoadConversation(path));
  chat.Restart(std::move(loaded));
  for (const ChatTurn& turn : chat.start().conversation.turns) {
    chat.Say(fmt::format("{}{}", turn.role == "user" ? ">>> " : "", PrintableText(turn.text)));
  }
  return {};
}

Done SetView(Chat& chat, const std::string& name) {
  DG_TRY(chat.start().view.view, ParseView(name));
  chat.Say(fmt::format("view is {}", Name(chat.start().view.view)));
  return {};
}

Done SetSystem(Chat& chat, const std::string& text) {
  chat.start().conversation.system = text;
  chat.Say(text.empty() ? "no system text" : "system text is set");
  if (!text.empty() && chat.start().turns_seen == TurnsSeen::kNone) chat.SayWrapped(kOnlyPrompts);
  return {};
}

Done SetThinking(Chat& chat, Thinking thinking) {
  const bool on = thinking == Thinking::kOn;
  chat.start().thinking = thinking;
  chat.Say(on ? "thinking is on" : "thinking is off");
  return {};
}

Done Leave(Chat& chat, const std::string&) {
  chat.Leave();
  return {};
}

constexpr std::array kCommands = {
    ChatCommand{"/help", "[set]", "this list; with `set` the names that /set knows", Help},
    ChatCommand{"/set", "NAME VALUE", "changes a setting, such as /set entropy-bound 0.2", SetOne},
    ChatCommand{"/show", "", "model, settings and system text", ShowState},
    ChatCommand{"/clear", "", "forgets the conversation", Clear},
    ChatCommand{"/save", "FILE", "writes the conversation to a file", Save},
    ChatCommand{"/load", "FILE", "goes on with a saved conversation", Load},
    ChatCommand{"/regen", "", "answers the last message again with the next seed",
                [](Chat& chat, const std::string&) { return chat.Regenerate(); }},
    ChatCommand{"/undo", "", "takes the last message and its answer back",
                [](Chat& chat, const std::string&) { return chat.Undo(); }},
    ChatCommand{"/seed", "N|random", "sets the seed",
                [](Chat& chat, const std::string& v) { return SetNamed(chat, "seed", v); }},
    ChatCommand{"/steps", "N", "sets the steps a canvas",
                [](Chat& chat, const std::string& v) { return SetNamed(chat, "steps", v); }},
    ChatCommand{"/view", "auto|canvas|plain|heat", "how answers are shown", SetView},
    ChatCommand{"/system", "[TEXT]", "sets the instructions; without a text removes them", SetSystem},
    ChatCommand{"/think", "", "lets the model think first",
                [](Chat& chat, const std::string&) { return SetThinking(chat, Thinking::kOn); }},
    ChatCommand{"/nothink", "", "answers without thinking",
                [](Chat& chat, const std::string&) { return SetThinking(chat, Thinking::kOff); }},
    ChatCommand{"/bye", "", "leaves (so does Ctrl-D)", Leave},
    ChatCommand{"/?", "", "the same as /help", Help},
    ChatCommand{"/exit", "", "the same as /bye", Leave},
    ChatCommand{"/quit", "", "the same as /bye", Leave},
};

}  // namespace

std::span<const ChatCommand> ChatCommands() { return kCommands; }

}  // namespace dgemma
