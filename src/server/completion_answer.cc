// Stop strings by Knuth, Morris and Pratt, and the rules on tools.
#include "server/completion_answer.h"

#include <algorithm>
#include <utility>

namespace dgemma {

StopStrings::StopStrings(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (stop.empty()) continue;
    Matcher matcher{.stop = stop, .border = std::vector<size_t>(stop.size() + 1), .matched = 0};
    for (size_t length = 1, border = 0; length < stop.size(); ++length) {
      while (border > 0 && stop[length] != stop[border]) border = matcher.border[border];
      border += stop[length] == stop[border];
      matcher.border[length + 1] = border;
    }
    matchers_.push_back(std::move(matcher));
  }
}

std::string StopStrings::Push(std::string_view text) {
  if (found_ != nullptr) return {};
  held_ += text;
  const size_t before = held_.size() - text.size();
  for (size_t at = before; at < held_.size() && found_ == nullptr; ++at) {
    for (Matcher& matcher : matchers_) {
      size_t& matched = matcher.matched;
      while (matched > 0 && held_[at] != matcher.stop[matched]) matched = matcher.border[matched];
      matched += held_[at] == matcher.stop[matched];
      const bool whole = matched == matcher.stop.size();
      if (whole && (found_ == nullptr || found_->size() < matcher.stop.size())) found_ = &matcher.stop;
    }
    if (found_ != nullptr) held_.resize(at + 1 - found_->size());
  }
  if (found_ != nullptr) return std::exchange(held_, {});
  size_t kept = 0;
  for (const Matcher& matcher : matchers_) kept = std::max(kept, matcher.matched);
  std::string certain = held_.substr(0, held_.size() - kept);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopStrings::Finish() {
  for (Matcher& matcher : matchers_) matcher.matched = 0;
  return std::exchange(held_, {});
}

AnswerFilter::AnswerFilter(const CompletionRequest& request, int32_t answer, std::string call_prefix,
                           CompletionSink& sink)
    : request_(request), answer_(answer), call_prefix_(std::move(call_prefix)), sink_(sink), stops_(request.stop) {}

AnswerState AnswerFilter::Thought(std::string_view text) {
  if (satisfied_) return AnswerState::kSatisfied;
  if (text.empty()) return AnswerState::kOpen;
  thought_ += text;
  sink_.OnThought(answer_, text);
  return AnswerState::kOpen;
}

AnswerState AnswerFilter::Text(std::string_view text) {
  if (satisfied_) return AnswerState::kSatisfied;
  if (request_.tool_use == ToolUse::kRequired) return AnswerState::kOpen;
  PassOn(stops_.Push(text));
  satisfied_ = stops_.found() != nullptr;
  return satisfied_ ? AnswerState::kSatisfied : AnswerState::kOpen;
}

AnswerState AnswerFilter::Call(const FunctionCall& call) {
  if (satisfied_) return AnswerState::kSatisfied;
  if (request_.tools.empty() || request_.tool_use == ToolUse::kNone)
    return Text("call:" + call.name + call.arguments_json);
  PassOn(stops_.Finish());  // a stop string does not reach over a call
  sink_.OnToolCall(
      answer_, {.name = call.name, .arguments_json = call.arguments_json, .id = call_prefix_ + std::to_string(calls_)});
  ++calls_;
  satisfied_ = !request_.parallel_calls;
  return satisfied_ ? AnswerState::kSatisfied : AnswerState::kOpen;
}

std::optional<EndKind> AnswerFilter::Finish(FinishReason reason) {
  if (stops_.found() != nullptr) return EndKind::kStopString;
  PassOn(stops_.Finish());
  if (request_.tool_use == ToolUse::kRequired && calls_ == 0) return std::nullopt;
  if (satisfied_) return EndKind::kToolCalls;
  switch (reason) {
    case FinishReason::kStop:
      return calls_ > 0 ? EndKind::kToolCalls : EndKind::kTurn;
    case FinishReason::kLength:
      return EndKind::kLength;
    case FinishReason::kContext:
      return EndKind::kContext;
    case FinishReason::kCancelled:
    case FinishReason::kTimeout:
      break;
  }
  return EndKind::kTimeout;
}

void AnswerFilter::PassOn(std::string_view text) {
  if (text.empty()) return;
  text_ += text;
  sink_.OnText(answer_, text);
}

}  // namespace dgemma
