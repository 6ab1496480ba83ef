// The neutral form of a completion: what every family of the interface asks for (CompletionRequest), and what becomes of it
// (CompletionSink, CompletionResult). Families parse into the one and write out the other; nothing here knows their shapes.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dgemma/dgemma.h"
#include "server/frames.h"
#include "server/limits.h"

namespace dgemma {

// ---- what is asked ------------------------------------------------------------------------------------------------------

/// What a temperature is relative to. A canvas has two, t_max falling to t_min; their ratio stays the checkpoint's.
enum class TemperatureUnit : uint8_t {
  kOfCheckpoint,  ///< 1 is the checkpoint's own schedule (OpenAI, Anthropic)
  kAbsolute,      ///< it is t_max (Ollama, llama-server; as `dgemma run --temp`)
};

/// What a client said about sampling; the rest comes from the checkpoint.
struct SamplingWish {
  std::optional<int64_t> max_tokens;  ///< >= 1; absent: until the model ends its turn or the context is full
  /// > 0 scales the schedule. 0 asks for repeatability: the checkpoint's schedule with seed 0 when no seed is named.
  std::optional<double> temperature;
  TemperatureUnit temperature_unit = TemperatureUnit::kOfCheckpoint;
  std::optional<uint64_t> seed;
  std::optional<int32_t> steps, stability;
  std::optional<double> entropy_bound, t_max, t_min, confidence;
  std::optional<SkipOptions> skip;
};

/// Whether the model may call tools.
enum class ToolUse : uint8_t {
  kAuto,      ///< as it likes
  kNone,      ///< tools are not declared; a call that it writes all the same is text
  kRequired,  ///< it is told to; an answer without a call is a failure, its text is not passed on
};

enum class Delivery : uint8_t { kWhole, kStream };

/// A prompt without chat format: a text in which control tokens are written out, or ids.
using RawPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  std::string model;               ///< as the client calls it; the server has one model and answers under any name
  std::vector<ChatTurn> chat;      ///< a conversation ...
  std::vector<RawPrompt> prompts;  ///< ... or raw prompts, each with `choices` answers; one of the two is empty
  std::vector<ToolDeclaration> tools;
  ToolUse tool_use = ToolUse::kAuto;
  bool parallel_calls = true;  ///< false: the answer ends with its first call
  Thinking thinking = Thinking::kOff;
  bool echo = false;  ///< raw prompts: the answer begins with the prompt's text
  SamplingWish sampling;
  std::vector<std::string> stop;  ///< the text ends before the first of these
  int32_t choices = 1;
  Delivery delivery = Delivery::kWhole;
  bool stream_usage = false;     ///< OpenAI: usage in the stream
  bool stream_progress = false;  ///< progress of the prompt in the stream
  std::optional<FrameWish> frames;
  boost::json::object repeated;  ///< members of the request that the family's answers repeat

  int32_t answers() const { return choices * static_cast<int32_t>(prompts.empty() ? 1 : prompts.size()); }
};

/// Options of the answer `choice` (from 0): seeds are seed + choice. `random_seed` is used when the client named none.
/// kInvalidArgument names contradictory fields.
Result<GenerateOptions> OptionsOf(const SamplingWish& wish, const GenerateOptions& defaults, uint64_t random_seed,
                                  int32_t choice);

/// Requests for the engine, one an answer, with prompt ids: tools left out, declared or demanded as tool_use says. Errors name
/// the client's field.
Result<std::vector<Request>> EngineRequests(const CompletionRequest& request, const Engine& engine,
                                            const GenerateOptions& defaults, uint64_t random_seed);

// ---- what becomes of it -------------------------------------------------------------------------------------------------

enum class EndKind : uint8_t {
  kTurn,        ///< the model closed its turn
  kStopString,  ///< a stop string was found
  kToolCalls,   ///< the model closed its turn with calls
  kLength,      ///< max_tokens
  kContext,     ///< the context is full
  kTimeout,     ///< the request took longer than the server allows
};

/// "turn", "stop_string", "tool_calls", "length", "context", "timeout"
std::string_view Name(EndKind kind);

/// How one answer ended.
struct EndOfAnswer {
  EndKind kind = EndKind::kTurn;
  std::string stop_string;     ///< for kStopString
  Figures figures;             ///< answer_tokens are those that the client got
  int64_t thought_tokens = 0;  ///< of answer_tokens
  int64_t canvas_tokens = 0;   ///< positions of all canvases
  double accepted_per_pass = 0;
  bool converged = true;  ///< no canvas took all its steps
};

/// Hears what happens to a completion. Text comes in complete characters, append-only. `answer` counts from 0 over prompts,
/// then choices.
class CompletionSink {
 public:
  virtual ~CompletionSink() = default;
  virtual void OnPrefill(int32_t /*answer*/, int64_t /*done*/, int64_t /*total*/, int64_t /*cached*/) {}
  virtual void OnThought(int32_t answer, std::string_view text) = 0;
  virtual void OnText(int32_t answer, std::string_view text) = 0;
  virtual void OnToolCall(int32_t answer, const FunctionCall& call) = 0;  ///< with an id
  virtual void OnFrame(int32_t /*answer*/, const Frame&) {}
  virtual void OnAnswerEnd(int32_t answer, const EndOfAnswer& end) = 0;
};

/// A stretch of an answer.
struct ThoughtSegment {
  std::string text;
};
struct TextSegment {
  std::string text;
};
using AnswerSegment = std::variant<ThoughtSegment, TextSegment, FunctionCall>;

/// One whole answer: its segments in order; neighbours differ in kind, except calls.
struct AnswerResult {
  std::vector<AnswerSegment> segments;
  EndOfAnswer end;

  std::string Text() const;
  std::string Thought() const;
  std::vector<FunctionCall> Calls() const;
};

struct CompletionResult {
  std::vector<AnswerResult> answers;
};

/// Collects a whole result.
class CompletionCollector final : public CompletionSink {
 public:
  explicit CompletionCollector(int32_t answers) { result_.answers.resize(static_cast<size_t>(answers)); }
  void OnThought(int32_t answer, std::string_view text) override;
  void OnText(int32_t answer, std::string_view text) override;
  void OnToolCall(int32_t answer, const FunctionCall& call) override;
  void OnAnswerEnd(int32_t answer, const EndOfAnswer& end) override;
  const CompletionResult& result() const { return result_; }

 private:
  AnswerResult& At(int32_t answer) { return result_.answers[static_cast<size_t>(answer)]; }
  CompletionResult result_;
};

/// Tokens of a completion: a prompt counts once, however many answers it has.
struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  ///< of prompt_tokens
  int64_t answer_tokens = 0;
  int64_t thought_tokens = 0;  ///< of answer_tokens
};
Usage UsageOf(std::span<const EndOfAnswer> ends, int32_t choices);

std::vector<EndOfAnswer> EndsOf(const CompletionResult& result);

}  // namespace dgemma
