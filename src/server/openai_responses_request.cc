// Responses: reading input items and options.
#include <boost/json/array.hpp>

#include "base/try.h"
#include "server/openai_fields.h"
#include "server/openai_responses.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr size_t kMostRepeated = 64 << 10;  // bytes of a member; a stream repeats the request three times

/// The assistant's turn at the end of the conversation, made when there is none: its thought, text and calls come as separate
/// items.
ChatTurn& AssistantTurn(CompletionRequest& request) {
  if (request.chat.empty() || request.chat.back().role != "assistant")
    request.chat.push_back({.role = "assistant", .text = {}});
  return request.chat.back();
}

/// A text, or parts of such types.
Result<std::string> ReadText(const Fields& item, std::string_view name, const ServerLimits& limits) {
  const json::value* content = item.Any(name);
  if (content != nullptr && content->is_array())
    return ReadTextParts(content->get_array(), item.Path(name),
                         {"input_text", "output_text", "text", "refusal", "reasoning_text", "summary_text"}, limits);
  return item.RequiredText(name);
}

Result<void> ReadMessageItem(const Fields& item, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const std::string role, item.RequiredText("role"));
  DG_TRY(std::string text, ReadText(item, "content", limits));
  if (role == "assistant") {
    AssistantTurn(request).text += text;
    return {};
  }
  if (role != "user" && role != "system" && role != "developer")
    return BadField(item.Path("role"), "is not one of user, assistant, system, developer");
  request.chat.push_back({.role = role, .text = std::move(text)});
  return {};
}

Result<void> ReadItem(const Fields& item, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const auto given_type, item.Text("type"));
  const std::string type = given_type.value_or("message");
  if (type == "message") return ReadMessageItem(item, limits, request);
  if (type == "reasoning") {
    if (item.Any("content") == nullptr) return {};
    DG_TRY(const std::string thought, ReadText(item, "content", limits));
    AssistantTurn(request).thought += thought;
    return {};
  }
  if (type == "function_call") {
    FunctionCall call;
    DG_TRY(call.name, ReadToolName(item, "name"));
    DG_TRY(call.arguments_json, item.RequiredText("arguments"));
    DG_TRY(call.id, item.RequiredText("call_id"));
    AssistantTurn(request).tool_calls.push_back(std::move(call));
    return {};
  }
  if (type == "function_call_output") {
    DG_TRY(std::string output, ReadText(item, "output", limits));
    DG_TRY(std::string id, item.RequiredText("call_id"));
    request.chat.push_back({.role = "tool", .text = std::move(output), .tool_call_id = std::move(id)});
    return {};
  }
  return Fail(
      StatusCode::kUnsupported,
      item.Path("type") + ": is not supported (only message, reasoning, function_call and function_call_output)");
}

Result<void> ReadInput(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const auto instructions, body.Text("instructions"));
  if (instructions) request.chat.push_back({.role = "system", .text = *instructions});
  const json::value* input = body.Any("input");
  if (input == nullptr) return BadField("input", "is missing");
  if (input->is_string()) {
    request.chat.push_back({.role = "user", .text = std::string(View(input->get_string()))});
    return {};
  }
  if (!input->is_array()) return BadField("input", "must be a string or a list of items");
  DG_TRY(const json::array* items, body.List("input", limits.messages));
  if (items->empty()) return BadField("input", "is empty");
  for (size_t i = 0; i < items->size(); ++i) {
    const std::string path = IndexPath("input", i);
    DG_TRY(const json::object* item, AsObject((*items)[i], path));
    DG_CHECK_OK(ReadItem(Fields(*item, path), limits, request));
  }
  return {};
}

Result<void> ReadTools(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const json::array* tools, body.List("tools", limits.tools));
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const std::string path = IndexPath("tools", i);
    DG_TRY(const json::object* object, AsObject((*tools)[i], path));
    const Fields tool(*object, path);
    DG_TRY(const std::string type, tool.RequiredText("type"));
    if (type != "function")
      return Fail(StatusCode::kUnsupported, tool.Path("type") + ": is not supported (only function)");
    DG_TRY(ToolDeclaration declared, ReadTool(tool, "parameters"));
    request.tools.push_back(std::move(declared));
  }
  DG_TRY(const auto parallel, body.Flag("parallel_tool_calls"));
  request.parallel_calls = parallel.value_or(true);
  return {};
}

