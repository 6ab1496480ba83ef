// JSON of a conversation.
#include "conversation.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "base/try.h"
#include "files/atomic_file.h"
#include "files/bytes.h"
#include "files/json.h"
#include "files/mapped_file.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr std::string_view kFormat = "dgemma-conversation";
constexpr int64_t kVersion = 1;
constexpr uint64_t kLongestFile = 16 << 20;

Result<std::string> Text(const boost::json::object& object, const char* member) {
  const boost::json::value* value = object.if_contains(member);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return Fail(StatusCode::kInvalidFile, fmt::format("{}: is no string", member));
  return std::string(value->get_string());
}

Result<ChatTurn> Turn(const boost::json::value& value, size_t index) {
  const std::string place = fmt::format("turns[{}]", index);
  if (!value.is_object()) return Fail(StatusCode::kInvalidFile, place + ": is no object");
  const char* const role = index % 2 == 0 ? "user" : "assistant";
  DG_TRY(const std::string found, At(place, Text(value.get_object(), "role")));
  if (found != role) {
    return Fail(StatusCode::kInvalidFile,
                fmt::format("{}: role is {} (expected \"{}\": turns alternate)", place, Quoted(found), role));
  }
  DG_TRY(std::string text, At(place, Text(value.get_object(), "text")));
  DG_TRY(std::string thought, At(place, Text(value.get_object(), "thought")));
  return ChatTurn{.role = role, .text = std::move(text), .thought = std::move(thought)};
}

}  // namespace

std::vector<ChatTurn> Conversation::Chat() const {
  std::vector<ChatTurn> chat;
  if (!system.empty()) chat.push_back({.role = "system", .text = system, .thought = {}});
  chat.insert(chat.end(), turns.begin(), turns.end());
  return chat;
}

std::string ConversationJson(const Conversation& conversation) {
  std::string turns;
  for (const ChatTurn& turn : conversation.turns) {
    boost::json::object object{{"role", turn.role}, {"text", turn.text}};
    if (!turn.thought.empty()) object["thought"] = turn.thought;
    turns += (turns.empty() ? "\n    " : ",\n    ") + boost::json::serialize(object);
  }
  return fmt::format("{{\n  \"format\": \"{}\",\n  \"version\": {},\n  \"system\": {},\n  \"turns\": [{}\n  ]\n}}\n",
                     kFormat, kVersion, boost::json::serialize(boost::json::string(conversation.system)), turns);
}

Result<Conversation> ParseConversation(std::string_view json) {
  DG_TRY(const boost::json::value document, ParseJson(json));
  if (!document.is_object()) return Fail(StatusCode::kInvalidFile, "is no conversation (expected an object)");
  const boost::json::object& object = document.get_object();
  DG_TRY(const std::string format, Text(object, "format"));
  if (format != kFormat) return Fail(StatusCode::kInvalidFile, fmt::format("format: is not \"{}\"", kFormat));
  const boost::json::value* version = object.if_contains("version");
  if (version == nullptr || !version->is_int64() || version->get_int64() != kVersion) {
    return Fail(StatusCode::kInvalidFile, fmt::format("version: is not {}", kVersion));
  }
  Conversation conversation;
  DG_TRY(conversation.system, Text(object, "system"));
  const boost::json::value* turns = object.if_contains("turns");
  if (turns == nullptr || !turns->is_array()) return Fail(StatusCode::kInvalidFile, "turns: is no array");
  for (const boost::json::value& turn : turns->get_array()) {
    DG_TRY(ChatTurn read, Turn(turn, conversation.turns.size()));
    conversation.turns.push_back(std::move(read));
  }
  if (conversation.turns.size() % 2 != 0)
    return Fail(StatusCode::kInvalidFile, "turns: the last question has no answer");
  return conversation;
}

Result<void> SaveConversation(const std::string& path, const Conversation& conversation) {
  return SaveFile(path, AsBytes(ConversationJson(conversation)));
}

Result<Conversation> LoadConversation(const std::string& path) {
  DG_TRY(const std::string text, ReadWholeFile(path, kLongestFile));
  return At(Quoted(path), ParseConversation(text));
}

}  // namespace dgemma
