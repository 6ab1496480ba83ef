// Responses: writing items whole and as events. Reading is in openai_responses_request.cc.
#include "server/openai_responses.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "server/openai_fields.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::string ItemId(std::string_view prefix, const CompletionHead& head, size_t index) {
  const std::string_view unique = std::string_view(head.id).substr(std::string_view("resp_").size());
  return fmt::format("{}{}_{}", prefix, unique, index);
}

json::object TextPart(std::string_view text) {
  return {{"type", "output_text"}, {"text", Json(text)}, {"annotations", json::array()}, {"logprobs", json::array()}};
}

json::object ThoughtPart(std::string_view text) { return {{"type", "reasoning_text"}, {"text", Json(text)}}; }

/// An output item; `parts` are its contents so far.
json::object MessageItem(const std::string& id, std::string_view status, json::array parts) {
  return {
      {"id", id}, {"type", "message"}, {"status", Json(status)}, {"role", "assistant"}, {"content", std::move(parts)}};
}

json::object ThoughtItem(const std::string& id, std::string_view status, json::array parts) {
  return {{"id", id},
          {"type", "reasoning"},
          {"summary", json::array()},
          {"content", std::move(parts)},
          {"encrypted_content", nullptr},
          {"status", Json(status)}};
}

json::object CallItem(const std::string& id, std::string_view status, const FunctionCall& call,
                      std::string_view arguments) {
  return {{"id", id},           {"type", "function_call"}, {"status", Json(status)}, {"arguments", Json(arguments)},
          {"call_id", call.id}, {"name", call.name}};
}

std::string IdOf(const AnswerSegment& segment, const CompletionHead& head, size_t index) {
  if (std::holds_alternative<ThoughtSegment>(segment)) return ItemId("rs_", head, index);
  return ItemId(std::holds_alternative<TextSegment>(segment) ? "msg_" : "fc_", head, index);
}

json::object ItemOf(const AnswerSegment& segment, const CompletionHead& head, size_t index, std::string_view status) {
  const std::string id = IdOf(segment, head, index);
  if (const auto* thought = std::get_if<ThoughtSegment>(&segment))
    return ThoughtItem(id, status, {ThoughtPart(thought->text)});
  if (const auto* text = std::get_if<TextSegment>(&segment)) return MessageItem(id, status, {TextPart(text->text)});
  const FunctionCall& call = std::get<FunctionCall>(segment);
  return CallItem(id, status, call, call.arguments_json);
}

/// The response object before anything has been written.
json::object Blank(const CompletionHead& head) {
  json::object response{{"id", head.id},
                        {"object", "response"},
                        {"created_at", head.created},
                        {"status", "in_progress"},
                        {"background", false},
                        {"completed_at", nullptr},
                        {"error", nullptr},
                        {"incomplete_details", nullptr},
                        {"model", head.model},
                        {"output", json::array()},
                        {"previous_response_id", nullptr},
                        {"prompt_cache_key", nullptr},
                        {"safety_identifier", nullptr},
                        {"service_tier", "default"},
                        {"store", false},
                        {"top_logprobs", 0},
                        {"truncation", "disabled"},
                        {"usage", nullptr},
                        {"user", nullptr}};
  for (const auto& member : head.request->repeated) response[member.key()] = member.value();
  return response;
}

/// Fills in how it ended.
void Close(const CompletionHead& head, const EndOfAnswer& end, json::object& response) {
  const bool whole = OpenAiFinish(end.kind) != "length";
  const Usage usage = UsageOf(std::span(&end, 1), 1);
  response["status"] = whole ? "completed" : "incomplete";
  if (whole) {
    response["completed_at"] = head.created + static_cast<int64_t>(end.figures.total_seconds);
  } else {
    response["incomplete_details"] = json::object{{"reason", "max_output_tokens"}};
  }
  response["usage"] =
      json::object{{"input_tokens", usage.prompt_tokens},
                   {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"cache_write_tokens", 0}}},
                   {"output_tokens", usage.answer_tokens},
                   {"output_tokens_details", {{"reasoning_tokens", usage.thought_tokens}}},
                   {"total_tokens", usage.prompt_tokens + usage.answer_tokens}};
  response["timings"] = TimingsJson(std::span(&end, 1), 1);
}

class ResponseEvents final : public WireStream {
 public:
  explicit ResponseEvents(const CompletionHead& head) : head_(head) {}