Result<void> ReadToolChoice(const Fields& body, CompletionRequest& request) {
  const json::value* choice = body.Any("tool_choice");
  if (choice == nullptr || *choice == "auto") return {};
  if (*choice == "none") {
    request.tool_use = ToolUse::kNone;
    return {};
  }
  if (*choice == "required") {
    if (request.tools.empty()) return BadField("tool_choice", "demands a call, but tools is empty");
    request.tool_use = ToolUse::kRequired;
    return {};
  }
  if (!choice->is_object()) return BadField("tool_choice", "is not one of none, auto, required, or a function");
  DG_TRY(const std::string name, Fields(choice->get_object(), "tool_choice").RequiredText("name"));
  return DemandTool(name, "tool_choice.name", request);
}

/// What the answer repeats of the request, with the values that hold when a member is absent. Long members are left out.
json::object Repeated(const json::object& body) {
  json::object repeated{{"instructions", nullptr},
                        {"max_output_tokens", nullptr},
                        {"max_tool_calls", nullptr},
                        {"metadata", json::object()},
                        {"parallel_tool_calls", true},
                        {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                        {"temperature", 1},
                        {"text", {{"format", {{"type", "text"}}}}},
                        {"tool_choice", "auto"},
                        {"tools", json::array()},
                        {"top_p", 1}};
  for (auto& member : repeated) {
    const json::value* given = body.if_contains(member.key());
    if (given != nullptr && !given->is_null() && JsonLine(*given).size() <= kMostRepeated) member.value() = *given;
  }
  return repeated;
}

Result<void> RefuseUnsupported(const Fields& body) {
  constexpr std::string_view kNoMemory = "this server keeps nothing between requests; send the whole input";
  DG_CHECK_OK(RefuseUnlessIdle(body, "previous_response_id", kNoMemory));
  DG_CHECK_OK(RefuseUnlessIdle(body, "conversation", kNoMemory));
  DG_CHECK_OK(RefuseUnlessIdle(body, "background", kNoMemory));
  DG_CHECK_OK(RefuseUnlessIdle(body, "prompt", "no stored prompts"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "top_logprobs", "the tokens of a canvas have no left-to-right probabilities"));
  DG_TRY(const json::object* text, body.Object("text"));
  if (text == nullptr) return {};
  DG_TRY(const json::object* format, Fields(*text, "text").Object("format"));
  if (format == nullptr) return {};
  DG_TRY(const std::string type, Fields(*format, "text.format").RequiredText("type"));
  if (type == "text") return {};
  return Fail(StatusCode::kUnsupported,
              "text.format.type: is not supported (only text; the model cannot be held to a schema)");
}

}  // namespace

Result<CompletionRequest> ParseOpenAiResponse(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_CHECK_OK(ReadInput(body, limits, request));
  DG_CHECK_OK(ReadTools(body, limits, request));
  DG_CHECK_OK(ReadToolChoice(body, request));
  DG_CHECK_OK(RefuseUnsupported(body));
  DG_CHECK_OK(ReadMaxTokens(body, "max_output_tokens", request));
  DG_TRY(const auto model, body.Text("model"));
  request.model = model.value_or("");
  DG_TRY(request.sampling.temperature, body.Number("temperature", 0, 2));
  DG_TRY([[maybe_unused]] const auto top_p, body.Number("top_p", 0, 1));  // has no meaning on a canvas
  DG_TRY(request.sampling.seed, body.Seed("seed"));
  DG_TRY(const auto stream, body.Flag("stream"));
  request.delivery = stream.value_or(false) ? Delivery::kStream : Delivery::kWhole;
  DG_TRY(const json::object* reasoning, body.Object("reasoning"));
  if (reasoning != nullptr) {
    DG_TRY(const auto effort, Fields(*reasoning, "reasoning").Text("effort"));
    if (effort && *effort != "none" && *effort != "minimal") request.thinking = Thinking::kOn;
  }
  DG_CHECK_OK(ReadDiffusion(body, request));
  request.repeated = Repeated(object);
  return request;
}

}  // namespace dgemma
