// Generated tasks with known answers, to train and to grade small models: sorting, letters, arithmetic, counting,
// dates, units, JSON, code, questions with thinking and tool calls, Sudoku. An example is a pure function of (seed,
// split, task, index). Whether an example is held out is decided by what it is about, so no draw of one split ever
// meets the other.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dgemma/status.h"
#include "text/chat.h"

namespace dgemma {

enum class Split { kTrain, kHeldOut };

/// A kind of task. `about` is one line with an example.
struct TaskInfo {
  std::string_view name;
  std::string_view about;
};

/// One example. Most have a prompt and a reply of plain text; some declare tools or ask for a thought.
struct TaskExample {
  std::string_view task;    ///< name in Tasks()
  std::string content;      ///< canonical content; SplitOf(content) is the example's split
  std::string prompt;       ///< the user's message
  Message reply;            ///< the right answer: content, or reasoning and content, or one tool call
  std::vector<Tool> tools;  ///< declared in the system turn
  bool thinking = false;    ///< the prompt asks for a thought
};

/// Which example: the same key gives the same example on every machine.
struct TaskKey {
  uint64_t seed = 0;
  Split split = Split::kTrain;
  uint64_t index = 0;
};

/// All kinds, in a fixed order.
std::span<const TaskInfo> Tasks();

/// The split of a canonical content: one in eight is held out, by a hash. Contents name what could be learnt by
/// heart: the word (whatever is done with it, in either direction), the operands without order, the multiset of
/// numbers, the date, the JSON object, the completed code, the Sudoku's solution (of 6 x 6 and 9 x 9 up to the names
/// of digits).
Split SplitOf(std::string_view content);

/// An example of a kind. kInvalidArgument for a name that is not in Tasks(). Draws until the content is of the wanted
/// split: about one draw for kTrain, eight for kHeldOut.
Result<TaskExample> MakeTask(std::string_view task, const TaskKey& key);

/// The reply as the model writes it, with the markup of thoughts and calls, without the token that ends the turn.
std::string ReplyText(const TaskExample& example);

/// The prompt in the chat format, opening of the model's turn included.
std::vector<ChatPiece> TaskPrompt(const TaskExample& example);

/// A line of training data: {"task","prompt","completion"}, or for tools and thoughts {"task","messages","tools",
/// "thinking","answer"} with the answer as ReplyText writes it.
boost::json::object TaskJson(const TaskExample& example);

/// Whether `answer` is right. A thought in front of it ("<|channel>...<channel|>") is not graded, white space around
/// it does not count. "sudoku*": any filling of the prompt's puzzle that follows the rules; everything else: exactly
/// `expected`.
bool Correct(std::string_view task, std::string_view prompt, std::string_view expected, std::string_view answer);

/// Pieces of text that the tokenizer of a small model should keep whole: the words that open a prompt with the space
/// behind them, and markup of the chat format. The letters that follow are then tokens of their own (see
/// tokenizer_builder.h).
std::span<const std::string_view> TaskKeywords();

/// Texts of the train split to learn a tokenizer from: prompt and answer in the chat format, `per_task` of each kind.
std::vector<std::string> TaskTexts(uint64_t seed, uint64_t per_task);

}  // namespace dgemma
