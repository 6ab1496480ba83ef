// Ollama: reading /api/chat and /api/generate.
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <limits>

#include "base/try.h"
#include "server/completion_options.h"
#include "server/ollama.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr double kHottest = 100;
constexpr size_t kLongestModelName = 256;  // every line of a stream repeats it

/// Calls of an assistant's message. Ollama gives them no ids, so they get some, for the tool messages behind them.
Result<void> ReadCalls(const Fields& message, const ServerLimits& limits, ChatTurn& turn) {
  DG_TRY(const json::array* calls, message.List("tool_calls", limits.tools));
  for (size_t i = 0; calls != nullptr && i < calls->size(); ++i) {
    const std::string path = IndexPath(message.Path("tool_calls"), i);
    DG_TRY(const json::object* object, AsObject((*calls)[i], path));
    DG_TRY(const json::object* function, Fields(*object, path).Object("function"));
    if (function == nullptr) return BadField(path + ".function", "is missing");
    const Fields fields(*function, path + ".function");
    FunctionCall call;
    DG_TRY(call.name, ReadToolName(fields, "name"));
    DG_TRY(const json::object* arguments, fields.Object("arguments"));
    if (arguments != nullptr) call.arguments_json = json::serialize(*arguments);
    DG_TRY(const auto id, Fields(*object, path).Text("id"));
    call.id = id.value_or("");
    turn.tool_calls.push_back(std::move(call));
  }
  return {};
}

Result<ChatTurn> ReadMessage(const Fields& message, const ServerLimits& limits) {
  ChatTurn turn;
  DG_TRY(turn.role, message.RequiredText("role"));
  if (turn.role != "system" && turn.role != "user" && turn.role != "assistant" && turn.role != "tool")
    return BadField(message.Path("role"), "is not one of system, user, assistant, tool");
  DG_TRY(const auto content, message.Text("content"));
  turn.text = content.value_or("");
  DG_CHECK_OK(RefuseUnlessIdle(message, "images", "this server takes text only"));
  if (turn.role == "assistant") {
    DG_TRY(const auto thought, message.Text("thinking"));
    turn.thought = thought.value_or("");
    DG_CHECK_OK(ReadCalls(message, limits, turn));
  }
  if (turn.role == "tool") {
    DG_TRY(const auto name, message.Text("tool_name"));
    DG_TRY(const auto former_name, message.Text("name"));
    DG_TRY(const auto id, message.Text("tool_call_id"));
    turn.tool_name = name ? *name : former_name.value_or("");
    turn.tool_call_id = id.value_or("");
  }
  return turn;
}

Result<void> ReadTools(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const json::array* tools, body.List("tools", limits.tools));
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const std::string path = IndexPath("tools", i);
    DG_TRY(const json::object* object, AsObject((*tools)[i], path));
    DG_TRY(const json::object* function, Fields(*object, path).Object("function"));
    if (function == nullptr) return BadField(path + ".function", "is missing");
    const Fields fields(*function, path + ".function");
    DG_TRY(ToolDeclaration declared, ReadTool(fields, "parameters"));
    request.tools.push_back(std::move(declared));
  }
  return {};
}

/// Members that both endpoints share.
Result<void> ReadCommon(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const auto model, body.Text("model"));
  request.model = model.value_or("");
  if (request.model.size() > kLongestModelName) return BadField("model", "is longer than 256 bytes");
  DG_TRY(const auto stream, body.Flag("stream"));
  request.delivery = stream.value_or(true) ? Delivery::kStream : Delivery::kWhole;
  DG_CHECK_OK(RefuseUnlessIdle(body, "format", "the model cannot be held to a schema"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "logprobs", "the tokens of a canvas have no left-to-right probabilities"));
  const json::value* think = body.Any("think");
  if (think != nullptr) {
    if (!think->is_bool() && !think->is_string()) return BadField("think", "must be true, false or a level");
    request.thinking = *think == false ? Thinking::kOff : Thinking::kOn;
  }
  DG_CHECK_OK(ReadDiffusion(body, request));
  DG_TRY(const json::object* object, body.Object("options"));
  if (object == nullptr) return {};
  const Fields options(*object, "options");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  DG_TRY(const auto tokens, options.Integer("num_predict", -2, kMost));
  if (tokens == 0) return BadField("options.num_predict", "must not be 0");
  if (tokens.value_or(-1) > 0) request.sampling.max_tokens = tokens;
  DG_TRY(request.sampling.temperature, options.Number("temperature", 0, kHottest));
  request.sampling.temperature_unit = TemperatureUnit::kAbsolute;
  DG_TRY(request.sampling.seed, options.Seed("seed"));
  return ReadStop(options, "stop", limits, request);
}

}  // namespace

bool IsOllamaLoad(const json::object& body) {
  const json::value* messages = body.if_contains("messages");
  const json::value* prompt = body.if_contains("prompt");
  const bool no_messages = messages == nullptr || (messages->is_array() && messages->get_array().empty());
  const bool no_prompt = prompt == nullptr || (prompt->is_string() && prompt->get_string().empty());
  return no_messages && no_prompt;
}

Result<CompletionRequest> ParseOllamaChat(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_TRY(const json::array* messages, body.List("messages", limits.messages));
  if (messages == nullptr || messages->empty()) return BadField("messages", "is missing or empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    const std::string path = IndexPath("messages", i);
    DG_TRY(const json::object* message, AsObject((*messages)[i], path));
    DG_TRY(ChatTurn turn, ReadMessage(Fields(*message, path), limits));
    request.chat.push_back(std::move(turn));
  }
  DG_CHECK_OK(ReadTools(body, limits, request));
  DG_CHECK_OK(ReadCommon(body, limits, request));
  return request;
}

Result<CompletionRequest> ParseOllamaGenerate(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_TRY(std::string prompt, body.RequiredText("prompt"));
  DG_TRY(const auto raw, body.Flag("raw"));
  if (raw.value_or(false)) {
    request.prompts.emplace_back(std::move(prompt));
  } else {
    DG_TRY(const auto system, body.Text("system"));
    if (system && !system->empty()) request.chat.push_back({.role = "system", .text = *system});
    request.chat.push_back({.role = "user", .text = std::move(prompt)});
  }
  DG_CHECK_OK(RefuseUnlessIdle(body, "suffix", "no infilling"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "template", "the chat format is the model's own"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "context", "use /api/chat for conversations"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "images", "this server takes text only"));
  DG_CHECK_OK(ReadCommon(body, limits, request));
  return request;
}

}  // namespace dgemma
