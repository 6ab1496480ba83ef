// Chat completions: reading messages and tools, writing messages and chunks.
#include "server/openai_chat.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "base/try.h"
#include "server/openai_fields.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

// ---- reading ------------------------------------------------------------------------------------------------------------

Result<std::vector<FunctionCall>> ReadCalls(const Fields& message, const ServerLimits& limits) {
  std::vector<FunctionCall> calls;
  DG_TRY(const json::array* list, message.List("tool_calls", limits.tools));
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const std::string path = IndexPath(message.Path("tool_calls"), i);
    DG_TRY(const json::object* object, AsObject((*list)[i], path));
    const Fields call(*object, path);
    DG_TRY(const json::object* function, call.Object("function"));
    if (function == nullptr) return BadField(call.Path("function"), "is missing");
    const Fields fields(*function, call.Path("function"));
    FunctionCall read;
    DG_TRY(read.name, ReadToolName(fields, "name"));
    DG_TRY(const auto id, call.Text("id"));
    read.id = id.value_or("");
    DG_TRY(const auto arguments, fields.Text("arguments"));
    read.arguments_json = arguments.value_or("");
    calls.push_back(std::move(read));
  }
  return calls;
}

Result<ChatTurn> ReadMessage(const Fields& message, const ServerLimits& limits) {
  ChatTurn turn;
  DG_TRY(turn.role, message.RequiredText("role"));
  if (turn.role != "system" && turn.role != "developer" && turn.role != "user" && turn.role != "assistant" &&
      turn.role != "tool") {
    return BadField(message.Path("role"), "is not one of system, developer, user, assistant, tool");
  }
  const json::value* content = message.Any("content");
  if (content == nullptr) {
    if (turn.role != "assistant") return BadField(message.Path("content"), "is missing");
  } else if (content->is_array()) {
    DG_TRY(turn.text,
           ReadTextParts(content->get_array(), message.Path("content"), {"text", "input_text", "refusal"}, limits));
  } else {
    DG_TRY(turn.text, message.RequiredText("content"));
  }
  if (turn.role == "assistant") {
    DG_TRY(const auto thought, message.Text("reasoning_content"));
    turn.thought = thought.value_or("");
    DG_TRY(turn.tool_calls, ReadCalls(message, limits));
  }
  if (turn.role == "tool") {
    DG_TRY(const auto id, message.Text("tool_call_id"));
    DG_TRY(const auto name, message.Text("name"));
    turn.tool_call_id = id.value_or("");
    turn.tool_name = name.value_or("");
  }
  return turn;
}

Result<void> ReadTools(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const json::array* tools, body.List("tools", limits.tools));
  for (size_t i = 0; tools != nullptr && i < tools->size(); ++i) {
    const std::string path = IndexPath("tools", i);
    DG_TRY(const json::object* object, AsObject((*tools)[i], path));
    const Fields tool(*object, path);
    DG_TRY(const auto type, tool.Text("type"));
    if (type.value_or("function") != "function")
      return Fail(StatusCode::kUnsupported, tool.Path("type") + ": is not supported (only function)");
    DG_TRY(const json::object* function, tool.Object("function"));
    if (function == nullptr) return BadField(tool.Path("function"), "is missing");
    const Fields fields(*function, tool.Path("function"));
    DG_TRY(ToolDeclaration declared, ReadTool(fields, "parameters"));
    request.tools.push_back(std::move(declared));
  }
  DG_TRY(const auto parallel, body.Flag("parallel_tool_calls"));
  request.parallel_calls = parallel.value_or(true);
  return {};
}

Result<void> ReadToolChoice(const Fields& body, CompletionRequest& request) {
  const json::value* choice = body.Any("tool_choice");
  if (choice == nullptr) return {};
  if (choice->is_string()) {
    const std::string_view word = View(choice->get_string());
    if (word == "none") {
      request.tool_use = ToolUse::kNone;
    } else if (word == "required") {
      if (request.tools.empty()) return BadField("tool_choice", "demands a call, but tools is empty");
      request.tool_use = ToolUse::kRequired;
    } else if (word != "auto") {
      return BadField("tool_choice", "is not one of none, auto, required, or a function");
    }
    return {};
  }
  DG_TRY(const json::object* object, body.Object("tool_choice"));
  DG_TRY(const json::object* function, Fields(*object, "tool_choice").Object("function"));
  if (function == nullptr) return BadField("tool_choice.function", "is missing");
  DG_TRY(const std::string name, Fields(*function, "tool_choice.function").RequiredText("name"));
  return DemandTool(name, "tool_choice.function.name", request);
}

