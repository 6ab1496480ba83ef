// llama-server: /completion. The other endpoints are in llama_server_facts.cc.
#include "server/llama_server.h"

#include <boost/json/array.hpp>
#include <boost/json/value_from.hpp>
#include <limits>

#include "base/try.h"
#include "server/completion_options.h"
#include "server/openai_completions.h"
#include "server/reply.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr double kHottest = 100;

std::string_view StopType(EndKind kind) {
  switch (kind) {
    case EndKind::kTurn:
    case EndKind::kToolCalls:
      return "eos";
    case EndKind::kStopString:
      return "word";
    case EndKind::kLength:
    case EndKind::kContext:
    case EndKind::kTimeout:
      break;
  }
  return "limit";
}

json::object Piece(std::string_view text) {
  return {{"index", 0}, {"content", Json(text)}, {"tokens", json::array()}, {"stop", false}, {"id_slot", 0}};
}

void Close(const CompletionHead& head, const EndOfAnswer& end, json::object& piece) {
  const Figures& figures = end.figures;
  piece["stop"] = true;
  piece["model"] = head.model;
  piece["stop_type"] = Json(StopType(end.kind));
  piece["stopping_word"] = end.stop_string;
  piece["truncated"] = false;
  piece["tokens_predicted"] = figures.answer_tokens;
  piece["tokens_evaluated"] = figures.prompt_tokens;
  piece["tokens_cached"] = figures.cached_tokens;
  piece["generation_settings"] = json::object{{"seed", figures.seed}, {"stop", json::value_from(head.request->stop)}};
  piece["timings"] = TimingsJson(std::span(&end, 1), 1);
}

class Pieces final : public WireStream {
 public:
  explicit Pieces(const CompletionHead& head) : head_(head) {}

  void OnBegin(int64_t /*prompt_tokens*/) override {}
  void OnPrefill(int32_t /*answer*/, int64_t done, int64_t total, int64_t cached) override {
    if (!head_.request->stream_progress) return;
    json::object piece = Piece("");
    piece["prompt_progress"] = json::object{{"total", total}, {"cache", cached}, {"processed", done}};
    Send(piece);
  }
  void OnThought(int32_t /*answer*/, std::string_view text) override {
    json::object piece = Piece("");
    piece["reasoning_content"] = Json(text);
    Send(piece);
  }
  void OnText(int32_t /*answer*/, std::string_view text) override { Send(Piece(text)); }
  void OnToolCall(int32_t /*answer*/, const FunctionCall& /*call*/) override {}  // none are declared
  void OnFrame(int32_t /*answer*/, const Frame& frame) override {
    json::object piece = Piece("");
    AddFrame(frame, piece);
    Send(piece);
  }
  void OnAnswerEnd(int32_t /*answer*/, const EndOfAnswer& end) override {
    json::object piece = Piece("");
    Close(head_, end, piece);
    Send(piece);
  }
  void OnFinish(std::span<const EndOfAnswer> /*ends*/) override {}
  void OnFailure(const HttpError& error) override { out_ += SseEvent(ErrorJson(ApiFamily::kOpenAi, error, head_.id)); }

 private:
  void Send(const json::object& piece) { out_ += SseEvent(JsonLine(piece)); }

  const CompletionHead head_;
};

std::string Whole(const CompletionHead& head, const CompletionResult& result) {
  const AnswerResult& answer = result.answers.front();
  json::object piece = Piece(answer.Text());
  const std::string thought = answer.Thought();
  if (!thought.empty()) piece["reasoning_content"] = thought;
  Close(head, answer.end, piece);
  return JsonLine(piece);
}

std::unique_ptr<WireStream> Stream(const CompletionHead& head) { return std::make_unique<Pieces>(head); }

}  // namespace

Result<CompletionRequest> ParseLlamaCompletion(const json::object& object, const ServerLimits& limits) {
  const Fields body(object);
  CompletionRequest request;
  const json::value* prompt = body.Any("prompt");
  if (prompt == nullptr) return BadField("prompt", "is missing");
  if (prompt->is_string()) {
    request.prompts.emplace_back(std::string(View(prompt->get_string())));
  } else if (prompt->is_array()) {
    DG_TRY(std::vector<int32_t> ids, ReadTokenIds(prompt->get_array(), "prompt"));
    request.prompts.emplace_back(std::move(ids));
  } else {
    return BadField("prompt", "must be a string or a list of token ids");
  }
  DG_TRY(const auto tokens, body.Integer("n_predict", -2, std::numeric_limits<int32_t>::max()));
  if (tokens == 0) return BadField("n_predict", "must not be 0");
  if (tokens.value_or(-1) > 0) request.sampling.max_tokens = tokens;
  DG_TRY(request.sampling.temperature, body.Number("temperature", 0, kHottest));
  request.sampling.temperature_unit = TemperatureUnit::kAbsolute;
  DG_TRY(const auto seed, body.Integer("seed", -1, std::numeric_limits<int64_t>::max()));
  if (seed.value_or(-1) >= 0) request.sampling.seed = static_cast<uint64_t>(*seed);  // -1: a random one
  DG_CHECK_OK(ReadStop(body, "stop", limits, request));
  DG_TRY(const auto stream, body.Flag("stream"));
  request.delivery = stream.value_or(false) ? Delivery::kStream : Delivery::kWhole;
  DG_TRY(const auto progress, body.Flag("return_progress"));
  request.stream_progress = progress.value_or(false);
  DG_CHECK_OK(RefuseUnlessIdle(body, "grammar", "the model cannot be held to a grammar"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "json_schema", "the model cannot be held to a schema"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "n_probs", "the tokens of a canvas have no left-to-right probabilities"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "logit_bias", "not by this server"));
  DG_CHECK_OK(ReadDiffusion(body, request));
  return request;
}

const WireFamily& LlamaCompletion() {
  static constexpr WireFamily kFamily{.errors = ApiFamily::kOpenAi,
                                      .id_prefix = "llama-",
                                      .call_prefix = "call_",
                                      .stream_type = kSseType,
                                      .ping = ": ping\n\n",
                                      .streams_frames = true,
                                      .parse = ParseLlamaCompletion,
                                      .stream = Stream,
                                      .whole = Whole};
  return kFamily;
}

}  // namespace dgemma
