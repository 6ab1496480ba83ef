// What training reads and what it computes on: a Record (one line of a data file), an Example (its token ids with the
// spans of the answers) and a TrainExample (an Example with the noise of one step, all that a trainer needs). Records
// come from jsonl.h and csv_puzzles.h, noise from noise.h, files and order from dataset.h.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "dgemma/status.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace dgemma {

/// Every bound on what data files may cost, in one table. The first four end the reading, the others are faults of a
/// record.
struct DatasetLimits {
  uint64_t files = 256;                     ///< in one data set
  uint64_t file_bytes = uint64_t{1} << 36;  ///< of one file
  uint64_t records = 1 << 24;               ///< in all files together; read, used or not
  uint64_t examples = 1 << 24;              ///< made of them; each costs 24 bytes of memory
  uint64_t line_bytes = 1 << 20;            ///< longer lines are skipped without being kept
  uint32_t json_depth = 32;                 ///< nesting of a JSON line
  uint64_t json_nodes = 1 << 16;            ///< values and keys of a JSON line
  uint64_t messages = 256;                  ///< of a conversation
  uint64_t task_bytes = 64;                 ///< name of a task
  uint64_t tasks = 256;                     ///< different names of tasks
};

/// Why a record is left out. Counted by kind; never the end of a run unless DatasetOptions::faults asks for it.
enum class FaultKind : uint8_t {
  kLineTooLong,   ///< more bytes than DatasetLimits::line_bytes
  kBadUtf8,       ///< not well-formed UTF-8
  kNotJson,       ///< not one JSON value, or nested deeper or larger than the limits
  kWrongValue,    ///< a field is missing, of another kind than it must be, or out of range
  kUnknownRole,   ///< a role that the chat format does not have
  kConversation,  ///< messages that the chat format cannot express, or that this model's tokenizer cannot
  kEmptyAnswer,   ///< no answer at all, or one without text
  kBadPuzzle,     ///< a puzzle of another size, or a solution that is none
  kTooLong,       ///< more tokens than ExampleOptions::max_tokens
};
inline constexpr size_t kFaultKinds = 9;

/// Name of a kind as reports print it: "bad UTF-8".
const char* Name(FaultKind kind);

/// What is wrong with a record: the kind, and a message that names the field and the rule, one line.
struct Fault {
  FaultKind kind = FaultKind::kWrongValue;
  std::string message;
  int64_t tokens = 0;  ///< kTooLong: how many the record needs at least
};
template <typename T>
using OrFault = std::expected<T, Fault>;

/// One line of a data file, read but not tokenised.
struct Record {
  enum class Form : uint8_t {
    kConversation,  ///< `messages` as given
    kPair,          ///< prompt and completion: exactly one user and one assistant message, content is text
  };
  Form form = Form::kConversation;
  std::vector<Message> messages;
  std::vector<Tool> tools;
  bool thinking = false;  ///< the prompt asks for a thought (ChatOptions::enable_thinking)
  std::string task;       ///< name for accuracy by task; empty: none
};

/// Positions [begin, end) of one answer in a sequence of tokens: its text and the token that closes the turn, which the
/// model has to write too. Never the markup that opens the turn.
struct AnswerSpan {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length() const { return end - begin; }
  bool operator==(const AnswerSpan&) const = default;
};

/// Canvases of C positions that n answer tokens need: ceil(n / C).
constexpr int64_t CanvasesOf(int64_t answer_tokens, int64_t canvas) { return (answer_tokens + canvas - 1) / canvas; }

/// A text to learn from. `tokens` holds no fill; answers ascend, do not touch and are not empty, the last ends the
/// tokens.
struct Example {
  std::vector<int32_t> tokens;
  std::vector<AnswerSpan> answers;
  std::string task;
};

/// One noisy canvas of C rows. Row r stands at position pos + r, sees clean[0, pos) and the rows of its own canvas
/// only.
struct TrainCanvas {
  int64_t pos = 0;  ///< of its first row; the number of clean tokens that it sees (before any sliding window)
  std::vector<int32_t> noisy;   ///< [C] input ids
  std::vector<int32_t> target;  ///< [C] clean ids (answer, then fill with the end-of-text id); -1: no loss here
};

/// One example with the noise of one step. Loss of the diffusion part: mean over the canvas rows whose target is not
/// -1; of the next-token part: mean over the clean rows whose next_token is not -1.
struct TrainExample {
  std::vector<int32_t> clean;  ///< [N] the text, then the fill of the last canvas, without rows that nothing reads;
                               ///< read causally by the encoder role
  std::vector<int32_t> next_token;    ///< [N] what row i of the encoder has to predict, clean[i + 1]; -1: no loss here
  std::vector<AnswerSpan> answers;    ///< as in Example, without fill
  std::vector<TrainCanvas> canvases;  ///< one, or all of the example, ascending in pos
  double noise_level = 0;             ///< t
  bool self_condition = false;        ///< whether a first pass without gradient feeds the trained one
  std::string task;

  int64_t response_begin() const { return answers.front().begin; }
  /// Rows of clean text and of canvases that this adds to a pass; the first pass of self-conditioning is not counted.
  int64_t rows() const {
    int64_t rows = static_cast<int64_t>(clean.size());
    for (const TrainCanvas& canvas : canvases) rows += static_cast<int64_t>(canvas.noisy.size());
    return rows;
  }
};

/// Bound on ExampleOptions::max_tokens.
inline constexpr int64_t kMostExampleTokens = 1 << 20;

/// How records become examples.
struct ExampleOptions {
  int64_t canvas = 256;        ///< C
  int64_t max_tokens = 8'192;  ///< of an example: text and the fill of every answer's last canvas
  int32_t end_of_text = -1;    ///< id that fills canvases; -1: the tokenizer's <eos>
};

/// Tokenises records exactly as inference would read and write them: an answer's context is what FormatChatPieces and
/// EncodeChat make of the messages before it, with the opening of the model's turn; the answer is encoded on its own,
/// since a canvas starts behind the prompt, and closed with the turn's end. Answers of one conversation share an
/// Example as long as each one's sequence begins the next one's context; where the format rewrites the past (thoughts
/// are dropped, a turn is opened again after a tool's answer) a new Example begins. Messages behind the last answer are
/// not used. A tokenizer without the chat format's control tokens has pairs only: <bos> if there is one, prompt,
/// completion, end-of-text.
class ExampleMaker {
 public:
  /// `tokenizer` must outlive this. kInvalidArgument for options out of range.
  static Result<ExampleMaker> Create(const Tokenizer& tokenizer, const ExampleOptions& options);

  /// The examples of a record, at least one; a fault of one answer is a fault of the record. Time: the record's length,
  /// and max_tokens for each answer.
  OrFault<std::vector<Example>> Make(const Record& record) const;

  const ExampleOptions& options() const { return options_; }
  bool has_chat_format() const { return has_chat_format_; }

 private:
  ExampleMaker(const Tokenizer& tokenizer, const ExampleOptions& options);
  OrFault<std::vector<Example>> MakeConversation(const Record& record) const;
  OrFault<std::vector<Example>> MakePlain(const Record& record) const;
  OrFault<void> CheckLength(size_t context_tokens, size_t answer_tokens) const;

  const Tokenizer* tokenizer_;
  ExampleOptions options_;
  bool has_chat_format_ = false;
};

}  // namespace dgemma