/// -1 is no limit for llama-server and LM Studio.
Result<void> ReadLimit(const Fields& body, std::string_view name, CompletionRequest& request) {
  const json::value* value = body.Any(name);
  if (value != nullptr && *value == -1) return {};
  return ReadMaxTokens(body, name, request);
}

Result<void> ReadThinking(const Fields& body, CompletionRequest& request) {
  DG_TRY(const auto effort, body.Text("reasoning_effort"));
  if (effort) request.thinking = *effort == "none" || *effort == "minimal" ? Thinking::kOff : Thinking::kOn;
  DG_TRY(const json::object* kwargs, body.Object("chat_template_kwargs"));
  if (kwargs == nullptr) return {};
  DG_TRY(const auto enabled, Fields(*kwargs, "chat_template_kwargs").Flag("enable_thinking"));
  if (enabled) request.thinking = *enabled ? Thinking::kOn : Thinking::kOff;
  return {};
}

Result<void> RefuseUnsupported(const Fields& body) {
  constexpr std::string_view kNoOrder = "the tokens of a canvas have no left-to-right probabilities";
  DG_CHECK_OK(RefuseUnlessIdle(body, "logprobs", kNoOrder));
  DG_CHECK_OK(RefuseUnlessIdle(body, "top_logprobs", kNoOrder));
  DG_CHECK_OK(RefuseUnlessIdle(body, "functions", "use tools"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "audio", "this server writes text only"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "web_search_options", "this server reaches no network"));
  DG_TRY(const json::object* format, body.Object("response_format"));
  if (format == nullptr) return {};
  DG_TRY(const std::string type, Fields(*format, "response_format").RequiredText("type"));
  if (type == "text") return {};
  return Fail(StatusCode::kUnsupported,
              "response_format.type: is not supported (only text; the model cannot be held to a schema)");
}

// ---- writing ------------------------------------------------------------------------------------------------------------

