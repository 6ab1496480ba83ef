// The chat's loop: read a message, obey a command or ask the model, keep the conversation.
#include "chat.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "ask.h"
#include "base/try.h"
#include "embedded_model.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

}  // namespace

Result<int> RunChat(ChatStart start) {
  ::umask(077);  // what a chat writes (history, /save) is its owner's business
  DG_TRY(std::unique_ptr<Session> session, start.engine.NewSession());
  Chat chat(std::move(start), std::move(session));
  return chat.Loop();
}

Chat::Chat(ChatStart start, std::unique_ptr<Session> session)
    : start_(std::move(start)), session_(std::move(session)), editor_(start_.program.signals) {}

int Chat::Loop() {
  if (start_.program.loudness != Loudness::kQuiet) Greet();
  if (start_.first_prompt) Obey(*std::exchange(start_.first_prompt, std::nullopt));
  while (!leaving_ && !start_.program.out.failed()) {
    const auto message = ReadMessage();
    if (!message) break;
    if (!message->empty()) Obey(*message);
  }
  if (start_.program.signals.terminating()) return start_.program.signals.exit_code();
  return start_.program.out.failed() ? kExitFailure : kExitOk;
}

void Chat::Greet() {
  const std::string keys = "/help lists commands, Ctrl-C stops an answer, Ctrl-D leaves.";
  if (start_.turns_seen == TurnsSeen::kAll) {
    SayWrapped("Chat with " + start_.engine.facts().name + ". " + keys);
    return;
  }
  SayWrapped("Chat with the small embedded model. Every message starts anew, and it knows a few tasks only, such as");
  for (const std::string_view prompt : EmbeddedPrompts()) Say("  " + std::string(prompt));
  SayWrapped(keys);
}

// A line, or the lines between """ and """. Empty after Ctrl-C, nothing at the end of the input.
std::optional<std::string> Chat::ReadMessage() {
  Line line = editor_.Read(">>> ");
  if (line.end == Line::End::kEndOfInput) {
    start_.program.out.Write("\n");
    return std::nullopt;
  }
  if (line.end == Line::End::kInterrupted) {
    start_.program.out.Write("\n");
    start_.program.signals.Forget();
    return "";
  }
  if (!line.text.starts_with(kQuotes)) {
    editor_.Remember(line.text);
    return line.text;
  }
  std::string message = line.text.substr(kQuotes.size());
  while (!message.ends_with(kQuotes)) {
    line = editor_.Read("... ");
    if (line.end != Line::End::kEnter) {
      start_.program.out.Write("\n");
      start_.program.signals.Forget();
      return "";
    }
    message += (message.empty() ? "" : "\n") + line.text;
  }
  message.resize(message.size() - kQuotes.size());
  return message;
}

void Chat::Obey(const std::string& message) {
  const auto obeyed = [&]() -> Result<void> {
    if (!message.starts_with('/')) return Answer(message);
    const size_t space = message.find(' ');
    const std::string name = message.substr(0, space);
    std::string argument = space == std::string::npos ? "" : message.substr(space + 1);
    argument.erase(0, argument.find_first_not_of(' '));
    while (argument.ends_with(' ')) argument.pop_back();
    for (const ChatCommand& command : ChatCommands()) {
      if (name == command.name) return command.run(*this, argument);
    }
    return std::unexpected(
        Status{StatusCode::kInvalidArgument, Quoted(name) + ": there is no such command (/help lists them)"});
  }();
  if (obeyed) return;
  start_.program.Fail("", obeyed.error());
  start_.program.exit_code = kExitOk;  // a failed turn does not fail the chat
}

Result<void> Chat::Answer(const std::string& prompt) {
  if (prompt.find_first_not_of(" \t\n") == std::string::npos) return {};
  Request request;
  DG_TRY(request.options, Resolve(start_.settings, start_.defaults));
  request.chat = start_.turns_seen == TurnsSeen::kAll ? start_.conversation.Chat()
                                                      : Conversation{start_.conversation.system, {}}.Chat();
  request.chat.push_back({.role = "user", .text = prompt, .thought = {}});
  request.thinking = start_.thinking;
  const Question question{
      .program = start_.program, .engine = start_.engine, .session = *session_, .view = start_.view};
  auto answer = Ask(question, std::move(request));
  if (!start_.program.signals.terminating()) start_.program.signals.Forget();
  if (!answer) return std::unexpected(answer.error());
  ShowFigures(start_.program, *answer);
  start_.conversation.turns.push_back({.role = "user", .text = prompt, .thought = {}});
  start_.conversation.turns.push_back({.role = "assistant", .text = answer->text, .thought = answer->thought});
  return {};
}

Result<void> Chat::Regenerate() {
  auto& turns = start_.conversation.turns;
  if (turns.empty()) return Fail(StatusCode::kInvalidArgument, "/regen: there is no answer yet");
  const Conversation before = start_.conversation;
  const std::string prompt = turns[turns.size() - 2].text;
  turns.resize(turns.size() - 2);
  start_.settings.seed = start_.settings.seed.value_or(start_.defaults.seed) + 1;
  auto answered = Answer(prompt);
  if (!answered) start_.conversation = before;
  return answered;
}

Result<void> Chat::Undo() {
  auto& turns = start_.conversation.turns;
  if (turns.empty()) return Fail(StatusCode::kInvalidArgument, "/undo: there is nothing to undo");
  turns.resize(turns.size() - 2);
  SayTurns("the last message is taken back");
  return {};
}

void Chat::SayTurns(std::string_view what) {
  const size_t turns = start_.conversation.turns.size() / 2;
  Say(fmt::format("{} ({} {})", what, turns, turns == 1 ? "turn" : "turns"));
}

void Chat::Restart(Conversation conversation) {
  start_.conversation = std::move(conversation);
  session_->Reset();
}

}  // namespace dgemma
