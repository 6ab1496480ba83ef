// Completions: prompts in four spellings, and text choices.
#include "server/openai_completions.h"

#include <boost/json/array.hpp>
#include <limits>

#include "base/try.h"
#include "server/openai_fields.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr int64_t kDefaultTokens = 16;  // as OpenAI documents

/// A text, a list of ids, a list of texts, or a list of lists of ids.
Result<void> ReadPrompts(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  const json::value* value = body.Any("prompt");
  if (value == nullptr) return BadField("prompt", "is missing");
  if (value->is_string()) {
    request.prompts.emplace_back(std::string(View(value->get_string())));
    return {};
  }
  if (!value->is_array()) return BadField("prompt", "must be a string, a list of strings, or token ids");
  const json::array& list = value->get_array();
  if (list.empty()) return BadField("prompt", "is empty");
  if (list.front().is_number()) {
    DG_TRY(std::vector<int32_t> ids, ReadTokenIds(list, "prompt"));
    request.prompts.emplace_back(std::move(ids));
    return {};
  }
  if (list.size() > static_cast<size_t>(limits.choices)) return BadField("prompt", "has too many entries");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = IndexPath("prompt", i);
    if (list[i].is_string()) {
      request.prompts.emplace_back(std::string(View(list[i].get_string())));
    } else if (list[i].is_array()) {
      DG_TRY(std::vector<int32_t> ids, ReadTokenIds(list[i].get_array(), path));
      request.prompts.emplace_back(std::move(ids));
    } else {
      return BadField(path, "must be a string or a list of token ids");
    }
  }
  return {};
}

json::object Begin(const CompletionHead& head) {
  return {{"id", head.id},
          {"object", "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", "dgemma"}};
}

json::object ChoiceJson(int32_t index, std::string_view text) {
  return {{"text", Json(text)}, {"index", index}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
}

/// The prompt's text in front of the answer, when it was asked for.
std::string EchoOf(const CompletionRequest& request, size_t answer) {
  if (!request.echo) return {};
  const RawPrompt& prompt = request.prompts[answer / static_cast<size_t>(request.choices)];
  const auto* text = std::get_if<std::string>(&prompt);
  return text == nullptr ? std::string() : *text;
}

class TextStream final : public WireStream {
 public:
  explicit TextStream(const CompletionHead& head) : head_(head) {}

  void OnBegin(int64_t /*prompt_tokens*/) override {
    for (int32_t answer = 0; answer < head_.request->answers(); ++answer) {
      const std::string echo = EchoOf(*head_.request, static_cast<size_t>(answer));
      if (!echo.empty()) Send(ChoiceJson(answer, echo));
    }
  }
  /// Not text; a member that other servers use for it.
  void OnThought(int32_t answer, std::string_view text) override {
    json::object choice = ChoiceJson(answer, "");
    choice["reasoning_content"] = Json(text);
    Send(std::move(choice));
  }
  void OnText(int32_t answer, std::string_view text) override { Send(ChoiceJson(answer, text)); }
  void OnToolCall(int32_t /*answer*/, const FunctionCall& /*call*/) override {}  // none are declared
  void OnFrame(int32_t answer, const Frame& frame) override {
    json::object chunk = Begin(head_);
    chunk["choices"] = json::array{ChoiceJson(answer, "")};
    AddFrame(frame, chunk);
    out_ += SseEvent(JsonLine(chunk));
  }
  void OnAnswerEnd(int32_t answer, const EndOfAnswer& end) override {
    json::object choice = ChoiceJson(answer, "");
    choice["finish_reason"] = Json(OpenAiFinish(end.kind));
    Send(std::move(choice));
  }
  void OnFinish(std::span<const EndOfAnswer> ends) override {
    if (head_.request->stream_usage) {
      json::object chunk = Begin(head_);
      chunk["choices"] = json::array();
      chunk["usage"] = OpenAiUsage(ends, head_.request->choices);
      chunk["timings"] = TimingsJson(ends, head_.request->choices);
      out_ += SseEvent(JsonLine(chunk));
    }
    out_ += SseEvent("[DONE]");
  }
  void OnFailure(const HttpError& error) override { out_ += SseEvent(ErrorJson(ApiFamily::kOpenAi, error, head_.id)); }

 private:
  void Send(json::object choice) {
    json::object chunk = Begin(head_);
    chunk["choices"] = json::array{std::move(choice)};
    if (head_.request->stream_usage) chunk["usage"] = nullptr;
    out_ += SseEvent(JsonLine(chunk));
  }

  const CompletionHead head_;
};

}  // namespace

