// Members that /v1/chat/completions and /v1/completions share.
#include "server/openai_fields.h"

#include <boost/json/array.hpp>

#include "base/try.h"

namespace dgemma {

Result<void> ReadOpenAiSampling(const Fields& body, const ServerLimits& limits, CompletionRequest& request) {
  DG_TRY(const auto model, body.Text("model"));
  request.model = model.value_or("");
  DG_TRY(request.sampling.temperature, body.Number("temperature", 0, 2));
  DG_TRY([[maybe_unused]] const auto top_p, body.Number("top_p", 0, 1));  // has no meaning on a canvas
  DG_TRY(request.sampling.seed, body.Seed("seed"));
  DG_TRY(const auto choices, body.Integer("n", 1, limits.choices));
  request.choices = static_cast<int32_t>(choices.value_or(1));
  DG_CHECK_OK(ReadStop(body, "stop", limits, request));
  DG_TRY(const auto stream, body.Flag("stream"));
  request.delivery = stream.value_or(false) ? Delivery::kStream : Delivery::kWhole;
  DG_TRY(const boost::json::object* stream_options, body.Object("stream_options"));
  if (stream_options != nullptr) {
    DG_TRY(const auto usage, Fields(*stream_options, "stream_options").Flag("include_usage"));
    request.stream_usage = usage.value_or(false);
  }
  DG_TRY(const auto progress, body.Flag("return_progress"));
  request.stream_progress = progress.value_or(false);
  DG_CHECK_OK(RefuseUnlessIdle(body, "presence_penalty", "a canvas has no order of tokens to penalise"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "frequency_penalty", "a canvas has no order of tokens to penalise"));
  DG_CHECK_OK(RefuseUnlessIdle(body, "logit_bias", "not by this server"));
  return ReadDiffusion(body, request);
}

std::string_view OpenAiFinish(EndKind kind) {
  switch (kind) {
    case EndKind::kTurn:
    case EndKind::kStopString:
      return "stop";
    case EndKind::kToolCalls:
      return "tool_calls";
    case EndKind::kLength:
    case EndKind::kContext:
    case EndKind::kTimeout:
      break;
  }
  return "length";
}

boost::json::object OpenAiUsage(std::span<const EndOfAnswer> ends, int32_t choices) {
  const Usage usage = UsageOf(ends, choices);
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.answer_tokens},
          {"total_tokens", usage.prompt_tokens + usage.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"audio_tokens", 0}}},
          {"completion_tokens_details",
           {{"reasoning_tokens", usage.thought_tokens},
            {"audio_tokens", 0},
            {"accepted_prediction_tokens", 0},
            {"rejected_prediction_tokens", 0}}}};
}

boost::json::object ModelEntry(const ModelFacts& facts, int64_t created) {
  return {{"id", facts.name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "dgemma"},
          {"type", "model"},
          {"display_name", facts.name},
          {"created_at", UtcTime(created * 1'000'000)},
          {"meta",
           {{"n_params", facts.parameters},
            {"n_ctx_train", facts.context_tokens},
            {"n_embd", facts.width},
            {"n_vocab", facts.vocabulary},
            {"canvas_tokens", facts.canvas_tokens},
            {"dtype", facts.dtype}}}};
}

std::string ModelList(const ModelFacts& facts, int64_t created) {
  return JsonLine(boost::json::object{{"object", "list"},
                                      {"data", boost::json::array{ModelEntry(facts, created)}},
                                      {"has_more", false},
                                      {"first_id", facts.name},
                                      {"last_id", facts.name}});
}

}  // namespace dgemma
