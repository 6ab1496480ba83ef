// The sudoku grid on a terminal while the canvas fills it, drawn with box characters.
// Called by sudoku.cc; frames and pauses as in the live canvas.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "answer_view.h"
#include "live_block.h"
#include "terminal.h"
#include "train/sudoku.h"

namespace dgemma {

/// What a draft says about each cell of a board with this side, 0 where it is undecided. The text of a draft is rows in lines.
SudokuBoard ReadSudoku(const Engine& engine, const Draft& draft, int side);
/// Reads a final text the same way.
SudokuBoard ReadSudoku(std::string_view text, int side);

/// Lines that draw the board: given digits plain, found ones bold, undecided ones dim.
std::vector<Row> SudokuRows(const SudokuBoard& puzzle, const SudokuBoard& reading, const TerminalTraits& traits);

class SudokuView final : public AnswerView {
 public:
  SudokuView(AnswerScene scene, const SudokuBoard& puzzle);
  void OnDraft(const Draft& draft) override;
  void OnText(std::string_view text) override;
  void Finish(Ending ending) override;
  Waiting waiting() const override { return waiting_; }

 private:
  void Draw(const SudokuBoard& reading, std::string_view status);
  void Write(std::string_view bytes);

  AnswerScene scene_;
  SudokuBoard puzzle_;
  TerminalTraits traits_;
  LiveBlock block_;
  std::optional<HiddenCursor> hidden_;
  std::string text_;
  Waiting waiting_;
};

}  // namespace dgemma
