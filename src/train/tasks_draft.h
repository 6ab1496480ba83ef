// What the files tasks_*.cc share: a draft is an example before its split is known. Each kind of task has a function
// that draws one; tasks.cc has the table of them. Private to the task generator.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat.h"
#include "train/tasks_random.h"

namespace dgemma {

/// One drawn example. Exactly one of `answer` and `calls` is not empty.
struct TaskDraft {
  std::string content;
  std::string prompt;
  std::string answer;
  std::string thought = {};
  std::vector<ToolCall> calls = {};
  std::vector<Tool> tools = {};
};

TaskDraft DrawSort(TaskRandom& random);
TaskDraft DrawSortLetters(TaskRandom& random);
TaskDraft DrawReverse(TaskRandom& random);
TaskDraft DrawUpper(TaskRandom& random);
TaskDraft DrawLower(TaskRandom& random);
TaskDraft DrawSpell(TaskRandom& random);
TaskDraft DrawAdd(TaskRandom& random);
TaskDraft DrawSub(TaskRandom& random);
TaskDraft DrawMul(TaskRandom& random);
TaskDraft DrawCountUp(TaskRandom& random);
TaskDraft DrawCountDown(TaskRandom& random);
TaskDraft DrawDate(TaskRandom& random);
TaskDraft DrawUnit(TaskRandom& random);
TaskDraft DrawJson(TaskRandom& random);
TaskDraft DrawJsonSet(TaskRandom& random);
TaskDraft DrawJsonDelete(TaskRandom& random);
TaskDraft DrawJsonRename(TaskRandom& random);
TaskDraft DrawBrackets(TaskRandom& random);
TaskDraft DrawCode(TaskRandom& random);
TaskDraft DrawQuestion(TaskRandom& random);
TaskDraft DrawThink(TaskRandom& random);
TaskDraft DrawTool(TaskRandom& random);

/// The solved board, which decides the split; FinishSudoku then makes the puzzle from it.
TaskDraft DrawSudoku4(TaskRandom& random);
TaskDraft DrawSudoku6(TaskRandom& random);
TaskDraft DrawSudoku9(TaskRandom& random);
void FinishSudoku(TaskRandom& random, TaskDraft& draft);

/// A lower-case word of `low` to `high` letters (high <= 12): an English one, a pronounceable one, or any letters.
std::string RandomWord(TaskRandom& random, int low, int high);
/// The same with a capital letter.
std::string RandomName(TaskRandom& random, int low, int high);
/// Content of whatever is done with a word: the word or its reversal, whichever comes first.
std::string WordContent(std::string_view word);
/// Content of whatever is done with numbers: the numbers in order of size.
std::string NumbersContent(std::vector<int> numbers);

/// Members of a JSON object in order; values as JSON writes them.
using JsonMembers = std::vector<std::pair<std::string, std::string>>;
/// {"a":1,"b":"x"}
std::string CompactJson(const JsonMembers& members);

}  // namespace dgemma
