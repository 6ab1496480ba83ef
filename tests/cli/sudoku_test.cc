// How a sudoku is drawn while a canvas fills it.
#include <gtest/gtest.h>

#include "cells.h"
#include "sudoku_view.h"

namespace dgemma {
namespace {

std::string Drawn(const std::string& puzzle, const std::string& text, bool utf8) {
  UseUnicodeWidths();
  const SudokuBoard board = *ReadSudokuBoard(puzzle);
  std::string drawn;
  for (const Row& row : SudokuRows(board, ReadSudoku(text, board.side),
                                   {.is_terminal = true, .can_redraw = true, .utf8 = utf8, .colors = Colors::kNone})) {
    drawn += row.bytes + "\n";
  }
  return drawn;
}

TEST(SudokuView, GridShowsGivenFoundAndUndecided) {
  EXPECT_EQ(Drawn("3241 4132 ..14 1.2.", "3241\n4132\n2", true),
            "┌─────┬─────┐\n"
            "│ 3 2 │ 4 1 │\n"
            "│ 4 1 │ 3 2 │\n"
            "├─────┼─────┤\n"
            "│ 2 · │ 1 4 │\n"
            "│ 1 · │ 2 · │\n"
            "└─────┴─────┘\n");
}

TEST(SudokuView, BoxesOfSixAreTwoRowsOfThree) {
  EXPECT_EQ(Drawn("123456 456123 231564 564231 ...... ......", "", false),
            "+-------+-------+\n"
            "| 1 2 3 | 4 5 6 |\n"
            "| 4 5 6 | 1 2 3 |\n"
            "+-------+-------+\n"
            "| 2 3 1 | 5 6 4 |\n"
            "| 5 6 4 | 2 3 1 |\n"
            "+-------+-------+\n"
            "| . . . | . . . |\n"
            "| . . . | . . . |\n"
            "+-------+-------+\n");
}

TEST(SudokuView, WhatIsNoDigitOfTheBoardIsUndecided) {
  const SudokuBoard reading = ReadSudoku("15a4\n3412\nx1..\n432199", 4);
  EXPECT_EQ(reading.Text('.', ' '), "1..4 3412 .1.. 4321");
}

}  // namespace
}  // namespace dgemma
