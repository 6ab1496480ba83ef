// Sudoku of 4 x 4, 6 x 6 and 9 x 9 cells: reading and writing boards, a solver on bit masks, random solutions, puzzles
// with exactly one solution, answers checked by the rules. Used by the task generator, by what grades answers and by the
// verb `sudoku`; knows nothing of prompts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dgemma/status.h"
#include "train/tasks_random.h"

namespace dgemma {

/// A board, row by row. Boxes are 2 x 2, 2 rows x 3 columns, or 3 x 3.
struct SudokuBoard {
  static constexpr size_t kMostCells = 81;

  int side = 9;                             ///< 4, 6 or 9
  std::array<uint8_t, kMostCells> cells{};  ///< 1 to side, 0 where empty; the first side * side count

  int cell_count() const { return side * side; }
  int box_rows() const { return side == 9 ? 3 : 2; }
  int box_columns() const { return side == 4 ? 2 : 3; }
  uint8_t At(int row, int column) const { return cells[static_cast<size_t>(row * side + column)]; }
  /// How many cells are filled.
  int Givens() const;
  /// Digits with `empty` for empty cells and `between` between rows.
  std::string Text(char empty, char between) const;
  bool operator==(const SudokuBoard&) const = default;
};

/// Reads 16, 36 or 81 cells: digits 1 to side; '.', '0' and '_' are empty; white space is skipped. kInvalidArgument
/// says what is no cell, or how many cells there are.
Result<SudokuBoard> ReadSudokuBoard(std::string_view text);

/// The number of ways to fill the board, counted up to `limit` (at least 1); 0 when givens clash. The first solution
/// found goes to `solution` unless that is null. Takes the empty cell with the fewest candidates first.
int CountSudokuSolutions(const SudokuBoard& board, int limit, SudokuBoard* solution = nullptr);

/// A filled board. `side` is 4, 6 or 9.
SudokuBoard RandomSudokuSolution(int side, TaskRandom& random);

/// A puzzle whose only solution is `solution`, with `givens` filled cells; with more when several random orders of
/// removal all end before that (few givens: below 24 or so of 81, 10 of 36, 5 of 16).
SudokuBoard RandomSudokuPuzzle(const SudokuBoard& solution, int givens, TaskRandom& random);

/// Nothing when `answer` (rows in lines, white space of any kind) fills `puzzle` by the rules and keeps its givens; otherwise
/// kInvalidArgument with what is wrong first, such as "row 2 has two 3s" or "the given 4 in row 1 was changed to 2". Any
/// valid filling counts, should a puzzle have several.
Result<void> CheckSudoku(const SudokuBoard& puzzle, std::string_view answer);

/// The solution with its digits renamed so that the first row reads 1, 2, 3, ...: equal for boards that differ only in
/// the names of digits.
SudokuBoard RenamedSudoku(const SudokuBoard& solution);

}  // namespace dgemma
