// The sudoku rules, checked against a brute-force list of all valid grids.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cells.h"
#include "sudoku_grid.h"
#include "sudoku_view.h"

namespace dgemma {
namespace {

// All 288 grids, by trying every choice of four row permutations.
std::vector<SudokuGrid> AllGrids() {
  std::vector<std::string> rows;
  std::string row = "1234";
  do rows.push_back(row);
  while (std::ranges::next_permutation(row).found);
  std::vector<SudokuGrid> grids;
  for (const auto& a : rows) {
    for (const auto& b : rows) {
      for (const auto& c : rows) {
        for (const auto& d : rows) {
          const std::string text = a + b + c + d;
          bool valid = true;
          for (size_t i = 0; i < 4 && valid; ++i) {
            valid = std::set<char>{a[i], b[i], c[i], d[i]}.size() == 4;
          }
          for (size_t r = 0; r < 4 && valid; r += 2) {
            for (size_t s = 0; s < 4 && valid; s += 2) {
              valid = std::set<char>{text[r * 4 + s], text[r * 4 + s + 1], text[r * 4 + s + 4], text[r * 4 + s + 5]}
                          .size() == 4;
            }
          }
          if (!valid) continue;
          SudokuGrid grid{};
          std::ranges::copy(text, grid.cells.begin());
          grids.push_back(grid);
        }
      }
    }
  }
  return grids;
}

TEST(Sudoku, RulesAgreeWithAllGrids) {
  const auto grids = AllGrids();
  ASSERT_EQ(grids.size(), 288U);
  SudokuGrid empty{};
  empty.cells.fill('.');
  EXPECT_EQ(CountSolutions(empty, 1000), 288);
  for (const SudokuGrid& grid : grids) {
    EXPECT_TRUE(CheckSudoku(empty, grid.Text()));
    SudokuGrid wrong = grid;
    std::swap(wrong.cells[0], wrong.cells[1]);
    EXPECT_FALSE(CheckSudoku(empty, wrong.Text()));
  }
}

TEST(Sudoku, MadePuzzlesHaveOneSolutionAndRepeat) {
  const auto grids = AllGrids();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const SudokuGrid puzzle = MakeSudoku(seed, 6);
    EXPECT_EQ(puzzle, MakeSudoku(seed, 6));
    EXPECT_EQ(std::ranges::count(puzzle.cells, '.'), 6);
    const auto fits = std::ranges::count_if(
        grids, [&](const SudokuGrid& grid) { return CheckSudoku(puzzle, grid.Text()).has_value(); });
    EXPECT_EQ(fits, 1);
  }
  EXPECT_NE(MakeSudoku(1, 6), MakeSudoku(2, 6));
}

TEST(Sudoku, SaysWhatIsWrong) {
  const auto puzzle = ParseSudoku("3241 4132 ..14 1.2.");
  ASSERT_TRUE(puzzle);
  EXPECT_TRUE(CheckSudoku(*puzzle, "3241\n4132\n2314\n1423"));
  EXPECT_EQ(CheckSudoku(*puzzle, "3241\n4132\n3314\n1423").error().message, "column 1 has two 3s");
  EXPECT_EQ(CheckSudoku(*puzzle, "3241\n4132\n2341\n1423").error().message, "the given 1 in row 3 was changed to 4");
  EXPECT_EQ(CheckSudoku(*puzzle, "3241\n4132\n2314").error().message, "answer: has 12 cells (expected 16)");
  EXPECT_EQ(ParseSudoku("3241 4132 ..15 1.2.").error().message, "\"5\" is no cell (1 to 4, or . where empty)");
  EXPECT_EQ(ParseSudoku("").error().message, "has 0 cells (expected 16)");
}

TEST(Sudoku, GridShowsGivenFoundAndUndecided) {
  UseUnicodeWidths();
  const auto puzzle = ParseSudoku("3241 4132 ..14 1.2.");
  const auto rows = SudokuRows(*puzzle, ReadSudoku("3241\n4132\n2"),
                               {.is_terminal = true, .can_redraw = true, .utf8 = true, .colors = Colors::kNone});
  std::string text;
  for (const Row& row : rows) text += row.bytes + "\n";
  EXPECT_EQ(text,
            "┌─────┬─────┐\n"
            "│ 3 2 │ 4 1 │\n"
            "│ 4 1 │ 3 2 │\n"
            "├─────┼─────┤\n"
            "│ 2 · │ 1 4 │\n"
            "│ 1 · │ 2 · │\n"
            "└─────┴─────┘\n");
}

}  // namespace
}  // namespace dgemma
