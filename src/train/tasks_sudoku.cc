// Tasks on Sudoku of 4 x 4, 6 x 6 and 9 x 9, with the prompts of csv_puzzles.h. Answers are the rows in lines, one digit a
// token.
#include "train/csv_puzzles.h"
#include "train/sudoku.h"
#include "train/tasks_draft.h"

namespace dgemma {
namespace {

TaskDraft Draw(int side, TaskRandom& random) {
  const SudokuBoard solution = RandomSudokuSolution(side, random);
  // Up to the names of digits there are 12 boards of 4 x 4: too few to hold any out, so there the board itself counts.
  const SudokuBoard canonical = side == 4 ? solution : RenamedSudoku(solution);
  return {.content = "sudoku:" + canonical.Text('.', ' '), .prompt = "", .answer = solution.Text('.', '\n')};
}

}  // namespace

TaskDraft DrawSudoku4(TaskRandom& random) { return Draw(4, random); }
TaskDraft DrawSudoku6(TaskRandom& random) { return Draw(6, random); }
TaskDraft DrawSudoku9(TaskRandom& random) { return Draw(9, random); }

void FinishSudoku(TaskRandom& random, TaskDraft& draft) {
  const SudokuBoard solution = *ReadSudokuBoard(draft.answer);
  const int givens = solution.side == 4   ? random.Between(6, 13)
                     : solution.side == 6 ? random.Between(14, 26)
                                          : random.Between(36, 46);
  draft.prompt = PuzzlePrompt(RandomSudokuPuzzle(solution, givens, random));
}

}  // namespace dgemma
