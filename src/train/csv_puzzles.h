// Sudoku puzzles of a CSV file with the header "puzzle,solution": one line to a Record that asks for the grid in rows
// of digits. Bytes in, a value or a Fault out; files and line numbers are dataset.h's.
#pragma once

#include <string>
#include <string_view>

#include "train/examples.h"
#include "train/sudoku.h"

namespace dgemma {

/// kInvalidFile unless the line is the header.
Result<void> CheckPuzzleHeader(std::string_view line);

/// Reads "puzzle,solution": 16, 36 or 81 digits each, row by row, 0 where the puzzle is empty. The solution must keep
/// the digits that are given and hold each of 1..n once in every row, column and box (2 x 2, two rows of 3, 3 x 3).
/// Task: "sudoku 9x9" and so on. Fault: kBadPuzzle.
OrFault<Record> ReadPuzzleRecord(std::string_view line);

/// The prompt for a puzzle. 4 x 4 and 6 x 6: "sudoku 3241 4132 ..14 1.2."; 9 x 9: one line of words, then the rows in
/// lines, 0 where empty.
std::string PuzzlePrompt(const SudokuBoard& puzzle);

}  // namespace dgemma
