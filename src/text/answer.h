// Reads the model's output while it arrives: thought, answer and tool calls, from token ids. Control tokens are known
// by their ids, so text that merely spells them is text. The engine feeds it; what is shown or sent comes out of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "dgemma/status.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/tool_call.h"

namespace dgemma {

/// Whether the prompt left the model inside a thought (it ended with "<|channel>thought\n") or at the start of its
/// turn.
enum class AnswerStart { kAnswer, kThought };

/// Which token ended the answer.
enum class AnswerEnd { kTurn, kToolResponse, kEndOfSequence };

/// More text of the thought.
struct ThoughtText {
  std::string text;
};
/// More text of the answer.
struct AnswerText {
  std::string text;
};
/// What stood where a tool call should be, when it is none: its text and why not.
struct BrokenToolCall {
  std::string text;
  Status status;
};

/// One thing read from the output, in order. Neighbouring texts of one kind may arrive in any number of events.
using AnswerEvent = std::variant<ThoughtText, AnswerText, ParsedToolCall, BrokenToolCall>;

/// Incremental parser: the concatenated texts, the calls and the end do not depend on how the ids are split over calls
/// of Push. All texts are valid UTF-8. Linear time; memory is bounded by one tool call (kMaxToolCallBytes).
class AnswerParser {
 public:
  /// The tokenizer must outlive the parser. Control tokens that its file lacks are simply never seen.
  AnswerParser(const Tokenizer& tokenizer, AnswerStart start);

  /// Reads ids and appends what they make certain to `events`. Stops at a token that ends the answer; ids behind it are
  /// ignored, here and in later calls.
  void Push(std::span<const int32_t> ids, std::vector<AnswerEvent>& events);
  /// Ends the output, however it ended: hands over what was held back. A call cut short becomes a BrokenToolCall.
  void Finish(std::vector<AnswerEvent>& events);
  /// What ended the answer; nothing while it is open.
  std::optional<AnswerEnd> end() const { return end_; }

 private:
  enum class State { kAnswer, kChannelName, kThought, kCall };
  struct ControlIds {
    std::optional<int32_t> channel_open, channel_close, call_open, call_close, quote, turn_end, tool_response, end;
  };

  void PushOne(int32_t id, std::vector<AnswerEvent>& events);
  void TakeText(std::vector<AnswerEvent>& events);
  void LeaveState(std::vector<AnswerEvent>& events);
  void EmitThought(std::string text, std::vector<AnswerEvent>& events);
  void EndCall(std::optional<Status> problem, std::vector<AnswerEvent>& events);

  const Tokenizer* tokenizer_;
  ControlIds ids_;
  StreamDecoder decoder_;
  State state_;
  std::string text_;           // decoded, not yet handed over
  std::string channel_name_;   // kChannelName: what came so far of the line behind <|channel>
  bool newline_held_ = false;  // kThought: a newline that belongs to the thought only if more of it comes
  ToolCallSource call_;        // kCall
  std::optional<AnswerEnd> end_;
};

/// A whole output read at once.
struct ParsedAnswer {
  std::string thought;
  std::string text;
  std::vector<ParsedToolCall> calls;
  std::vector<BrokenToolCall> broken_calls;
  std::optional<AnswerEnd> end;
};

/// Reads a finished output.
ParsedAnswer ParseAnswer(const Tokenizer& tokenizer, std::span<const int32_t> ids, AnswerStart start);

}  // namespace dgemma
