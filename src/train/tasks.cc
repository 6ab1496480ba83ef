// The table of tasks, the split, and the forms in which an example leaves the generator.
#include "train/tasks.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <string>
#include <utility>

#include "files/messages.h"
#include "text/utf8.h"
#include "train/sudoku.h"
#include "train/tasks_draft.h"

namespace dgemma {
namespace {

namespace json = boost::json;

constexpr uint64_t kHeldOutOneIn = 8;
constexpr std::string_view kThoughtEnd = "<channel|>";

struct Kind {
  TaskDraft (*draw)(TaskRandom&);
  void (*finish)(TaskRandom&, TaskDraft&) = nullptr;  // once the split is right
};

constexpr auto kInfos = std::to_array<TaskInfo>({
    {"sort", "sort 7 3 9 1: 1 3 7 9"},
    {"sort-letters", "sort d a c: a c d"},
    {"reverse", "reverse stone: enots"},
    {"upper", "upper cat: CAT"},
    {"lower", "lower CAT: cat"},
    {"spell", "spell cat: c a t"},
    {"add", "add 123 456: 579"},
    {"sub", "sub 456 123: 333"},
    {"mul", "mul 12 34: 408"},
    {"count", "count 3 to 6: 3 4 5 6"},
    {"count-down", "count 6 to 3: 6 5 4 3"},
    {"date", "date 2024-02-28 next: 2024-02-29; also long, us, iso"},
    {"unit", "unit 3 km in m: 3000 m"},
    {"json", "json name=ada age=36: {\"name\":\"ada\",\"age\":36}"},
    {"json-set", "set age=37 in {\"age\":36}: {\"age\":37}"},
    {"json-delete", "delete age in {\"id\":1,\"age\":36}: {\"id\":1}"},
    {"json-rename", "rename age to year in {\"age\":36}: {\"year\":36}"},
    {"brackets", "close ([a]{: })"},
    {"code", "fill def add(a, b): return a _ b: +"},
    {"question", "Is 7 even or odd?: odd"},
    {"think", "What is 12 plus 7 plus 5?: 24, with a thought in front"},
    {"tool", "What is the weather in Rome?: a call of the tool weather"},
    {"sudoku", "sudoku 3241 4132 ..14 1.2.: the four rows"},
    {"sudoku6", "sudoku and six rows of six cells: the six rows"},
    {"sudoku9", "an instruction and nine rows, 36 to 46 givens: the nine rows"},
});

constexpr auto kKinds = std::to_array<Kind>({{DrawSort},
                                             {DrawSortLetters},
                                             {DrawReverse},
                                             {DrawUpper},
                                             {DrawLower},
                                             {DrawSpell},
                                             {DrawAdd},
                                             {DrawSub},
                                             {DrawMul},
                                             {DrawCountUp},
                                             {DrawCountDown},
                                             {DrawDate},
                                             {DrawUnit},
                                             {DrawJson},
                                             {DrawJsonSet},
                                             {DrawJsonDelete},
                                             {DrawJsonRename},
                                             {DrawBrackets},
                                             {DrawCode},
                                             {DrawQuestion},
                                             {DrawThink},
                                             {DrawTool},
                                             {DrawSudoku4, FinishSudoku},
                                             {DrawSudoku6, FinishSudoku},
                                             {DrawSudoku9, FinishSudoku}});
static_assert(kInfos.size() == kKinds.size());

// Verbs end in a space, so that the letters behind them begin a stretch of their own.
constexpr auto kKeywords = std::to_array<std::string_view>(
    {"user\n",       "model\n",      "system\n",   "thought\n", "sort ",  "reverse ", "upper ",       "lower ",
     "spell ",       "add ",         "sub ",       "mul ",      "count ", "date ",    "unit ",        "json ",
     "set ",         "delete ",      "rename ",    "close ",    "fill ",  "sudoku ",  "declaration:", "description:",
     "parameters:{", "properties:{", "required:[", "type:",     "call:",  "response:"});

json::string_view View(std::string_view text) { return {text.data(), text.size()}; }

json::object Conversation(const TaskExample& example) {
  json::object reply{{"role", "assistant"}};
  if (const auto* content = std::get_if<std::string>(&example.reply.content)) reply["content"] = *content;
  if (!example.reply.reasoning.empty()) reply["reasoning"] = example.reply.reasoning;
  json::array calls;
  for (const ToolCall& call : example.reply.tool_calls) {
    calls.push_back({{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  if (!calls.empty()) reply["tool_calls"] = std::move(calls);
  json::object line{{"task", View(example.task)},
                    {"messages", json::array{json::object{{"role", "user"}, {"content", example.prompt}}, reply}}};
  json::array tools;
  for (const Tool& tool : example.tools) {
    tools.push_back(
        {{"type", "function"},
         {"function", {{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}}}});
  }
  if (!tools.empty()) line["tools"] = std::move(tools);
  line["thinking"] = example.thinking;
  line["answer"] = ReplyText(example);
  return line;
}

/// The chat text of messages that the generator made, which is always valid.
std::vector<ChatPiece> Format(const TaskExample& example, std::span<const Message> messages) {
  return FormatChatPieces(messages, example.tools, {.enable_thinking = example.thinking}).value();
}

std::string Joined(const std::vector<ChatPiece>& pieces) {
  std::string text;
  for (const ChatPiece& piece : pieces) text += piece.text;
  return text;
}

Message UserTurn(const TaskExample& example) { return {.role = Role::kUser, .content = example.prompt}; }

}  // namespace

std::span<const TaskInfo> Tasks() { return kInfos; }

Split SplitOf(std::string_view content) {
  return HashText(content) % kHeldOutOneIn == 0 ? Split::kHeldOut : Split::kTrain;
}

Result<TaskExample> MakeTask(std::string_view task, const TaskKey& key) {
  const auto* const info = std::ranges::find(kInfos, task, &TaskInfo::name);
  if (info == kInfos.end()) {
    return Fail(StatusCode::kInvalidArgument, "task: " + Quoted(task) + " is none (`dgemma tasks list` lists them)");
  }
  const Kind& kind = kKinds[static_cast<size_t>(info - kInfos.begin())];
  for (uint32_t attempt = 0;; ++attempt) {
    TaskRandom random(key.seed, info->name, key.index, attempt);
    TaskDraft draft = kind.draw(random);
    if (SplitOf(draft.content) != key.split) continue;
    if (kind.finish != nullptr) kind.finish(random, draft);
    TaskExample example{.task = info->name,
                        .content = std::move(draft.content),
                        .prompt = std::move(draft.prompt),
                        .reply = {.role = Role::kAssistant},
                        .tools = std::move(draft.tools),
                        .thinking = !draft.thought.empty()};
    if (!draft.answer.empty()) example.reply.content = std::move(draft.answer);
    example.reply.reasoning = std::move(draft.thought);
    example.reply.tool_calls = std::move(draft.calls);
    return example;
  }
}

std::string ReplyText(const TaskExample& example) {
  const std::array messages = {UserTurn(example), example.reply};
  const std::string whole = Joined(
      FormatChatPieces(messages, example.tools, {.enable_thinking = example.thinking, .add_generation_prompt = false})
          .value());
  std::string_view answer = std::string_view(whole).substr(Joined(TaskPrompt(example)).size());
  for (const std::string_view end : {"<|tool_response>", "<turn|>\n"}) {
    if (answer.ends_with(end)) answer.remove_suffix(end.size());
  }
  return std::string(answer);
}

std::vector<ChatPiece> TaskPrompt(const TaskExample& example) {
  const std::array messages = {UserTurn(example)};
  return Format(example, messages);
}

json::object TaskJson(const TaskExample& example) {
  if (!example.tools.empty() || example.thinking) return Conversation(example);
  return {{"task", View(example.task)}, {"prompt", example.prompt}, {"completion", ReplyText(example)}};
}

bool Correct(std::string_view task, std::string_view prompt, std::string_view expected, std::string_view answer) {
  const auto graded = [](std::string_view text) {
    const size_t thought = text.rfind(kThoughtEnd);
    return StripWhitespace(thought == std::string_view::npos ? text : text.substr(thought + kThoughtEnd.size()));
  };
  if (!task.starts_with("sudoku")) return graded(answer) == graded(expected);
  // What comes before the cells has no digits but the "0" and "9x9" of the instruction, whose line ends before them.
  const size_t line = prompt.find('\n');
  const size_t begin = line != std::string_view::npos ? line : std::min(prompt.find(' '), prompt.size());
  const auto puzzle = ReadSudokuBoard(prompt.substr(begin));
  return puzzle && CheckSudoku(*puzzle, graded(answer));
}

std::span<const std::string_view> TaskKeywords() { return kKeywords; }

std::vector<std::string> TaskTexts(uint64_t seed, uint64_t per_task) {
  std::vector<std::string> texts;
  for (const TaskInfo& info : kInfos) {
    for (uint64_t index = 0; index < per_task; ++index) {
      const TaskExample example = MakeTask(info.name, {.seed = seed, .split = Split::kTrain, .index = index}).value();
      texts.push_back(Joined(TaskPrompt(example)) + ReplyText(example));
    }
  }
  return texts;
}

}  // namespace dgemma
