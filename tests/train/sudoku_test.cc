// The Sudoku generator and solver against a plain search by the rules, known counts of boards, and clashing boards.
#include "train/sudoku.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>

namespace dgemma {
namespace {

struct Box {
  int rows, columns;
};

Box BoxOf(int side) { return side == 4 ? Box{2, 2} : side == 6 ? Box{2, 3} : Box{3, 3}; }

// Whether every row, column and box holds 1 to side, by sets.
bool FollowsRules(const SudokuBoard& board) {
  const Box box = BoxOf(board.side);
  const auto at = [&](int row, int column) { return board.cells[static_cast<size_t>(row * board.side + column)]; };
  for (int group = 0; group < board.side; ++group) {
    std::set<int> row, column, in_box;
    for (int i = 0; i < board.side; ++i) {
      row.insert(at(group, i));
      column.insert(at(i, group));
      const int boxes_across = board.side / box.columns;
      in_box.insert(
          at(group / boxes_across * box.rows + i / box.columns, group % boxes_across * box.columns + i % box.columns));
    }
    for (const auto& found : {row, column, in_box}) {
      if (std::ssize(found) != board.side || *found.begin() != 1 || *found.rbegin() != board.side) return false;
    }
  }
  return true;
}

// All fillings, cell by cell, without any cleverness.
int CountPlainly(SudokuBoard board, int cell, int limit) {
  while (cell < board.cell_count() && board.cells[static_cast<size_t>(cell)] != 0) ++cell;
  if (cell == board.cell_count()) return FollowsRules(board) ? 1 : 0;
  const Box box = BoxOf(board.side);
  int found = 0;
  for (int digit = 1; digit <= board.side && found < limit; ++digit) {
    bool free = true;
    for (int other = 0; other < board.cell_count(); ++other) {
      const bool same_row = other / board.side == cell / board.side,
                 same_column = other % board.side == cell % board.side;
      const bool same_box = other / board.side / box.rows == cell / board.side / box.rows &&
                            other % board.side / box.columns == cell % board.side / box.columns;
      if ((same_row || same_column || same_box) && board.cells[static_cast<size_t>(other)] == digit) free = false;
    }
    if (!free) continue;
    board.cells[static_cast<size_t>(cell)] = static_cast<uint8_t>(digit);
    found += CountPlainly(board, cell + 1, limit - found);
    board.cells[static_cast<size_t>(cell)] = 0;
  }
  return found;
}

TEST(SudokuGenerator, PuzzlesHaveTheWantedGivensAndOneSolution) {
  const struct {
    int side, low, high;
  } kCases[] = {{4, 6, 13}, {6, 14, 26}, {9, 36, 46}};
  for (const auto& [side, low, high] : kCases) {
    for (uint64_t index = 0; index < 100; ++index) {
      TaskRandom random(11, "test", index, 0);
      const SudokuBoard solution = RandomSudokuSolution(side, random);
      ASSERT_TRUE(FollowsRules(solution)) << solution.Text('.', '\n');
      const int givens = random.Between(low, high);
      const SudokuBoard puzzle = RandomSudokuPuzzle(solution, givens, random);
      EXPECT_EQ(puzzle.Givens(), givens);
      SudokuBoard solved;
      EXPECT_EQ(CountSudokuSolutions(puzzle, 2, &solved), 1);
      EXPECT_EQ(solved, solution);
      EXPECT_EQ(CountPlainly(puzzle, 0, 2), 1);
      EXPECT_TRUE(CheckSudoku(puzzle, solution.Text('.', '\n')));
    }
  }
}

TEST(SudokuSolver, CountsAsAPlainSearchDoes) {
  for (uint64_t index = 0; index < 200; ++index) {
    TaskRandom random(12, "test", index, 0);
    SudokuBoard board = RandomSudokuSolution(index % 2 == 0 ? 4 : 6, random);
    for (int removed = 0; removed < board.cell_count() / 2; ++removed) {
      board.cells[random.Below(static_cast<uint32_t>(board.cell_count()))] = 0;
    }
    EXPECT_EQ(CountSudokuSolutions(board, 50), CountPlainly(board, 0, 50)) << board.Text('.', '\n');
  }
  SudokuBoard empty;
  empty.side = 4;
  EXPECT_EQ(CountSudokuSolutions(empty, 1000), 288);  // the known number of 4 x 4 boards
}

TEST(SudokuSolver, BoardsThatClashOrHaveNoWayOutHaveNoSolution) {
  EXPECT_EQ(CountSudokuSolutions(*ReadSudokuBoard("11.. .... .... ...."), 2), 0);
  EXPECT_EQ(CountSudokuSolutions(*ReadSudokuBoard("1... 1... .... ...."), 2), 0);
  EXPECT_EQ(CountSudokuSolutions(*ReadSudokuBoard("1... .1.. .... ...."), 2), 0);
  EXPECT_EQ(CountSudokuSolutions(*ReadSudokuBoard("123. ...4 .... ...."), 2), 0);
}

TEST(SudokuAnswer, MustBeFullFollowTheRulesAndKeepTheGivens) {
  const SudokuBoard puzzle = *ReadSudokuBoard("3241 4132 ..14 1.2.");
  EXPECT_TRUE(CheckSudoku(puzzle, "3241\n4132\n2314\n1423"));
  EXPECT_TRUE(CheckSudoku(puzzle, " 3241 4132 2314 1423 "));
  EXPECT_FALSE(CheckSudoku(puzzle, "3241\n4132\n2314\n142."));
  EXPECT_FALSE(CheckSudoku(puzzle, "3241\n4132\n2314\n1424"));
  EXPECT_FALSE(CheckSudoku(puzzle, "1243\n3412\n2134\n4321"));  // a board, but not of this puzzle
  EXPECT_FALSE(CheckSudoku(puzzle, "3241\n4132\n2314\n14235"));
  EXPECT_FALSE(CheckSudoku(puzzle, "solved"));
  EXPECT_FALSE(CheckSudoku(puzzle, ""));
  const SudokuBoard two_ways = *ReadSudokuBoard("1234 3412 2143 ....");
  SudokuBoard open = two_ways;
  open.cells.fill(0);
  EXPECT_TRUE(CheckSudoku(open, "1234\n3412\n2143\n4321"));
  EXPECT_TRUE(CheckSudoku(open, "1234\n3412\n4321\n2143"));
}

TEST(SudokuAnswer, SaysWhatIsWrong) {
  const SudokuBoard puzzle = *ReadSudokuBoard("3241 4132 ..14 1.2.");
  const auto wrong = [&](std::string_view answer) { return CheckSudoku(puzzle, answer).error().message; };
  EXPECT_EQ(wrong("3241\n4132\n3314\n1423"), "column 1 has two 3s");
  EXPECT_EQ(wrong("3241\n4132\n2341\n1423"), "the given 1 in row 3 was changed to 4");
  EXPECT_EQ(wrong("3241\n4132\n2314\n1.23"), "row 4 has an empty cell");
  EXPECT_EQ(wrong("3241\n4132\n2314"), "answer: 12 cells (expected 16, 36 or 81)");
  EXPECT_EQ(wrong("123456 456123 231564 564231 312645 645312"), "answer: 36 cells (expected 16)");
}

TEST(SudokuAnswer, RulesAgreeWithAllBoardsOfFour) {
  SudokuBoard open;
  open.side = 4;
  int valid = 0;
  std::array<std::string, 24> rows;
  std::string row = "1234";
  for (std::string& one : rows) {
    one = row;
    std::ranges::next_permutation(row);
  }
  for (const auto& a : rows) {
    for (const auto& b : rows) {
      for (const auto& c : rows) {
        for (const auto& d : rows) {
          const SudokuBoard board = *ReadSudokuBoard(a + b + c + d);
          const bool right = FollowsRules(board);
          ASSERT_EQ(CheckSudoku(open, a + b + c + d).has_value(), right) << board.Text('.', ' ');
          valid += right ? 1 : 0;
        }
      }
    }
  }
  EXPECT_EQ(valid, 288);
}

TEST(SudokuText, SaysWhatIsWrong) {
  EXPECT_NE(ReadSudokuBoard("12x4").error().message.find("\"x\""), std::string::npos);
  EXPECT_NE(ReadSudokuBoard("1234").error().message.find("4 cells"), std::string::npos);
  EXPECT_NE(ReadSudokuBoard("1235 .... .... ....").error().message.find("digit 5"), std::string::npos);
  const std::string text = "12.4 3412 2143 4321";
  EXPECT_EQ(ReadSudokuBoard(text)->Text('.', ' '), text);
}

TEST(SudokuGenerator, RenamedDigitsAreTheSameBoard) {
  TaskRandom random(13, "test", 0, 0);
  const SudokuBoard board = RandomSudokuSolution(9, random);
  SudokuBoard other = board;
  for (uint8_t& digit : other.cells) digit = static_cast<uint8_t>(digit % 9 + 1);
  EXPECT_NE(board, other);
  EXPECT_EQ(RenamedSudoku(board), RenamedSudoku(other));
  EXPECT_TRUE(FollowsRules(RenamedSudoku(board)));
}

}  // namespace
}  // namespace dgemma
