// The solver keeps one mask of used digits per row, column and box and a list of empty cells.
#include "train/sudoku.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>
#include <utility>

#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr int kOrders = 8;  // orders of removal tried for one puzzle

int BoxOf(const SudokuBoard& board, int row, int column) {
  return row / board.box_rows() * (board.side / board.box_columns()) + column / board.box_columns();
}

/// Depth-first search over the empty cells; recursion is as deep as there are empty cells, at most 81.
class Search {
 public:
  explicit Search(const SudokuBoard& board) : board_(board), all_((1U << board.side) - 1) {
    for (int cell = 0; cell < board.cell_count(); ++cell) {
      const uint8_t digit = board_.cells[static_cast<size_t>(cell)];
      if (digit == 0) {
        empty_[empty_count_++] = static_cast<uint8_t>(cell);
      } else {
        const uint32_t bit = 1U << (digit - 1);
        clash_ = clash_ || (Candidates(cell) & bit) == 0;
        Mark(cell, bit);
      }
    }
  }

  /// Digits that the cell's row, column and box leave open.
  uint32_t Candidates(int cell) const {
    const int row = cell / board_.side, column = cell % board_.side;
    return all_ & ~(rows_[Index(row)] | columns_[Index(column)] | boxes_[Index(BoxOf(board_, row, column))]);
  }

  /// Solutions, at most `limit`; candidates are tried in a random order when there is a generator.
  int Count(int limit, TaskRandom* random) {
    limit_ = limit;
    random_ = random;
    if (!clash_) Descend();
    return found_;
  }

  /// Whether the empty cell can hold another digit than `digit`.
  bool HoldsOther(int cell, uint8_t digit) {
    for (uint32_t open = Candidates(cell) & ~(1U << (digit - 1)); open != 0; open &= open - 1) {
      SudokuBoard other = board_;
      other.cells[Index(cell)] = static_cast<uint8_t>(std::countr_zero(open) + 1);
      if (Search(other).Count(1, nullptr) > 0) return true;
    }
    return false;
  }

  const SudokuBoard& first() const { return first_; }

 private:
  static size_t Index(int value) { return static_cast<size_t>(value); }

  void Mark(int cell, uint32_t bit) {
    const int row = cell / board_.side, column = cell % board_.side;
    rows_[Index(row)] ^= bit;
    columns_[Index(column)] ^= bit;
    boxes_[Index(BoxOf(board_, row, column))] ^= bit;
  }

  void Descend() {
    if (empty_count_ == 0) {
      if (found_++ == 0) first_ = board_;
      return;
    }
    size_t best = 0;
    uint32_t open = 0;
    int fewest = 10;
    for (size_t at = 0; at < empty_count_ && fewest > 1; ++at) {
      const uint32_t candidates = Candidates(empty_[at]);
      if (std::popcount(candidates) < fewest) {
        fewest = std::popcount(candidates);
        open = candidates;
        best = at;
      }
    }
    const uint8_t cell = empty_[best];
    std::swap(empty_[best], empty_[--empty_count_]);
    while (open != 0 && found_ < limit_) {
      const uint32_t bit = Take(open);
      Mark(cell, bit);
      board_.cells[cell] = static_cast<uint8_t>(std::countr_zero(bit) + 1);
      Descend();
      Mark(cell, bit);
    }
    board_.cells[cell] = 0;
    std::swap(empty_[best], empty_[empty_count_++]);
  }

  /// One of the bits, which it removes: the lowest, or a random one.
  uint32_t Take(uint32_t& open) {
    uint32_t rest = open;
    if (random_ != nullptr) {
      for (uint32_t skip = random_->Below(static_cast<uint32_t>(std::popcount(open))); skip > 0; --skip)
        rest &= rest - 1;
    }
    const uint32_t bit = rest & (~rest + 1);
    open ^= bit;
    return bit;
  }

  SudokuBoard board_;
  SudokuBoard first_;
  uint32_t all_;
  std::array<uint32_t, 9> rows_{}, columns_{}, boxes_{};  // digits in use
  std::array<uint8_t, SudokuBoard::kMostCells> empty_{};
  size_t empty_count_ = 0;
  TaskRandom* random_ = nullptr;
  bool clash_ = false;
  int limit_ = 1;
  int found_ = 0;
};

/// Removes givens in one random order; a given that cannot go now can never go later, so one round is all there is.
SudokuBoard Remove(const SudokuBoard& solution, int givens, TaskRandom& random) {
  std::array<uint8_t, SudokuBoard::kMostCells> order{};
  const auto count = static_cast<size_t>(solution.cell_count());
  std::iota(order.begin(), order.end(), uint8_t{0});
  random.Shuffle(std::span(order).first(count));
  SudokuBoard puzzle = solution;
  int left = solution.cell_count();
  for (size_t i = 0; i < count && left > givens; ++i) {
    const uint8_t cell = order[i];
    puzzle.cells[cell] = 0;
    --left;
    if (Search(puzzle).HoldsOther(cell, solution.cells[cell])) {
      puzzle.cells[cell] = solution.cells[cell];
      ++left;
    }
  }
  return puzzle;
}

}  // namespace

