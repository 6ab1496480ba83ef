// Ollama: answers as lines of JSON. Requests are read in ollama_request.cc, facts written in ollama_facts.cc.
#include "server/ollama.h"

#include <boost/json/array.hpp>

#include "files/json.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

std::string_view DoneReason(EndKind kind) {
  switch (kind) {
    case EndKind::kTurn:
    case EndKind::kStopString:
    case EndKind::kToolCalls:
      return "stop";
    case EndKind::kLength:
    case EndKind::kContext:
    case EndKind::kTimeout:
      break;
  }
  return "length";
}

/// Which of the two endpoints: they differ in where texts stand.
enum class Endpoint : uint8_t { kChat, kGenerate };

json::object Begin(const CompletionHead& head) {
  return {{"model", head.request->model.empty() ? head.model : head.request->model},
          {"created_at", UtcTime(head.created * 1'000'000)}};
}

json::object CallJson(const FunctionCall& call, int64_t index) {
  auto arguments = ParseJson(call.arguments_json);
  return {{"id", call.id},
          {"function",
           {{"index", index},
            {"name", call.name},
            {"arguments", arguments && arguments->is_object() ? *std::move(arguments) : json::value(json::object())}}}};
}

/// A line with these texts.
json::object Line(const CompletionHead& head, Endpoint endpoint, std::string_view text, std::string_view thought,
                  json::array calls) {
  json::object line = Begin(head);
  json::object part{{endpoint == Endpoint::kChat ? "content" : "response", Json(text)}};
  if (!thought.empty()) part["thinking"] = Json(thought);
  if (!calls.empty()) part["tool_calls"] = std::move(calls);
  if (endpoint == Endpoint::kChat) {
    json::object message{{"role", "assistant"}};
    for (const auto& member : part) message.insert(member);
    line["message"] = std::move(message);
  } else {
    for (const auto& member : part) line.insert(member);
  }
  line["done"] = false;
  return line;
}

void Close(const EndOfAnswer& end, json::object& line) {
  const Figures& figures = end.figures;
  const auto nanoseconds = [](double seconds) { return static_cast<int64_t>(seconds * 1e9); };
  line["done"] = true;
  line["done_reason"] = Json(DoneReason(end.kind));
  line["total_duration"] = nanoseconds(figures.total_seconds);
  line["load_duration"] = 0;
  line["prompt_eval_count"] = figures.prompt_tokens;
  line["prompt_eval_duration"] = nanoseconds(figures.prefill_seconds);
  line["eval_count"] = figures.answer_tokens;
  line["eval_duration"] = nanoseconds(figures.total_seconds - figures.prefill_seconds);
  line["timings"] = TimingsJson(std::span(&end, 1), 1);
}

class Lines final : public WireStream {
 public:
  Lines(const CompletionHead& head, Endpoint endpoint) : head_(head), endpoint_(endpoint) {}

  void OnBegin(int64_t /*prompt_tokens*/) override {}
  void OnThought(int32_t /*answer*/, std::string_view text) override { Send(Line(head_, endpoint_, "", text, {})); }
  void OnText(int32_t /*answer*/, std::string_view text) override { Send(Line(head_, endpoint_, text, "", {})); }
  void OnToolCall(int32_t /*answer*/, const FunctionCall& call) override {
    Send(Line(head_, endpoint_, "", "", {CallJson(call, calls_++)}));
  }
  void OnFrame(int32_t /*answer*/, const Frame& frame) override {
    json::object line = Line(head_, endpoint_, "", "", {});
    AddFrame(frame, line);
    Send(line);
  }
  void OnAnswerEnd(int32_t /*answer*/, const EndOfAnswer& end) override {
    json::object line = Line(head_, endpoint_, "", "", {});
    Close(end, line);
    Send(line);
  }
  void OnFinish(std::span<const EndOfAnswer> /*ends*/) override {}
  void OnFailure(const HttpError& error) override {
    out_ += NdjsonLine(ErrorJson(ApiFamily::kOllama, error, head_.id));
  }

 private:
  void Send(const json::object& line) { out_ += NdjsonLine(JsonLine(line)); }

  const CompletionHead head_;
  const Endpoint endpoint_;
  int64_t calls_ = 0;
};

template <Endpoint endpoint>
std::string Whole(const CompletionHead& head, const CompletionResult& result) {
  const AnswerResult& answer = result.answers.front();
  json::array calls;
  for (const FunctionCall& call : answer.Calls()) calls.push_back(CallJson(call, std::ssize(calls)));
  json::object line = Line(head, endpoint, answer.Text(), answer.Thought(), std::move(calls));
  Close(answer.end, line);
  return JsonLine(line);
}

template <Endpoint endpoint>
std::unique_ptr<WireStream> Stream(const CompletionHead& head) {
  return std::make_unique<Lines>(head, endpoint);
}

template <Endpoint endpoint>
constexpr WireFamily FamilyOf(Result<CompletionRequest> (*parse)(const json::object&, const ServerLimits&)) {
  return {.errors = ApiFamily::kOllama,
          .id_prefix = "ollama-",
          .call_prefix = "call_",
          .stream_type = kNdjsonType,
          .ping = "",
          .streams_frames = true,
          .parse = parse,
          .stream = Stream<endpoint>,
          .whole = Whole<endpoint>};
}

}  // namespace

const WireFamily& OllamaChat() {
  static constexpr WireFamily kFamily = FamilyOf<Endpoint::kChat>(ParseOllamaChat);
  return kFamily;
}

const WireFamily& OllamaGenerate() {
  static constexpr WireFamily kFamily = FamilyOf<Endpoint::kGenerate>(ParseOllamaGenerate);
  return kFamily;
}

}  // namespace dgemma
