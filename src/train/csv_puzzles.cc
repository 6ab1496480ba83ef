// Splits at the comma, checks the grid by the rules, writes prompt and answer.
#include "train/csv_puzzles.h"

#include <fmt/format.h>

#include <utility>

#include "base/try.h"
#include "files/messages.h"

namespace dgemma {
namespace {

constexpr std::string_view kHeader = "puzzle,solution";

std::unexpected<Fault> Bad(std::string message) {
  return std::unexpected(Fault{FaultKind::kBadPuzzle, std::move(message)});
}

/// Digits in a row, 0 when no grid has so many cells.
int SideOf(size_t cells) {
  for (const int side : {4, 6, 9}) {
    if (cells == static_cast<size_t>(side * side)) return side;
  }
  return 0;
}

OrFault<void> CheckDigits(std::string_view digits, const char* field, char lowest, int side) {
  for (const char digit : digits) {
    if (digit < lowest || digit > '0' + side)
      return Bad(fmt::format("{}: digits must be {} to {}", field, lowest, side));
  }
  return {};
}

OrFault<SudokuBoard> BoardOf(std::string_view digits) {
  const auto board = ReadSudokuBoard(digits);
  if (!board) return Bad(board.error().message);
  return *board;
}

}  // namespace

Result<void> CheckPuzzleHeader(std::string_view line) {
  if (line == kHeader) return {};
  return Fail(StatusCode::kInvalidFile, fmt::format("header: is {} (must be {})", Quoted(line), kHeader));
}

OrFault<Record> ReadPuzzleRecord(std::string_view line) {
  const size_t comma = line.find(',');
  if (comma == std::string_view::npos) return Bad("has no comma (puzzle,solution)");
  const std::string_view puzzle = line.substr(0, comma), solution = line.substr(comma + 1);
  const int side = SideOf(puzzle.size());
  if (side == 0) return Bad(fmt::format("puzzle: has {} digits (16, 36 or 81)", puzzle.size()));
  if (solution.size() != puzzle.size()) {
    return Bad(fmt::format("solution: has {} digits, the puzzle {}", solution.size(), puzzle.size()));
  }
  DG_CHECK_OK(CheckDigits(puzzle, "puzzle", '0', side));
  DG_CHECK_OK(CheckDigits(solution, "solution", '1', side));
  DG_TRY(const SudokuBoard board, BoardOf(puzzle));
  if (const auto solves = CheckSudoku(board, solution); !solves) return Bad("solution: " + solves.error().message);
  DG_TRY(const SudokuBoard solved, BoardOf(solution));
  Record record{.form = Record::Form::kPair, .messages = {}, .tools = {}, .task = fmt::format("sudoku {0}x{0}", side)};
  record.messages.push_back({.role = Role::kUser, .content = PuzzlePrompt(board)});
  record.messages.push_back({.role = Role::kAssistant, .content = solved.Text('0', '\n')});
  return record;
}

std::string PuzzlePrompt(const SudokuBoard& puzzle) {
  if (puzzle.side < 9) return "sudoku " + puzzle.Text('.', ' ');
  return fmt::format("Solve this Sudoku puzzle. 0 marks an empty cell. Reply with the completed {0}x{0} grid.\n{1}",
                     puzzle.side, puzzle.Text('0', '\n'));
}

}  // namespace dgemma
