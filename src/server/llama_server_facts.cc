// llama-server: tokens, the prompt of a chat, and what is said about the server.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <map>
#include <span>

#include "base/try.h"
#include "server/llama_server.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

namespace json = boost::json;

/// Text of one token as JSON: a string, or its bytes when these are no whole characters.
std::string PieceJson(const std::string& bytes) {
  if (IsValidUtf8(bytes)) return json::serialize(json::string(bytes));
  json::array list;
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return json::serialize(list);
}

/// {"tokens": [...]}, written as it goes: as JSON values millions of tokens would take a hundred times their text.
std::string TokensJson(std::span<const int32_t> ids, const Engine& engine, bool with_pieces) {
  std::map<int32_t, std::string> entries;
  std::string out = R"({"tokens":[)";
  for (const int32_t id : ids) {
    std::string& entry = entries[id];
    if (entry.empty())
      entry = with_pieces ? fmt::format(R"({{"id":{},"piece":{}}})", id, PieceJson(engine.TokenText(id)))
                          : std::to_string(id);
    if (out.back() != '[') out += ',';
    out += entry;
  }
  return out + "]}";
}

json::object Knobs(const GenerateOptions& options) {
  return {{"steps", options.steps}, {"entropy_bound", options.entropy_bound}, {"t_max", options.t_max},
          {"t_min", options.t_min}, {"stability", options.stability},         {"confidence", options.confidence}};
}

}  // namespace

Result<std::string> LlamaTokenize(const json::object& object, const Engine& engine) {
  const Fields body(object);
  DG_TRY(const std::string content, body.RequiredText("content"));
  DG_TRY(const auto add_special, body.Flag("add_special"));
  DG_TRY(const auto parse_special, body.Flag("parse_special"));
  DG_TRY(const auto with_pieces, body.Flag("with_pieces"));
  std::vector<int32_t> ids = parse_special.value_or(true) ? engine.TokenizeMarkup(content) : engine.Tokenize(content);
  if (add_special.value_or(false)) {
    const std::vector<int32_t> begin = engine.TokenizeMarkup("<bos>");
    ids.insert(ids.begin(), begin.begin(), begin.end());
  }
  return TokensJson(ids, engine, with_pieces.value_or(false));
}

Result<std::string> LlamaDetokenize(const json::object& object, const Engine& engine) {
  const Fields body(object);
  const json::value* tokens = body.Any("tokens");
  if (tokens == nullptr) return BadField("tokens", "is missing");
  if (!tokens->is_array()) return BadField("tokens", "must be a list");
  DG_TRY(const std::vector<int32_t> ids, ReadTokenIds(tokens->get_array(), "tokens"));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= engine.facts().vocabulary) return BadField(IndexPath("tokens", i), "is not in the vocabulary");
  }
  return JsonLine(json::object{{"content", engine.Detokenize(ids)}});
}

Result<std::string> LlamaApplyTemplate(const json::object& object, const Engine& engine, const ServerLimits& limits) {
  CompletionRequest request;
  DG_CHECK_OK(ReadOpenAiConversation(Fields(object), limits, request));
  DG_TRY(const std::vector<Request> requests, EngineRequests(request, engine, engine.Defaults(), 0));
  return JsonLine(json::object{{"prompt", engine.Detokenize(requests.front().prompt_tokens)}});
}

std::string LlamaProps(const ModelFacts& facts, const ServedFacts& served, int64_t slots) {
  json::object diffusion{{"canvas_tokens", facts.canvas_tokens},
                         {"defaults", Knobs(served.defaults)},
                         {"thinking", true},
                         {"single_prompts", served.single_prompts},
                         {"examples", json::value_from(served.examples)}};
  return JsonLine(json::object{
      {"default_generation_settings",
       {{"n_ctx", facts.context_tokens},
        {"params", {{"n_predict", served.defaults.max_new_tokens}, {"temperature", served.defaults.t_max}}}}},
      {"total_slots", slots},
      {"model_alias", facts.name},
      {"model_path", facts.name},
      {"modalities", {{"vision", false}, {"audio", false}}},
      {"chat_template", ""},
      {"bos_token", "<bos>"},
      {"eos_token", "<eos>"},
      {"build_info", std::string("dgemma ") + Version()},
      {"is_sleeping", false},
      {"diffusion", std::move(diffusion)}});
}

std::string LlamaSlots(const ModelFacts& facts, const SchedulerStats& stats) {
  json::array slots;
  for (int64_t slot = 0; slot < stats.slots; ++slot) {
    slots.push_back(json::object{
        {"id", slot}, {"n_ctx", facts.context_tokens}, {"speculative", false}, {"is_processing", slot < stats.active}});
  }
  return JsonLine(slots);
}

}  // namespace dgemma
