// The chat format: messages and tools to the text (or the token ids) of a prompt, written out in C++ instead of a
// template language. Follows the released template including its quirks (docs of the format: tests/text/chat_test.cc
// has every form). Reading a model's answer is in answer.h.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dgemma/status.h"
#include "text/tokenizer.h"

namespace dgemma {

/// Who speaks. kDeveloper means the same as kSystem in the first message.
enum class Role { kSystem, kDeveloper, kUser, kAssistant, kTool };

/// Role by its name in requests: "system", "developer", "user", "assistant", "tool".
Result<Role> ParseRole(std::string_view name);

/// One part of a message's content. Images, audio and video are placeholders here; the engine expands them.
struct ContentPart {
  enum class Kind { kText, kImage, kAudio, kVideo };
  Kind kind = Kind::kText;
  std::string text{};  ///< for kText
};

/// Nothing (null), a text, or a list of parts.
using Content = std::variant<std::monostate, std::string, std::vector<ContentPart>>;

/// A call the assistant made. Arguments are a JSON object or null.
struct ToolCall {
  std::string id{};  ///< may be empty
  std::string name;
  boost::json::value arguments;
};

/// A tool's answer stored with the assistant message that called it.
struct ToolResponse {
  std::string name;  ///< may be empty
  boost::json::value response;
};

/// One message of a conversation.
struct Message {
  Role role = Role::kUser;
  Content content{};
  std::string reasoning{};                     ///< assistant: its thought; empty when there is none
  std::vector<ToolCall> tool_calls{};          ///< assistant
  std::vector<ToolResponse> tool_responses{};  ///< assistant: answers in place of tool messages
  std::string tool_call_id{};                  ///< tool: which call this answers
  std::string name{};                          ///< tool: name of the tool, used when no call has the id
};

/// A tool the model may call. `parameters` is a JSON schema (an object) or null.
struct Tool {
  std::string name;
  std::string description;
  boost::json::value parameters;
  std::optional<boost::json::value> response;  ///< schema of the answer, an object
};

struct ChatOptions {
  bool enable_thinking = false;
  bool preserve_thinking = false;     ///< keep thoughts of earlier turns that called tools
  bool add_generation_prompt = true;  ///< end with the opening of the assistant's turn
  bool legacy_empty_thought = false;  ///< the template at release put an empty thought there when thinking is off
};

/// A stretch of the prompt: markup of the format, or content that came from outside.
struct ChatPiece {
  enum class Kind { kMarkup, kContent };
  Kind kind = Kind::kMarkup;
  std::string text;
};

/// Bound on nesting of JSON in arguments, responses and schemas.
inline constexpr int kMaxChatJsonDepth = 64;

/// The prompt in pieces, neighbours differing in kind. kInvalidArgument for a message that the format cannot express
/// (the message names the field), kResourceExhausted for JSON nested too deep. Linear time, up to sorting of keys.
Result<std::vector<ChatPiece>> FormatChatPieces(std::span<const Message> messages, std::span<const Tool> tools,
                                                const ChatOptions& options);

/// The prompt as one text, as the template renders it: control-token text in content is not escaped. For display and
/// comparison; EncodeChat(FormatChatPieces(...)) is what makes a safe prompt.
Result<std::string> FormatChat(std::span<const Message> messages, std::span<const Tool> tools,
                               const ChatOptions& options);

/// Ids of a prompt. Control tokens are recognised in markup only, so content cannot open or close a turn; otherwise the
/// same ids as encoding the concatenated text.
std::vector<int32_t> EncodeChat(const Tokenizer& tokenizer, std::span<const ChatPiece> pieces);

}  // namespace dgemma