Result<std::vector<int32_t>> ReadTokenIds(const json::array& list, const std::string& path) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const json::value& entry = list[i];
    if (!entry.is_int64() || entry.get_int64() < 0 || entry.get_int64() > std::numeric_limits<int32_t>::max())
      return BadField(IndexPath(path, i), "must be a token id");
    ids.push_back(static_cast<int32_t>(entry.get_int64()));
  }
  return ids;
}

Result<CompletionRequest> ParseOpenAiCompletion(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  DG_CHECK_OK(ReadPrompts(body, limits, request));
  DG_CHECK_OK(ReadOpenAiSampling(body, limits, request));
  if (request.answers() > limits.choices) return BadField("n", "times the number of prompts is too large");
  request.sampling.max_tokens = kDefaultTokens;
  DG_CHECK_OK(ReadMaxTokens(body, "max_tokens", request));
  DG_TRY(const auto echo, body.Flag("echo"));
  request.echo = echo.value_or(false);
  DG_TRY(const auto best_of, body.Integer("best_of", 1, limits.choices));
  if (best_of.value_or(request.choices) != request.choices)
    return Fail(StatusCode::kUnsupported, "best_of: is not supported (answers have no probability to rank them by)");
  const json::value* logprobs = body.Any("logprobs");
  if (logprobs != nullptr && *logprobs != false) {
    return Fail(StatusCode::kUnsupported,
                "logprobs: is not supported (the tokens of a canvas have no left-to-right probabilities)");
  }
  DG_CHECK_OK(RefuseUnlessIdle(body, "suffix", "no infilling"));
  return request;
}

std::string OpenAiCompletionWhole(const CompletionHead& head, const CompletionResult& result) {
  json::object whole = Begin(head);
  json::array choices;
  for (size_t answer = 0; answer < result.answers.size(); ++answer) {
    const std::string text = EchoOf(*head.request, answer) + result.answers[answer].Text();
    const std::string thought = result.answers[answer].Thought();
    json::object choice = ChoiceJson(static_cast<int32_t>(answer), text);
    if (!thought.empty()) choice["reasoning_content"] = thought;
    choice["finish_reason"] = Json(OpenAiFinish(result.answers[answer].end.kind));
    choices.push_back(std::move(choice));
  }
  const std::vector<EndOfAnswer> ends = EndsOf(result);
  whole["choices"] = std::move(choices);
  whole["usage"] = OpenAiUsage(ends, head.request->choices);
  whole["timings"] = TimingsJson(ends, head.request->choices);
  return JsonLine(whole);
}

std::unique_ptr<WireStream> OpenAiCompletionStream(const CompletionHead& head) {
  return std::make_unique<TextStream>(head);
}

const WireFamily& OpenAiCompletions() {
  static constexpr WireFamily kFamily{.errors = ApiFamily::kOpenAi,
                                      .id_prefix = "cmpl-",
                                      .call_prefix = "call_",
                                      .stream_type = kSseType,
                                      .ping = ": ping\n\n",
                                      .streams_frames = true,
                                      .parse = ParseOpenAiCompletion,
                                      .stream = OpenAiCompletionStream,
                                      .whole = OpenAiCompletionWhole};
  return kFamily;
}

}  // namespace dgemma
