// Requests of every family, and what is written back. Input: a byte that picks the family, then a body. Whatever is taken keeps its
// limits; text of any bytes that are UTF-8 comes back as whole JSON, the same in a stream as at once.
#include <array>
#include <boost/json/array.hpp>
#include <cmath>
#include <cstdint>

#include "expect.h"
#include "files/json.h"
#include "server/anthropic.h"
#include "server/llama_server.h"
#include "server/ollama.h"
#include "server/openai_chat.h"
#include "server/openai_completions.h"
#include "server/openai_responses.h"
#include "text/utf8.h"

using dgemma::Expect;

namespace {

void CheckRequest(const dgemma::CompletionRequest& request, const dgemma::ServerLimits& limits) {
  Expect(request.chat.empty() != request.prompts.empty(), "a conversation or prompts");
  Expect(request.answers() >= 1 && request.answers() <= limits.choices, "choices");
  Expect(request.tools.size() <= limits.tools, "tools");
  Expect(request.stop.size() <= limits.stop_strings, "stop strings");
  for (const std::string& stop : request.stop) Expect(stop.size() <= limits.stop_string_bytes, "a stop string");
  const auto options = dgemma::OptionsOf(request.sampling, {}, 1, 0);
  if (!options) return;
  Expect(std::isfinite(options->t_max) && std::isfinite(options->t_min), "temperatures are numbers");
  Expect(options->t_max > 0 && options->t_min >= 0 && options->t_min <= options->t_max, "temperatures fall");
  Expect(options->steps >= 1 && options->steps <= 4096, "steps");
}

/// Every line or event of a stream holds one JSON text.
void CheckStream(std::string_view stream) {
  while (!stream.empty()) {
    const size_t end = stream.find('\n');
    Expect(end != std::string_view::npos, "lines end");
    std::string_view line = stream.substr(0, end);
    stream.remove_prefix(end + 1);
    if (line.starts_with("event: ") || line.empty() || line == "data: [DONE]") continue;
    if (line.starts_with("data: ")) line.remove_prefix(6);
    Expect(dgemma::ParseJson(line).has_value(), "a stream holds JSON");
  }
}

void CheckAnswers(const dgemma::WireFamily& family, const dgemma::CompletionRequest& request, std::string_view text) {
  const dgemma::CompletionHead head{
      .id = std::string(family.id_prefix) + "1", .model = "m", .created = 1, .request = &request};
  const auto tell = [&](dgemma::CompletionSink& sink) {
    for (int32_t answer = 0; answer < request.answers(); ++answer) {
      sink.OnThought(answer, text);
      sink.OnText(answer, text);
      sink.OnToolCall(answer, {"f", "{}", "call_1"});
      sink.OnText(answer, text);
      sink.OnAnswerEnd(answer, {});
    }
  };
  const auto stream = family.stream(head);
  stream->OnBegin(1);
  tell(*stream);
  dgemma::CompletionCollector collector(request.answers());
  tell(collector);
  stream->OnFinish(dgemma::EndsOf(collector.result()));
  CheckStream(stream->Take());
  Expect(dgemma::ParseJson(family.whole(head, collector.result())).has_value(), "an answer is JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::array families = {&dgemma::OpenAiChat(),     &dgemma::OpenAiCompletions(), &dgemma::OpenAiResponses(),
                               &dgemma::Anthropic(),      &dgemma::OllamaChat(),        &dgemma::OllamaGenerate(),
                               &dgemma::LlamaCompletion()};
  if (size == 0) return 0;
  const dgemma::WireFamily& family = *families[data[0] % families.size()];
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const dgemma::ServerLimits limits;
  const auto object = dgemma::ParseBody(body, limits);
  if (!object) return 0;
  const auto request = family.parse(*object, limits);
  if (!request) return 0;
  CheckRequest(*request, limits);
  CheckAnswers(family, *request, dgemma::ReplaceInvalidUtf8(body));
  return 0;
}