int SudokuBoard::Givens() const {
  return static_cast<int>(std::ranges::count_if(cells, [](uint8_t digit) { return digit != 0; }));
}

std::string SudokuBoard::Text(char empty, char between) const {
  std::string text;
  for (int cell = 0; cell < cell_count(); ++cell) {
    if (cell > 0 && cell % side == 0) text += between;
    const uint8_t digit = cells[static_cast<size_t>(cell)];
    text += digit == 0 ? empty : static_cast<char>('0' + digit);
  }
  return text;
}

Result<SudokuBoard> ReadSudokuBoard(std::string_view text) {
  SudokuBoard board;
  size_t count = 0;
  uint8_t largest = 0;
  for (const char byte : text) {
    if (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') continue;
    const bool empty = byte == '.' || byte == '0' || byte == '_';
    if (!empty && (byte < '1' || byte > '9')) {
      return Fail(StatusCode::kInvalidArgument,
                  Quoted(std::string_view(&byte, 1)) + " is no cell (a digit, or . where empty)");
    }
    const auto digit = static_cast<uint8_t>(empty ? 0 : byte - '0');
    if (count < SudokuBoard::kMostCells) board.cells[count] = digit;
    largest = std::max(largest, digit);
    ++count;
  }
  if (count != 16 && count != 36 && count != 81) {
    return Fail(StatusCode::kInvalidArgument, std::to_string(count) + " cells (expected 16, 36 or 81)");
  }
  board.side = count == 16 ? 4 : count == 36 ? 6 : 9;
  if (largest > board.side) {
    return Fail(StatusCode::kInvalidArgument,
                "the digit " + std::to_string(largest) + " (expected 1 to " + std::to_string(board.side) + ")");
  }
  return board;
}

int CountSudokuSolutions(const SudokuBoard& board, int limit, SudokuBoard* solution) {
  Search search(board);
  const int found = search.Count(limit, nullptr);
  if (found > 0 && solution != nullptr) *solution = search.first();
  return found;
}

SudokuBoard RandomSudokuSolution(int side, TaskRandom& random) {
  SudokuBoard board;
  board.side = side;
  Search search(board);
  search.Count(1, &random);
  return search.first();
}

SudokuBoard RandomSudokuPuzzle(const SudokuBoard& solution, int givens, TaskRandom& random) {
  SudokuBoard best = solution;
  for (int order = 0; order < kOrders && best.Givens() > givens; ++order) {
    const SudokuBoard puzzle = Remove(solution, givens, random);
    if (puzzle.Givens() < best.Givens()) best = puzzle;
  }
  return best;
}

Result<void> CheckSudoku(const SudokuBoard& puzzle, std::string_view answer) {
  const auto wrong = [](std::string message) { return Fail(StatusCode::kInvalidArgument, std::move(message)); };
  const auto filled = ReadSudokuBoard(answer);
  if (!filled) return std::unexpected(filled.error().At("answer"));
  if (filled->side != puzzle.side) {
    return wrong(fmt::format("answer: {} cells (expected {})", filled->cell_count(), puzzle.cell_count()));
  }
  for (int row = 0; row < puzzle.side; ++row) {
    for (int column = 0; column < puzzle.side; ++column) {
      const int given = puzzle.At(row, column), digit = filled->At(row, column);
      if (digit == 0) return wrong(fmt::format("row {} has an empty cell", row + 1));
      if (given != 0 && given != digit) {
        return wrong(fmt::format("the given {} in row {} was changed to {}", given, row + 1, digit));
      }
    }
  }
  constexpr std::array<const char*, 3> kGroups = {"row", "column", "box"};
  std::array<std::array<uint32_t, 9>, 3> used{};  // digits of each row, column and box so far
  for (int cell = 0; cell < puzzle.cell_count(); ++cell) {
    const int row = cell / puzzle.side, column = cell % puzzle.side, digit = filled->At(row, column);
    const std::array<int, 3> numbers = {row, column, BoxOf(puzzle, row, column)};
    for (size_t group = 0; group < kGroups.size(); ++group) {
      uint32_t& digits = used[group][static_cast<size_t>(numbers[group])];
      if ((digits >> digit & 1) != 0)
        return wrong(fmt::format("{} {} has two {}s", kGroups[group], numbers[group] + 1, digit));
      digits |= 1U << digit;
    }
  }
  return {};
}

SudokuBoard RenamedSudoku(const SudokuBoard& solution) {
  std::array<uint8_t, 10> name{};
  for (int column = 0; column < solution.side; ++column) {
    name[solution.cells[static_cast<size_t>(column)]] = static_cast<uint8_t>(column + 1);
  }
  SudokuBoard renamed = solution;
  for (uint8_t& digit : renamed.cells) digit = name[digit];
  return renamed;
}

}  // namespace dgemma
