// A conversation as the chat keeps it, and its file form: JSON, written whole or not at all, checked when read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dgemma/dgemma.h"

namespace dgemma {

/// Turns alternate: user, assistant, user, ... The system text stands before all of them.
struct Conversation {
  std::string system;
  std::vector<ChatTurn> turns;

  /// As a request wants it.
  std::vector<ChatTurn> Chat() const;
};

/// {"format":"dgemma-conversation","version":1,"system":...,"turns":[{"role","text","thought"}]}, indented by lines.
std::string ConversationJson(const Conversation& conversation);

/// The reverse. Errors name the member and the rule: unknown format or version, turns that do not alternate.
Result<Conversation> ParseConversation(std::string_view json);

/// To and from a file. Saving replaces the file as a whole.
Result<void> SaveConversation(const std::string& path, const Conversation& conversation);
Result<Conversation> LoadConversation(const std::string& path);

}  // namespace dgemma
