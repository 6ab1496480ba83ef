// One answer from a checked request to an Answer: prompt, noise, story, and the way from tokens to the listener's text.
// Sessions and the Scheduler differ in who runs the story's passes, in nothing else.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dgemma/dgemma.h"
#include "engine/generate.h"
#include "engine/timeline.h"
#include "text/tokenizer.h"

namespace dgemma {

using SteadyTime = std::chrono::steady_clock::time_point;

/// What all answers of an engine are written with.
struct AnswerParts {
  const Model* model = nullptr;
  const Tokenizer* tokenizer = nullptr;
  CommitMode commit = CommitMode::kMerged;
  int64_t chunk_rows = 256;  ///< prompt rows in one pass
  std::function<SteadyTime()> now = [] { return std::chrono::steady_clock::now(); };
};

/// Ids of a request's prompt. kInvalidArgument for a conversation that the chat format cannot express.
Result<std::vector<int32_t>> TokensOfPrompt(const Request& request, const Tokenizer& tokenizer);

/// Ranges of options and ids. kInvalidArgument and kUnsupported name the field; kResourceExhausted: prompt and one
/// canvas exceed the context.
Result<void> CheckRequest(const Request& request, std::span<const int32_t> prompt, const Config& config,
                          int64_t context);

class Reporter;

class Answering {
 public:
  /// `asked` is when the figures' times begin.
  struct Prompt {
    std::vector<int32_t> tokens;
    SteadyTime asked;
  };

  /// For a request that CheckRequest passed. Keeps what the timeline holds of the prompt; parts, timeline and listener
  /// (may be null) outlive the Answering. kResourceExhausted without memory.
  static Result<std::unique_ptr<Answering>> Begin(const AnswerParts& parts, Timeline& timeline, const Request& request,
                                                  Prompt prompt, Listener* listener);
  ~Answering();

  Story& story() { return *story_; }
  /// The prompt, and how much of it the cache holds.
  std::span<const int32_t> prompt() const { return prompt_; }
  int64_t prompt_read() const { return std::min<int64_t>(std::ssize(prompt_), timeline_.cache().end()); }
  /// Between passes: lets the timeline know the tokens that its cache holds by now, so that others may copy them.
  void ShareTokens();
  const Figures& figures() const;
  /// Of denoising passes so far, positions taken as certain.
  int64_t accepted_rows() const;
  /// When the story has ended: what became of it; the timeline is free again. A story that ended with kCancelled gives
  /// an Answer with this finish and the text so far, another failure an error.
  Result<Answer> End(FinishReason interrupted);

 private:
  Answering(const AnswerParts& parts, Timeline& timeline, const Request& request, Prompt prompt, Listener* listener);

  const AnswerParts& parts_;
  Timeline& timeline_;
  const std::vector<int32_t> prompt_;
  const GenerateOptions options_;
  const std::optional<StartCanvas> start_canvas_;
  const SeededNoise noise_;
  std::unique_ptr<Reporter> reporter_;
  GenerationResult result_;
  std::optional<Story> story_;  // refers to all of the above
};

}  // namespace dgemma
