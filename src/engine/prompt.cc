// From a request's conversation to prompt ids: public turns and tools become messages of the chat format.
#include <fmt/format.h>

#include "base/try.h"
#include "engine/answering.h"
#include "engine/engine_impl.h"
#include "files/json.h"
#include "files/messages.h"

namespace dgemma {
namespace {

/// An object as JSON text; null when the text is empty. The error says `field`, not the text.
Result<boost::json::value> ParseObject(const std::string& text, const std::string& field) {
  if (text.empty()) return boost::json::value();
  auto value = ParseJson(text, {.depth = kMaxChatJsonDepth});
  if (!value || !value->is_object()) return Fail(StatusCode::kInvalidArgument, field + ": not a JSON object");
  return value;
}

Result<Message> MessageOf(const ChatTurn& turn, const std::string& field) {
  Message message;
  auto role = ParseRole(turn.role);
  if (!role) return std::unexpected(role.error().At(field));
  message.role = *role;
  message.content = turn.text;
  message.reasoning = turn.thought;
  message.tool_call_id = turn.tool_call_id;
  message.name = turn.tool_name;
  for (size_t i = 0; i < turn.tool_calls.size(); ++i) {
    const FunctionCall& call = turn.tool_calls[i];
    ToolCall written{.id = call.id, .name = call.name, .arguments = {}};
    DG_TRY(written.arguments, ParseObject(call.arguments_json, fmt::format("{}.tool_calls[{}].arguments", field, i)));
    message.tool_calls.push_back(std::move(written));
  }
  return message;
}

}  // namespace

Result<std::vector<int32_t>> TokensOfPrompt(const Request& request, const Tokenizer& tokenizer) {
  if (request.chat.empty() == request.prompt_tokens.empty()) {
    return Fail(StatusCode::kInvalidArgument, "request: give either a conversation or prompt tokens");
  }
  if (request.chat.empty()) return request.prompt_tokens;
  std::vector<Message> messages;
  for (size_t i = 0; i < request.chat.size(); ++i) {
    DG_TRY(Message message, MessageOf(request.chat[i], fmt::format("messages[{}]", i)));
    messages.push_back(std::move(message));
  }
  std::vector<Tool> tools;
  for (size_t i = 0; i < request.tools.size(); ++i) {
    const ToolDeclaration& tool = request.tools[i];
    Tool written{.name = tool.name, .description = tool.description, .parameters = {}, .response = {}};
    DG_TRY(written.parameters, ParseObject(tool.parameters_json, fmt::format("tools[{}].parameters", i)));
    tools.push_back(std::move(written));
  }
  ChatOptions options;
  options.enable_thinking = request.thinking == Thinking::kOn;
  DG_TRY(const std::vector<ChatPiece> pieces, FormatChatPieces(messages, tools, options));
  return EncodeChat(tokenizer, pieces);
}

Result<std::vector<int32_t>> EngineImpl::PromptTokens(const Request& request) const {
  return TokensOfPrompt(request, *tokenizer_);
}

}  // namespace dgemma
