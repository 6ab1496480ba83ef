// From wishes to the engine's requests, and from events to whole results.
#include "server/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/try.h"

namespace dgemma {
namespace {

/// Of the first step: below, probabilities of one or zero are all that is left, and 1 / temperature overflows.
constexpr double kColdest = 1e-6;

constexpr std::string_view kCallATool = "Answer with a call of a tool, not with text.";

/// A raw prompt as ids. Text begins with the token that opens every sequence.
std::vector<int32_t> PromptIds(const RawPrompt& prompt, const Engine& engine) {
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) return *ids;
  const std::string& text = std::get<std::string>(prompt);
  constexpr std::string_view kBegin = "<bos>";
  return engine.TokenizeMarkup(text.starts_with(kBegin) ? text : std::string(kBegin) + text);
}

/// The conversation with the demand for a call in its system turn.
std::vector<ChatTurn> Demanding(std::vector<ChatTurn> chat) {
  const bool has_system = !chat.empty() && (chat[0].role == "system" || chat[0].role == "developer");
  if (!has_system) chat.insert(chat.begin(), {.role = "system", .text = {}});
  chat[0].text += (chat[0].text.empty() ? "" : "\n\n") + std::string(kCallATool);
  return chat;
}

template <typename Segment>
void Extend(std::vector<AnswerSegment>& segments, std::string_view text) {
  if (text.empty()) return;
  if (segments.empty() || !std::holds_alternative<Segment>(segments.back())) segments.push_back(Segment{});
  std::get<Segment>(segments.back()).text += text;
}

template <typename Segment>
std::string Joined(const std::vector<AnswerSegment>& segments) {
  std::string text;
  for (const AnswerSegment& segment : segments) {
    if (const auto* part = std::get_if<Segment>(&segment)) text += part->text;
  }
  return text;
}

}  // namespace

Result<GenerateOptions> OptionsOf(const SamplingWish& wish, const GenerateOptions& defaults, uint64_t random_seed,
                                  int32_t choice) {
  GenerateOptions options = defaults;
  options.max_new_tokens = wish.max_tokens.value_or(options.max_new_tokens);
  options.steps = wish.steps.value_or(options.steps);
  options.stability = wish.stability.value_or(options.stability);
  options.entropy_bound = wish.entropy_bound.value_or(options.entropy_bound);
  options.confidence = wish.confidence.value_or(options.confidence);
  options.skip = wish.skip.value_or(options.skip);
  const bool repeatable = wish.temperature == 0.0;
  if (wish.temperature && !repeatable) {
    const double scale =
        wish.temperature_unit == TemperatureUnit::kAbsolute ? *wish.temperature / defaults.t_max : *wish.temperature;
    options.t_max = std::max(options.t_max * scale, kColdest);
    options.t_min *= scale;
  }
  options.t_max = wish.t_max.value_or(options.t_max);
  options.t_min = wish.t_min.value_or(options.t_min);
  if (options.t_min > options.t_max)
    return Fail(StatusCode::kInvalidArgument, "diffusion.t_min: must not exceed t_max");
  options.seed = wish.seed.value_or(repeatable ? 0 : random_seed) + static_cast<uint64_t>(choice);
  return options;
}

Result<std::vector<Request>> EngineRequests(const CompletionRequest& request, const Engine& engine,
                                            const GenerateOptions& defaults, uint64_t random_seed) {
  std::vector<std::vector<int32_t>> prompts;
  if (request.prompts.empty()) {
    Request chat;
    chat.chat = request.tool_use == ToolUse::kRequired ? Demanding(request.chat) : request.chat;
    if (request.tool_use != ToolUse::kNone) chat.tools = request.tools;
    chat.thinking = request.thinking;
    DG_TRY(std::vector<int32_t> ids, engine.PromptTokens(chat));
    prompts.push_back(std::move(ids));
  }
  for (const RawPrompt& prompt : request.prompts) {
    prompts.push_back(PromptIds(prompt, engine));
    if (prompts.back().empty()) return Fail(StatusCode::kInvalidArgument, "prompt: is empty");
  }
  std::vector<Request> requests;
  for (const std::vector<int32_t>& prompt : prompts) {
    for (int32_t choice = 0; choice < request.choices; ++choice) {
      Request one;
      one.prompt_tokens = prompt;
      DG_TRY(one.options, OptionsOf(request.sampling, defaults, random_seed, choice));
      requests.push_back(std::move(one));
    }
  }
  return requests;
}

std::string_view Name(EndKind kind) {
  switch (kind) {
    case EndKind::kTurn:
      return "turn";
    case EndKind::kStopString:
      return "stop_string";
    case EndKind::kToolCalls:
      return "tool_calls";
    case EndKind::kLength:
      return "length";
    case EndKind::kContext:
      return "context";
    case EndKind::kTimeout:
      break;
  }
  return "timeout";
}

std::string AnswerResult::Text() const { return Joined<TextSegment>(segments); }

std::string AnswerResult::Thought() const { return Joined<ThoughtSegment>(segments); }

std::vector<FunctionCall> AnswerResult::Calls() const {
  std::vector<FunctionCall> calls;
  for (const AnswerSegment& segment : segments) {
    if (const auto* call = std::get_if<FunctionCall>(&segment)) calls.push_back(*call);
  }
  return calls;
}

void CompletionCollector::OnThought(int32_t answer, std::string_view text) {
  Extend<ThoughtSegment>(At(answer).segments, text);
}

void CompletionCollector::OnText(int32_t answer, std::string_view text) {
  Extend<TextSegment>(At(answer).segments, text);
}

void CompletionCollector::OnToolCall(int32_t answer, const FunctionCall& call) {
  At(answer).segments.emplace_back(call);
}

void CompletionCollector::OnAnswerEnd(int32_t answer, const EndOfAnswer& end) { At(answer).end = end; }

Usage UsageOf(std::span<const EndOfAnswer> ends, int32_t choices) {
  Usage usage;
  for (size_t answer = 0; answer < ends.size(); ++answer) {
    const Figures& figures = ends[answer].figures;
    if (answer % static_cast<size_t>(choices) == 0) {
      usage.prompt_tokens += figures.prompt_tokens;
      usage.cached_tokens += figures.cached_tokens;
    }
    usage.answer_tokens += figures.answer_tokens;
    usage.thought_tokens += ends[answer].thought_tokens;
  }
  return usage;
}

std::vector<EndOfAnswer> EndsOf(const CompletionResult& result) {
  std::vector<EndOfAnswer> ends;
  for (const AnswerResult& answer : result.answers) ends.push_back(answer.end);
  return ends;
}

}  // namespace dgemma
