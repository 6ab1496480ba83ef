// A state machine over token ids; each state says where text goes.
#include "text/answer.h"

#include <utility>

namespace dgemma {
namespace {

constexpr size_t kMaxChannelName = 64;  // bytes; a longer first line is no name but the thought itself
constexpr std::string_view kThoughtChannel = "thought";

/// Adds text to the last event when that is of the same kind: whoever listens is not told every token.
template <typename Text>
void Append(std::string text, std::vector<AnswerEvent>& events) {
  if (!events.empty() && std::holds_alternative<Text>(events.back())) {
    std::get<Text>(events.back()).text += text;
  } else {
    events.emplace_back(Text{std::move(text)});
  }
}

}  // namespace

AnswerParser::AnswerParser(const Tokenizer& tokenizer, AnswerStart start)
    : tokenizer_(&tokenizer),
      ids_{.channel_open = tokenizer.TokenId("<|channel>"),
           .channel_close = tokenizer.TokenId("<channel|>"),
           .call_open = tokenizer.TokenId("<|tool_call>"),
           .call_close = tokenizer.TokenId("<tool_call|>"),
           .quote = tokenizer.TokenId("<|\"|>"),
           .turn_end = tokenizer.TokenId("<turn|>"),
           .tool_response = tokenizer.TokenId("<|tool_response>"),
           .end = tokenizer.TokenId("<eos>")},
      decoder_(tokenizer, SpecialText::kSkip),
      state_(start == AnswerStart::kThought ? State::kThought : State::kAnswer) {}

void AnswerParser::Push(std::span<const int32_t> ids, std::vector<AnswerEvent>& events) {
  for (int32_t id : ids) {
    if (end_) return;
    PushOne(id, events);
  }
}

void AnswerParser::PushOne(int32_t id, std::vector<AnswerEvent>& events) {
  if (!tokenizer_->IsControl(id)) {
    decoder_.Push(id, text_);
    return TakeText(events);
  }
  // A control token, even one without a meaning here, ends a run of bytes.
  decoder_.Finish(text_);
  TakeText(events);
  if (id == ids_.quote && state_ == State::kCall) {
    if (call_.quotes.size() < kMaxToolCallBytes) call_.quotes.push_back(call_.text.size());
  } else if (id == ids_.channel_open && state_ != State::kCall) {
    LeaveState(events);
    state_ = State::kChannelName;
  } else if (id == ids_.channel_close && (state_ == State::kThought || state_ == State::kChannelName)) {
    LeaveState(events);
  } else if (id == ids_.call_open) {
    LeaveState(events);
    state_ = State::kCall;
  } else if (id == ids_.call_close && state_ == State::kCall) {
    EndCall(std::nullopt, events);
  } else if (id == ids_.turn_end || id == ids_.tool_response || id == ids_.end) {
    LeaveState(events);
    end_ = id == ids_.turn_end ? AnswerEnd::kTurn
           : id == ids_.end    ? AnswerEnd::kEndOfSequence
                               : AnswerEnd::kToolResponse;
  }
}

void AnswerParser::Finish(std::vector<AnswerEvent>& events) {
  decoder_.Finish(text_);
  TakeText(events);
  LeaveState(events);
}

/// Moves decoded text to where the state wants it.
void AnswerParser::TakeText(std::vector<AnswerEvent>& events) {
  if (text_.empty()) return;
  std::string text = std::exchange(text_, {});
  switch (state_) {
    case State::kAnswer:
      Append<AnswerText>(std::move(text), events);
      break;
    case State::kThought:
      EmitThought(std::move(text), events);
      break;
    case State::kCall:
      // Beyond the limit only the fact that it was passed is kept; ParseToolCall refuses such a call.
      if (call_.text.size() <= kMaxToolCallBytes) call_.text += text;
      break;
    case State::kChannelName: {
      channel_name_ += text;
      const size_t line = channel_name_.find('\n');
      if (line == std::string::npos && channel_name_.size() <= kMaxChannelName) break;
      const bool is_name = line != std::string::npos && line <= kMaxChannelName;
      state_ = State::kThought;
      std::string rest = std::exchange(channel_name_, {});
      EmitThought(is_name ? rest.substr(line + 1) : std::move(rest), events);
      break;
    }
  }
}

/// Hands over thought text, keeping back one newline at its end: it belongs to the closing "\n<channel|>".
void AnswerParser::EmitThought(std::string text, std::vector<AnswerEvent>& events) {
  if (text.empty()) return;
  if (newline_held_) text.insert(text.begin(), '\n');
  newline_held_ = text.back() == '\n';
  if (newline_held_) text.pop_back();
  if (!text.empty()) Append<ThoughtText>(std::move(text), events);
}

/// Closes whatever is open and returns to the answer.
void AnswerParser::LeaveState(std::vector<AnswerEvent>& events) {
  if (state_ == State::kChannelName) {
    std::string name = std::exchange(channel_name_, {});
    if (name != kThoughtChannel) EmitThought(std::move(name), events);
  }
  if (state_ == State::kCall) EndCall(Status{StatusCode::kInvalidArgument, "tool call: cut short"}, events);
  newline_held_ = false;
  state_ = State::kAnswer;
}

void AnswerParser::EndCall(std::optional<Status> problem, std::vector<AnswerEvent>& events) {
  const ToolCallSource source = std::exchange(call_, {});
  state_ = State::kAnswer;
  if (!problem) {
    auto call = ParseToolCall(source);
    if (call) {
      events.emplace_back(*std::move(call));
      return;
    }
    problem = std::move(call).error();
  }
  events.emplace_back(BrokenToolCall{source.text, *std::move(problem)});
}

ParsedAnswer ParseAnswer(const Tokenizer& tokenizer, std::span<const int32_t> ids, AnswerStart start) {
  AnswerParser parser(tokenizer, start);
  std::vector<AnswerEvent> events;
  parser.Push(ids, events);
  parser.Finish(events);
  ParsedAnswer answer;
  answer.end = parser.end();
  for (AnswerEvent& event : events) {
    if (auto* thought = std::get_if<ThoughtText>(&event)) answer.thought += thought->text;
    if (auto* text = std::get_if<AnswerText>(&event)) answer.text += text->text;
    if (auto* call = std::get_if<ParsedToolCall>(&event)) answer.calls.push_back(std::move(*call));
    if (auto* broken = std::get_if<BrokenToolCall>(&event)) answer.broken_calls.push_back(std::move(*broken));
  }
  return answer;
}

}  // namespace dgemma
