// 4 x 4 sudoku: reading and making puzzles, checking answers by the rules. Knows nothing of models or terminals.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "dgemma/status.h"

namespace dgemma {

constexpr size_t kSudokuSide = 4;

/// Digits '1'..'4', '.' where empty, row by row.
struct SudokuGrid {
  std::array<char, kSudokuSide * kSudokuSide> cells;

  char At(size_t row, size_t column) const { return cells[row * kSudokuSide + column]; }
  /// "3241 4132 ..14 1.2.", the form the model knows.
  std::string Text() const;
  bool operator==(const SudokuGrid&) const = default;
};

/// Reads 16 cells: digits 1 to 4, and . or 0 or _ where empty; white space between them is skipped.
Result<SudokuGrid> ParseSudoku(std::string_view text);

/// How many ways there are to fill the grid, counted up to `limit`.
int CountSolutions(const SudokuGrid& grid, int limit);

/// A puzzle with exactly one solution and about `blanks` empty cells (fewer when more would be ambiguous). The same
/// seed gives the same puzzle.
SudokuGrid MakeSudoku(uint64_t seed, int blanks);

/// Checks an answer (four lines of four digits): nothing when it solves the puzzle, otherwise what is wrong, such as
/// "row 2 has two 3s" or "the given 4 in row 1 was changed to 2".
Result<void> CheckSudoku(const SudokuGrid& puzzle, std::string_view answer);

}  // namespace dgemma
