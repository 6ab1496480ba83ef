// The sudoku grid on a terminal while the canvas fills it, drawn with box characters.
// Called by sudoku.cc; frames and pauses as in the live canvas.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "answer_view.h"
#include "live_block.h"
#include "sudoku_grid.h"
#include "terminal.h"

namespace dgemma {

/// What the canvas says about each cell: a digit, or '.' while undecided.
using SudokuReading = std::array<char, kSudokuSide * kSudokuSide>;

/// Reads a draft whose text is four lines of four characters.
SudokuReading ReadSudoku(const Engine& engine, const Draft& draft);
/// Reads a final text the same way.
SudokuReading ReadSudoku(std::string_view text);

/// Rows of the grid: given digits plain, found ones bold, undecided ones dim.
std::vector<Row> SudokuRows(const SudokuGrid& puzzle, const SudokuReading& reading, const TerminalTraits& traits);

class SudokuView final : public AnswerView {
 public:
  SudokuView(AnswerScene scene, const SudokuGrid& puzzle);
  void OnDraft(const Draft& draft) override;
  void OnText(std::string_view text) override;
  void Finish(Ending ending) override;
  Waiting waiting() const override { return waiting_; }

 private:
  void Draw(const SudokuReading& reading, std::string_view status);
  void Write(std::string_view bytes);

  AnswerScene scene_;
  SudokuGrid puzzle_;
  TerminalTraits traits_;
  LiveBlock block_;
  std::optional<HiddenCursor> hidden_;
  std::string text_;
  Waiting waiting_;
};

}  // namespace dgemma
