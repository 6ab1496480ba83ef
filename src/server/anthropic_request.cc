// Messages: reading content blocks, tools and options.
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/try.h"
#include "server/anthropic.h"
#include "server/completion_options.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// A text, or text blocks.
Result<std::string> ReadText(const Fields& fields, std::string_view name, const ServerLimits& limits) {
  const json::value* value = fields.Any(name);
  if (value == nullptr) return std::string();
  if (!value->is_array()) return fields.RequiredText(name);
  return ReadTextParts(value->get_array(), fields.Path(name), {"text"}, limits);
}

/// One block of a message. `turn` collects what is the speaker's own; results of tools become turns of their own, in front.
Result<void> ReadBlock(const Fields& block, const ServerLimits& limits, ChatTurn& turn, CompletionRequest& request) {
  DG_TRY(const std::string type, block.RequiredText("type"));
  const bool assistant = turn.role == "assistant";
  if (type == "text") {
    DG_TRY(const std::string text, block.RequiredText("text"));
    turn.text += text;
    return {};
  }
  if (type == "thinking" && assistant) {
    DG_TRY(const std::string thought, block.RequiredText("thinking"));
    turn.thought += thought;
    return {};
  }
  if (type == "redacted_thinking" && assistant) return {};
  if (type == "tool_use" && assistant) {
    FunctionCall call;
    DG_TRY(call.id, block.RequiredText("id"));
    DG_TRY(call.name, ReadToolName(block, "name"));
    DG_TRY(const json::object* input, block.Object("input"));
    if (input != nullptr) call.arguments_json = json::serialize(*input);
    turn.tool_calls.push_back(std::move(call));
    return {};
  }
  if (type == "tool_result" && !assistant) {
    ChatTurn answer{.role = "tool", .text = {}};
    DG_TRY(answer.tool_call_id, block.RequiredText("tool_use_id"));
    DG_TRY(answer.text, ReadText(block, "content", limits));
    request.chat.push_back(std::move(answer));
    return {};
  }
  return Fail(StatusCode::kUnsupported,
              block.Path("type") + ": is not supported here (text, thinking, tool_use and tool_result are)");
}

Result<void> ReadMessage(const Fields& message, const ServerLimits& limits, CompletionRequest& request) {
  ChatTurn turn;
  DG_TRY(turn.role, message.RequiredText("role"));
  if (turn.role != "user" && turn.role != "assistant")
    return BadField(message.Path("role"), "is not one of user, assistant");
  const json::value* content = message.Any("content");
  if (content == nullptr) return BadField(message.Path("content"), "is missing");
  if (!content->is_array()) {
    DG_TRY(turn.text, message.RequiredText("content"));
    request.chat.push_back(std::move(turn));
    return {};
  }
  DG_TRY(const json::array* blocks, message.List("content", limits.content_parts));
  bool only_results = !blocks->empty();
  for (size_t i = 0; i < blocks->size(); ++i) {
    const std::string path = IndexPath(message.Path("content"), i);
    DG_TRY(const json::object* block, AsObject((*blocks)[i], path));
    const size_t before = request.chat.size();
    DG_CHECK_OK(ReadBlock(Fields(*block, path), limits, turn, request));
    only_results = only_results && request.chat.size() > before;
  }
  if (!only_results) request.chat.push_back(std::move(turn));
  return {};
}

Result<void> ReadTools(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const json::array* tools, body.List("tools", limits.tools));
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const std::string path = IndexPath("tools", i);
    DG_TRY(const json::object* object, AsObject((*tools)[i], path));
    const Fields tool(*object, path);
    DG_TRY(const auto type, tool.Text("type"));
    if (type.value_or("custom") != "custom")
      return Fail(StatusCode::kUnsupported, tool.Path("type") + ": is not supported (only tools of the client)");
    DG_TRY(ToolDeclaration declared, ReadTool(tool, "input_schema"));
    request.tools.push_back(std::move(declared));
  }
  return {};
}

Result<void> ReadToolChoice(const Fields& body, CompletionRequest& request) {
  DG_TRY(const json::object* object, body.Object("tool_choice"));
  if (object == nullptr) return {};
  const Fields choice(*object, "tool_choice");
  DG_TRY(const std::string type, choice.RequiredText("type"));
  DG_TRY(const auto one_call, choice.Flag("disable_parallel_tool_use"));
  request.parallel_calls = !one_call.value_or(false);
  if (type == "none") {
    request.tool_use = ToolUse::kNone;
  } else if (type == "any") {
    if (request.tools.empty()) return BadField("tool_choice", "demands a call, but tools is empty");
    request.tool_use = ToolUse::kRequired;
  } else if (type == "tool") {
    DG_TRY(const std::string name, choice.RequiredText("name"));
    return DemandTool(name, "tool_choice.name", request);
  } else if (type != "auto") {
    return BadField("tool_choice.type", "is not one of auto, any, tool, none");
  }
  return {};
}

}  // namespace

Result<CompletionRequest> ParseAnthropicCount(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_TRY(const auto model, body.Text("model"));
  request.model = model.value_or("");
  DG_TRY(std::string system, ReadText(body, "system", limits));
  if (!system.empty()) request.chat.push_back({.role = "system", .text = std::move(system)});
  DG_TRY(const json::array* messages, body.List("messages", limits.messages));
  if (messages == nullptr) return BadField("messages", "is missing");
  if (messages->empty()) return BadField("messages", "is empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    const std::string path = IndexPath("messages", i);
    DG_TRY(const json::object* message, AsObject((*messages)[i], path));
    DG_CHECK_OK(ReadMessage(Fields(*message, path), limits, request));
  }
  if (request.chat.back().role == "assistant") {
    return Fail(StatusCode::kUnsupported,
                "messages: the last one is the assistant's (continuing an answer is not supported)");
  }
  DG_CHECK_OK(ReadTools(body, limits, request));
  DG_CHECK_OK(ReadToolChoice(body, request));
  DG_TRY(const json::object* thinking, body.Object("thinking"));
  if (thinking != nullptr) {
    const auto type = Fields(*thinking, "thinking").RequiredText("type");
    if (!type) return std::unexpected(type.error());
    request.thinking = *type == "disabled" ? Thinking::kOff : Thinking::kOn;
  }
  return request;
}

Result<CompletionRequest> ParseAnthropic(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  DG_TRY(CompletionRequest request, ParseAnthropicCount(object, limits));
  DG_CHECK_OK(ReadMaxTokens(body, "max_tokens", request));
  if (!request.sampling.max_tokens) return BadField("max_tokens", "is missing");
  DG_CHECK_OK(ReadStop(body, "stop_sequences", limits, request));
  DG_TRY(request.sampling.temperature, body.Number("temperature", 0, 1));
  DG_TRY([[maybe_unused]] const auto top_p, body.Number("top_p", 0, 1));  // have no meaning on a canvas
  DG_TRY([[maybe_unused]] const auto top_k, body.Integer("top_k", 0, 1 << 30));
  DG_TRY(request.sampling.seed, body.Seed("seed"));
  DG_TRY(const auto stream, body.Flag("stream"));
  request.delivery = stream.value_or(false) ? Delivery::kStream : Delivery::kWhole;
  DG_CHECK_OK(ReadDiffusion(body, request));
  return request;
}

}  // namespace dgemma
