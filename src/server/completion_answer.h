// One answer on its way from the engine to a sink: stop strings are cut, rules on tools are kept, calls get ids. Between the
// engine's listener and a family's writer; pure but for the sink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/completion.h"

namespace dgemma {

/// Finds the first stop string in a text that comes in pieces, and holds back what may become one. Which one, and what is let
/// through, does not depend on the pieces. Linear in text and number of stop strings.
class StopStrings {
 public:
  explicit StopStrings(const std::vector<std::string>& stops);

  /// Text that is certain not to belong to a stop string. Nothing more once one was found. Pieces are whole characters,
  /// and so is what comes out.
  std::string Push(std::string_view text);
  /// What was held back, when the text ended without a stop string or something else stands between it and what follows.
  std::string Finish();
  /// The stop string that was found: the one whose end comes first, the longest of those.
  const std::string* found() const { return found_; }

 private:
  struct Matcher {
    std::string stop;
    std::vector<size_t> border;  // of stop's prefixes (Knuth, Morris, Pratt)
    size_t matched = 0;          // bytes of stop that the text so far ends with
  };
  std::vector<Matcher> matchers_;
  std::string held_;
  const std::string* found_ = nullptr;
};

/// How an answer may go on.
enum class AnswerState : uint8_t {
  kOpen,
  kSatisfied,  ///< nothing more will be passed on: the engine may stop
};

class AnswerFilter {
 public:
  /// `call_prefix` begins the ids of calls, a number follows. Request and sink outlive this.
  AnswerFilter(const CompletionRequest& request, int32_t answer, std::string call_prefix, CompletionSink& sink);

  AnswerState Thought(std::string_view text);
  AnswerState Text(std::string_view text);
  AnswerState Call(const FunctionCall& call);
  /// Lets go what was held back and says how the answer ended, given how the engine's did. Nothing when a demanded call is
  /// missing.
  std::optional<EndKind> Finish(FinishReason reason);

  bool satisfied() const { return satisfied_; }
  /// The stop string that ended the text, "" when none did.
  std::string stop_string() const { return stops_.found() ? *stops_.found() : std::string(); }
  /// What was passed on, for counting tokens.
  const std::string& thought() const { return thought_; }
  const std::string& text() const { return text_; }

 private:
  void PassOn(std::string_view text);

  const CompletionRequest& request_;
  const int32_t answer_;
  const std::string call_prefix_;
  CompletionSink& sink_;
  StopStrings stops_;
  std::string thought_, text_;
  int calls_ = 0;
  bool satisfied_ = false;
};

}  // namespace dgemma
