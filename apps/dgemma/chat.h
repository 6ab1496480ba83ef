// The interactive chat of `dgemma run`: a conversation on one session, commands that begin with a slash, line editing.
// Its loop and state are here and in chat.cc, its commands in chat_commands.cc.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "answer_view.h"
#include "conversation.h"
#include "dgemma/dgemma.h"
#include "help.h"
#include "line_editor.h"
#include "program.h"
#include "settings.h"

namespace dgemma {

/// What the model sees of the conversation besides the message it answers and the system text. The embedded model knows
/// single prompts only.
enum class TurnsSeen { kAll, kNone };

/// Everything a chat starts with.
struct ChatStart {
  Program& program;
  Engine& engine;
  GenerateOptions defaults;
  Settings settings;
  ViewOptions view;
  Conversation conversation;
  Thinking thinking = Thinking::kOff;
  TurnsSeen turns_seen = TurnsSeen::kAll;
  std::optional<std::string> first_prompt{};
};

/// Chats until /bye, Ctrl-D or SIGTERM. Returns the exit code; fails only when no session can be made.
Result<int> RunChat(ChatStart start);

class Chat;

/// One command. `run` says what it did on standard error itself; its failure is shown and the chat goes on.
struct ChatCommand {
  const char* name;      ///< with the slash
  const char* argument;  ///< as help shows it
  const char* help;
  Result<void> (*run)(Chat& chat, const std::string& argument);
};

std::span<const ChatCommand> ChatCommands();

class Chat {
 public:
  Chat(ChatStart start, std::unique_ptr<Session> session);

  /// Reads and obeys until the end.
  int Loop();

  // What commands do their work with.
  void Say(std::string_view line) { start_.program.err.Write(std::string(line) + "\n"); }
  /// As Say, broken to fit the terminal.
  void SayWrapped(std::string_view text) { Say(Wrapped(text, TextColumns(start_.program.err))); }
  Result<void> Answer(const std::string& prompt);
  Result<void> Regenerate();
  Result<void> Undo();
  /// Says something about the conversation, and how long that is now.
  void SayTurns(std::string_view what);
  void Restart(Conversation conversation);
  void Leave() { leaving_ = true; }
  ChatStart& start() { return start_; }

 private:
  void Greet();
  std::optional<std::string> ReadMessage();
  void Obey(const std::string& message);

  ChatStart start_;
  std::unique_ptr<Session> session_;
  LineEditor editor_;
  bool leaving_ = false;
};

}  // namespace dgemma
