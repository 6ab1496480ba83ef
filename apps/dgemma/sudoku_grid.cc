// The rules of 4 x 4 sudoku: every row, column and 2 x 2 box holds 1 to 4 once.
#include "sudoku_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/philox.h"
#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr size_t kCells = kSudokuSide * kSudokuSide;
constexpr size_t kBox = 2;

size_t BoxOf(size_t cell) { return cell / kSudokuSide / kBox * kBox + cell % kSudokuSide / kBox; }

// "row", "column" or "box" when two cells share one.
const char* SharedGroup(size_t a, size_t b) {
  if (a / kSudokuSide == b / kSudokuSide) return "row";
  if (a % kSudokuSide == b % kSudokuSide) return "column";
  return BoxOf(a) == BoxOf(b) ? "box" : nullptr;
}

size_t GroupNumber(std::string_view group, size_t cell) {
  if (group == "row") return cell / kSudokuSide + 1;
  return group == "column" ? cell % kSudokuSide + 1 : BoxOf(cell) + 1;
}

bool MayHold(const SudokuGrid& grid, size_t cell, char digit) {
  for (size_t other = 0; other < kCells; ++other) {
    if (other != cell && grid.cells[other] == digit && SharedGroup(cell, other) != nullptr) return false;
  }
  return true;
}

Result<void> CheckClashes(const SudokuGrid& grid) {
  for (size_t a = 0; a < kCells; ++a) {
    for (size_t b = a + 1; b < kCells; ++b) {
      const char* group = SharedGroup(a, b);
      if (group == nullptr || grid.cells[a] != grid.cells[b] || grid.cells[a] == '.') continue;
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("{} {} has two {}s", group, GroupNumber(group, a), grid.cells[a]));
    }
  }
  return {};
}

class Shuffler {
 public:
  explicit Shuffler(uint64_t seed) : seed_(seed) {}
  template <typename Range>
  void Shuffle(Range& range) {
    for (size_t i = range.size(); i > 1; --i) {
      const uint32_t j =
          UniformInt({.seed = seed_, .canvas = 0, .step = 0, .row = draws_++, .purpose = Draw::kCanvasStart},
                     static_cast<uint32_t>(i));
      std::swap(range[i - 1], range[j]);
    }
  }

 private:
  uint64_t seed_;
  uint32_t draws_ = 0;
};

// Fills the grid in the shuffled order of digits; always possible from an empty grid.
bool Fill(SudokuGrid& grid, Shuffler& shuffler) {
  const auto* empty = std::ranges::find(grid.cells, '.');
  if (empty == grid.cells.end()) return true;
  const auto cell = static_cast<size_t>(empty - grid.cells.begin());
  std::array<char, kSudokuSide> digits = {'1', '2', '3', '4'};
  shuffler.Shuffle(digits);
  for (const char digit : digits) {
    if (!MayHold(grid, cell, digit)) continue;
    grid.cells[cell] = digit;
    if (Fill(grid, shuffler)) return true;
  }
  grid.cells[cell] = '.';
  return false;
}

}  // namespace

std::string SudokuGrid::Text() const {
  std::string text;
  for (size_t row = 0; row < kSudokuSide; ++row) {
    if (row > 0) text += ' ';
    text.append(&cells[row * kSudokuSide], kSudokuSide);
  }
  return text;
}

Result<SudokuGrid> ParseSudoku(std::string_view text) {
  SudokuGrid grid{};
  size_t count = 0;
  for (const char byte : text) {
    if (byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r') continue;
    const bool empty = byte == '.' || byte == '0' || byte == '_';
    if (!empty && (byte < '1' || byte > '4')) {
      return Fail(StatusCode::kInvalidArgument,
                  Quoted(std::string_view(&byte, 1)) + " is no cell (1 to 4, or . where empty)");
    }
    if (count < kCells) grid.cells[count] = empty ? '.' : byte;
    ++count;
  }
  if (count != kCells)
    return Fail(StatusCode::kInvalidArgument, fmt::format("has {} cells (expected {})", count, kCells));
  return grid;
}

int CountSolutions(const SudokuGrid& grid, int limit) {
  if (!CheckClashes(grid)) return 0;
  const auto* empty = std::ranges::find(grid.cells, '.');
  if (empty == grid.cells.end()) return 1;
  const auto cell = static_cast<size_t>(empty - grid.cells.begin());
  int found = 0;
  for (char digit = '1'; digit <= '4' && found < limit; ++digit) {
    if (!MayHold(grid, cell, digit)) continue;
    SudokuGrid filled = grid;
    filled.cells[cell] = digit;
    found += CountSolutions(filled, limit - found);
  }
  return found;
}

SudokuGrid MakeSudoku(uint64_t seed, int blanks) {
  Shuffler shuffler(seed);
  SudokuGrid grid{};
  grid.cells.fill('.');
  Fill(grid, shuffler);
  std::array<size_t, kCells> order{};
  std::iota(order.begin(), order.end(), size_t{0});
  shuffler.Shuffle(order);
  for (const size_t cell : order) {
    if (blanks == 0) break;
    const char digit = std::exchange(grid.cells[cell], '.');
    if (CountSolutions(grid, 2) == 1) {
      --blanks;
    } else {
      grid.cells[cell] = digit;
    }
  }
  return grid;
}

Result<void> CheckSudoku(const SudokuGrid& puzzle, std::string_view answer) {
  auto grid = ParseSudoku(answer);
  if (!grid) return std::unexpected(grid.error().At("answer"));
  for (size_t cell = 0; cell < kCells; ++cell) {
    const size_t row = cell / kSudokuSide + 1;
    const char found = grid->cells[cell];
    const char given = puzzle.cells[cell];
    if (found == '.') return Fail(StatusCode::kInvalidArgument, fmt::format("row {} has an empty cell", row));
    if (given != '.' && given != found) {
      return Fail(StatusCode::kInvalidArgument,
                  fmt::format("the given {} in row {} was changed to {}", given, row, found));
    }
  }
  return CheckClashes(*grid);
}

}  // namespace dgemma