json::object CallJson(const FunctionCall& call) {
  return {
      {"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments_json}}}};
}

/// Members that every object of a completion begins with.
json::object Begin(const CompletionHead& head, std::string_view object) {
  return {{"id", head.id},
          {"object", Json(object)},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", "dgemma"}};
}

json::object ChoiceJson(int32_t index, json::object delta) {
  return {{"index", index}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
}

class ChatStream final : public WireStream {
 public:
  explicit ChatStream(const CompletionHead& head) : head_(head), calls_(static_cast<size_t>(head.request->answers())) {}

  void OnBegin(int64_t /*prompt_tokens*/) override {
    for (int32_t answer = 0; answer < head_.request->answers(); ++answer)
      Delta(answer, {{"role", "assistant"}, {"content", ""}});
  }
  void OnPrefill(int32_t answer, int64_t done, int64_t total, int64_t cached) override {
    if (!head_.request->stream_progress) return;
    json::object chunk = Chunk(ChoiceJson(answer, {}));
    chunk["prompt_progress"] = json::object{{"total", total}, {"cache", cached}, {"processed", done}};
    Send(chunk);
  }
  void OnThought(int32_t answer, std::string_view text) override { Delta(answer, {{"reasoning_content", Json(text)}}); }
  void OnText(int32_t answer, std::string_view text) override { Delta(answer, {{"content", Json(text)}}); }
  void OnToolCall(int32_t answer, const FunctionCall& call) override {
    json::object entry{{"index", calls_[static_cast<size_t>(answer)]++}};
    for (const auto& member : CallJson(call)) entry.insert(member);
    Delta(answer, {{"tool_calls", json::array{std::move(entry)}}});
  }
  void OnFrame(int32_t answer, const Frame& frame) override {
    json::object chunk = Chunk(ChoiceJson(answer, {}));
    AddFrame(frame, chunk);
    Send(chunk);
  }
  void OnAnswerEnd(int32_t answer, const EndOfAnswer& end) override {
    json::object choice = ChoiceJson(answer, {});
    choice["finish_reason"] = Json(OpenAiFinish(end.kind));
    const bool last = ++ended_ == head_.request->answers();
    // The very last chunk carries the timings; it follows in OnFinish when it has the usage too.
    if (last && !head_.request->stream_usage) {
      last_choice_ = std::move(choice);
    } else {
      Send(Chunk(std::move(choice)));
    }
  }
  void OnFinish(std::span<const EndOfAnswer> ends) override {
    json::object chunk = Begin(head_, "chat.completion.chunk");
    chunk["choices"] = head_.request->stream_usage ? json::array() : json::array{std::move(last_choice_)};
    if (head_.request->stream_usage) chunk["usage"] = OpenAiUsage(ends, head_.request->choices);
    chunk["timings"] = TimingsJson(ends, head_.request->choices);
    Send(chunk);
    out_ += SseEvent("[DONE]");
  }
  void OnFailure(const HttpError& error) override { out_ += SseEvent(ErrorJson(ApiFamily::kOpenAi, error, head_.id)); }

 private:
  json::object Chunk(json::object choice) const {
    json::object chunk = Begin(head_, "chat.completion.chunk");
    chunk["choices"] = json::array{std::move(choice)};
    if (head_.request->stream_usage) chunk["usage"] = nullptr;
    return chunk;
  }
  void Delta(int32_t answer, json::object delta) { Send(Chunk(ChoiceJson(answer, std::move(delta)))); }
  void Send(const json::object& chunk) { out_ += SseEvent(JsonLine(chunk)); }

  const CompletionHead head_;
  std::vector<int64_t> calls_;  // so far, of each answer
  json::object last_choice_;
  int32_t ended_ = 0;
};

}  // namespace

Result<void> ReadOpenAiConversation(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const json::array* messages, body.List("messages", limits.messages));
  if (messages == nullptr) return BadField("messages", "is missing");
  if (messages->empty()) return BadField("messages", "is empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    const std::string path = IndexPath("messages", i);
    DG_TRY(const json::object* message, AsObject((*messages)[i], path));
    DG_TRY(ChatTurn turn, ReadMessage(Fields(*message, path), limits));
    request.chat.push_back(std::move(turn));
  }
  DG_CHECK_OK(ReadTools(body, limits, request));
  DG_CHECK_OK(ReadToolChoice(body, request));
  return ReadThinking(body, request);
}

Result<CompletionRequest> ParseOpenAiChat(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_CHECK_OK(ReadOpenAiConversation(body, limits, request));
  DG_CHECK_OK(ReadOpenAiSampling(body, limits, request));
  DG_CHECK_OK(ReadLimit(body, "max_tokens", request));
  DG_CHECK_OK(ReadLimit(body, "max_completion_tokens", request));
  DG_CHECK_OK(RefuseUnsupported(body));
  return request;
}

std::string OpenAiChatWhole(const CompletionHead& head, const CompletionResult& result) {
  json::object whole = Begin(head, "chat.completion");
  json::array choices;
  for (const AnswerResult& answer : result.answers) {
    const std::string text = answer.Text(), thought = answer.Thought();
    json::array calls;
    for (const FunctionCall& call : answer.Calls()) calls.push_back(CallJson(call));
    json::object message{
        {"role", "assistant"}, {"content", text}, {"refusal", nullptr}, {"annotations", json::array()}};
    if (text.empty() && !calls.empty()) message["content"] = nullptr;
    if (!thought.empty()) message["reasoning_content"] = thought;
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
    choices.push_back(json::object{{"index", static_cast<int64_t>(choices.size())},
                                   {"message", std::move(message)},
                                   {"logprobs", nullptr},
                                   {"finish_reason", Json(OpenAiFinish(answer.end.kind))}});
  }
  const std::vector<EndOfAnswer> ends = EndsOf(result);
  whole["choices"] = std::move(choices);
  whole["usage"] = OpenAiUsage(ends, head.request->choices);
  whole["timings"] = TimingsJson(ends, head.request->choices);
  return JsonLine(whole);
}

std::unique_ptr<WireStream> OpenAiChatStream(const CompletionHead& head) { return std::make_unique<ChatStream>(head); }

const WireFamily& OpenAiChat() {
  static constexpr WireFamily kFamily{.errors = ApiFamily::kOpenAi,
                                      .id_prefix = "chatcmpl-",
                                      .call_prefix = "call_",
                                      .stream_type = kSseType,
                                      .ping = ": ping\n\n",
                                      .streams_frames = true,
                                      .parse = ParseOpenAiChat,
                                      .stream = OpenAiChatStream,
                                      .whole = OpenAiChatWhole};
  return kFamily;
}

}  // namespace dgemma
