// Messages: writing content blocks whole and as events. Reading is in anthropic_request.cc.
#include "server/anthropic.h"

#include <boost/json/array.hpp>

#include "files/json.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// Thoughts are not signed here; clients want the member and send it back.
constexpr const char* kSignature = "dgemma";

std::string_view StopReasonName(EndKind kind) {
  switch (kind) {
    case EndKind::kTurn:
      return "end_turn";
    case EndKind::kStopString:
      return "stop_sequence";
    case EndKind::kToolCalls:
      return "tool_use";
    case EndKind::kLength:
    case EndKind::kContext:
    case EndKind::kTimeout:
      break;
  }
  return "max_tokens";
}

json::value StopSequence(const EndOfAnswer& end) {
  return end.kind == EndKind::kStopString ? json::value(end.stop_string) : json::value();
}

/// Input tokens count without cached ones.
json::object UsageJson(int64_t input, int64_t cached, int64_t output) {
  return {{"input_tokens", input - cached},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached},
          {"output_tokens", output},
          {"service_tier", "standard"}};
}

json::object UsageJson(const EndOfAnswer& end) {
  const Figures& figures = end.figures;
  return UsageJson(figures.prompt_tokens, figures.cached_tokens, figures.answer_tokens);
}

json::object ThinkingBlock(std::string_view text, std::string_view signature) {
  return {{"type", "thinking"}, {"thinking", Json(text)}, {"signature", Json(signature)}};
}

json::object TextBlock(std::string_view text) {
  return {{"type", "text"}, {"text", Json(text)}, {"citations", nullptr}};
}

json::object ToolUseBlock(const FunctionCall& call, json::value input) {
  return {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", std::move(input)}};
}

/// The model's arguments were made by our own serialiser; an object in any case.
json::value InputOf(const FunctionCall& call) {
  auto input = ParseJson(call.arguments_json);
  return input && input->is_object() ? *std::move(input) : json::value(json::object());
}

json::object MessageJson(const CompletionHead& head, json::array content) {
  return {{"id", head.id},
          {"type", "message"},
          {"role", "assistant"},
          {"model", head.model},
          {"content", std::move(content)},
          {"stop_reason", nullptr},
          {"stop_sequence", nullptr}};
}

class MessageEvents final : public WireStream {
 public:
  explicit MessageEvents(const CompletionHead& head) : head_(head) {}

  void OnBegin(int64_t prompt_tokens) override {
    json::object message = MessageJson(head_, {});
    message["usage"] = UsageJson(prompt_tokens, 0, 0);
    Send("message_start", {{"message", std::move(message)}});
    Send("ping", {});
  }
  void OnThought(int32_t /*answer*/, std::string_view text) override {
    Open(Block::kThinking, ThinkingBlock("", ""));
    Delta({{"type", "thinking_delta"}, {"thinking", Json(text)}});
  }
  void OnText(int32_t /*answer*/, std::string_view text) override {
    Open(Block::kText, TextBlock(""));
    Delta({{"type", "text_delta"}, {"text", Json(text)}});
  }
  void OnToolCall(int32_t /*answer*/, const FunctionCall& call) override {
    Close();
    Open(Block::kToolUse, ToolUseBlock(call, json::object()));
    Delta({{"type", "input_json_delta"}, {"partial_json", call.arguments_json}});
    Close();
  }
  void OnAnswerEnd(int32_t /*answer*/, const EndOfAnswer& end) override {
    Close();
    Send("message_delta",
         {{"delta", {{"stop_reason", Json(StopReasonName(end.kind))}, {"stop_sequence", StopSequence(end)}}},
          {"usage", UsageJson(end)},
          {"timings", TimingsJson(std::span(&end, 1), 1)}});
  }
  void OnFinish(std::span<const EndOfAnswer> /*ends*/) override { Send("message_stop", {}); }
  void OnFailure(const HttpError& error) override {
    out_ += SseEvent(ErrorJson(ApiFamily::kAnthropic, error, head_.id), "error");
  }

 private:
  enum class Block : uint8_t { kNone, kThinking, kText, kToolUse };

  void Send(std::string_view type, json::object members) {
    json::object event{{"type", Json(type)}};
    for (const auto& member : members) event.insert(member);
    out_ += SseEvent(JsonLine(event), type);
  }
  void Open(Block block, json::object content) {
    if (block_ == block) return;
    Close();
    block_ = block;
    Send("content_block_start", {{"index", index_}, {"content_block", std::move(content)}});
  }
  void Delta(json::object delta) { Send("content_block_delta", {{"index", index_}, {"delta", std::move(delta)}}); }
  void Close() {
    if (block_ == Block::kNone) return;
    if (block_ == Block::kThinking) Delta({{"type", "signature_delta"}, {"signature", kSignature}});
    Send("content_block_stop", {{"index", index_}});
    block_ = Block::kNone;
    ++index_;
  }

  const CompletionHead head_;
  Block block_ = Block::kNone;
  int64_t index_ = 0;
};

}  // namespace

std::string AnthropicWhole(const CompletionHead& head, const CompletionResult& result) {
  const AnswerResult& answer = result.answers.front();
  json::array content;
  for (const AnswerSegment& segment : answer.segments) {
    if (const auto* thought = std::get_if<ThoughtSegment>(&segment)) {
      content.push_back(ThinkingBlock(thought->text, kSignature));
    } else if (const auto* text = std::get_if<TextSegment>(&segment)) {
      content.push_back(TextBlock(text->text));
    } else {
      const FunctionCall& call = std::get<FunctionCall>(segment);
      content.push_back(ToolUseBlock(call, InputOf(call)));
    }
  }
  json::object message = MessageJson(head, std::move(content));
  message["stop_reason"] = Json(StopReasonName(answer.end.kind));
  message["stop_sequence"] = StopSequence(answer.end);
  message["usage"] = UsageJson(answer.end);
  message["timings"] = TimingsJson(std::span(&answer.end, 1), 1);
  return JsonLine(message);
}

std::unique_ptr<WireStream> AnthropicStream(const CompletionHead& head) {
  return std::make_unique<MessageEvents>(head);
}

const WireFamily& Anthropic() {
  static constexpr WireFamily kFamily{.errors = ApiFamily::kAnthropic,
                                      .id_prefix = "msg_",
                                      .call_prefix = "toolu_",
                                      .stream_type = kSseType,
                                      .ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                                      .streams_frames = false,
                                      .parse = ParseAnthropic,
                                      .stream = AnthropicStream,
                                      .whole = AnthropicWhole};
  return kFamily;
}

}  // namespace dgemma