  void OnBegin(int64_t /*prompt_tokens*/) override {
    Send("response.created", {{"response", Blank(head_)}});
    Send("response.in_progress", {{"response", Blank(head_)}});
  }
  void OnThought(int32_t /*answer*/, std::string_view text) override {
    Open<ThoughtSegment>();
    std::get<ThoughtSegment>(segments_.back()).text += text;
    Send("response.reasoning_text.delta", Place({{"content_index", 0}, {"delta", Json(text)}}));
  }
  void OnText(int32_t /*answer*/, std::string_view text) override {
    Open<TextSegment>();
    std::get<TextSegment>(segments_.back()).text += text;
    Send("response.output_text.delta",
         Place({{"content_index", 0}, {"delta", Json(text)}, {"logprobs", json::array()}}));
  }
  void OnToolCall(int32_t /*answer*/, const FunctionCall& call) override {
    CloseItem();
    segments_.emplace_back(call);
    open_ = true;
    Send("response.output_item.added", {{"output_index", Index()}, {"item", CallItem(Id(), "in_progress", call, "")}});
    Send("response.function_call_arguments.delta", Place({{"delta", call.arguments_json}}));
    CloseItem();
  }
  void OnAnswerEnd(int32_t /*answer*/, const EndOfAnswer& /*end*/) override { CloseItem(); }
  void OnFinish(std::span<const EndOfAnswer> ends) override {
    json::object response = Blank(head_);
    response["output"] = output_;
    Close(head_, ends.front(), response);
    const bool whole = response["status"] == "completed";
    Send(whole ? "response.completed" : "response.incomplete", {{"response", std::move(response)}});
  }
  void OnFailure(const HttpError& error) override {
    json::object response = Blank(head_);
    response["output"] = output_;
    response["status"] = "failed";
    response["error"] = json::object{{"code", error.status == 429 ? "rate_limit_exceeded" : "server_error"},
                                     {"message", error.message}};
    Send("response.failed", {{"response", std::move(response)}});
  }

 private:
  int64_t Index() const { return std::ssize(segments_) - 1; }
  std::string Id() const { return IdOf(segments_.back(), head_, segments_.size() - 1); }
  json::object Item(std::string_view status) const {
    return ItemOf(segments_.back(), head_, segments_.size() - 1, status);
  }
  /// Members that name the item at hand, then these.
  json::object Place(json::object members) const {
    json::object placed{{"item_id", Id()}, {"output_index", Index()}};
    for (const auto& member : members) placed.insert(member);
    return placed;
  }
  void Send(std::string_view type, json::object members) {
    json::object event{{"type", Json(type)}, {"sequence_number", sequence_++}};
    for (const auto& member : members) event.insert(member);
    out_ += SseEvent(JsonLine(event), type);
  }

  /// Makes a thought or a text the open item.
  template <typename Segment>
  void Open() {
    if (open_ && std::holds_alternative<Segment>(segments_.back())) return;
    CloseItem();
    segments_.emplace_back(Segment{});
    open_ = true;
    json::object item = Item("in_progress");
    item["content"] = json::array();
    Send("response.output_item.added", {{"output_index", Index()}, {"item", std::move(item)}});
    Send("response.content_part.added",
         Place({{"content_index", 0}, {"part", Item("in_progress").at("content").at(0)}}));
  }
  void CloseItem() {
    if (!open_) return;
    open_ = false;
    json::object item = Item("completed");
    if (const auto* call = std::get_if<FunctionCall>(&segments_.back())) {
      Send("response.function_call_arguments.done", Place({{"arguments", call->arguments_json}, {"name", call->name}}));
    } else {
      const json::value& part = item.at("content").at(0);
      if (std::holds_alternative<TextSegment>(segments_.back())) {
        Send("response.output_text.done",
             Place({{"content_index", 0}, {"text", part.at("text")}, {"logprobs", json::array()}}));
      } else {
        Send("response.reasoning_text.done", Place({{"content_index", 0}, {"text", part.at("text")}}));
      }
      Send("response.content_part.done", Place({{"content_index", 0}, {"part", part}}));
    }
    Send("response.output_item.done", {{"output_index", Index()}, {"item", item}});
    output_.push_back(std::move(item));
  }

  const CompletionHead head_;
  int64_t sequence_ = 0;
  std::vector<AnswerSegment> segments_;  // the last one is open when open_
  bool open_ = false;
  json::array output_;
};

}  // namespace

std::string OpenAiResponseWhole(const CompletionHead& head, const CompletionResult& result) {
  const AnswerResult& answer = result.answers.front();
  json::object response = Blank(head);
  json::array output;
  for (size_t i = 0; i < answer.segments.size(); ++i)
    output.push_back(ItemOf(answer.segments[i], head, i, "completed"));
  response["output"] = std::move(output);
  Close(head, answer.end, response);
  return JsonLine(response);
}

std::unique_ptr<WireStream> OpenAiResponseStream(const CompletionHead& head) {
  return std::make_unique<ResponseEvents>(head);
}

const WireFamily& OpenAiResponses() {
  static constexpr WireFamily kFamily{.errors = ApiFamily::kOpenAi,
                                      .id_prefix = "resp_",
                                      .call_prefix = "call_",
                                      .stream_type = kSseType,
                                      .ping = ": ping\n\n",
                                      .streams_frames = false,
                                      .parse = ParseOpenAiResponse,
                                      .stream = OpenAiResponseStream,
                                      .whole = OpenAiResponseWhole};
  return kFamily;
}

}  // namespace dgemma
