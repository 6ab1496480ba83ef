// Drawing of the grid. Without a terminal that redraws, the finished grid is written once.
#include "sudoku_view.h"

#include <fmt/format.h>

#include <utility>

#include "pause.h"

namespace dgemma {
namespace {

constexpr size_t kLineLength = kSudokuSide + 1;  // four digits and the end of the line

void Place(SudokuReading& reading, size_t character, char value) {
  const size_t row = character / kLineLength;
  const size_t column = character % kLineLength;
  if (row < kSudokuSide && column < kSudokuSide && value >= '1' && value <= '4')
    reading[row * kSudokuSide + column] = value;
}

struct Frame {
  const char *top, *middle, *bottom, *side, *empty;
};
constexpr Frame kLines = {"┌─────┬─────┐", "├─────┼─────┤", "└─────┴─────┘", "│", "·"};
constexpr Frame kAscii = {"+-----+-----+", "+-----+-----+", "+-----+-----+", "|", "."};

}  // namespace

SudokuReading ReadSudoku(const Engine& engine, const Draft& draft) {
  SudokuReading reading;
  reading.fill('.');
  size_t character = 0;
  for (size_t position = 0; position < draft.tokens.size(); ++position) {
    for (const char value : engine.TokenText(draft.tokens[position])) {
      if (draft.accepted[position] != 0) Place(reading, character, value);
      ++character;
    }
  }
  return reading;
}

SudokuReading ReadSudoku(std::string_view text) {
  SudokuReading reading;
  reading.fill('.');
  for (size_t character = 0; character < text.size(); ++character) Place(reading, character, text[character]);
  return reading;
}

std::vector<Row> SudokuRows(const SudokuGrid& puzzle, const SudokuReading& reading, const TerminalTraits& traits) {
  const Frame& frame = traits.utf8 ? kLines : kAscii;
  std::vector<Row> rows;
  const auto line = [&](const char* text) { rows.push_back(RowOf(CellsOf(text), traits.colors)); };
  line(frame.top);
  for (size_t row = 0; row < kSudokuSide; ++row) {
    if (row == kSudokuSide / 2) line(frame.middle);
    std::vector<Cell> cells;
    const auto add = [&](const std::string& text, Look look) {
      cells.push_back({.text = text, .width = 1, .look = look});
    };
    for (size_t column = 0; column < kSudokuSide; ++column) {
      if (column % 2 == 0) add(frame.side, Look::kPlain);
      add(" ", Look::kPlain);
      const char given = puzzle.At(row, column);
      const char found = reading[row * kSudokuSide + column];
      if (found != '.') {
        add(std::string(1, found), given == '.' ? Look::kBold : Look::kPlain);
      } else {
        add(given == '.' ? frame.empty : std::string(1, given), Look::kDim);
      }
      if (column % 2 == 1) add(" ", Look::kPlain);
    }
    add(frame.side, Look::kPlain);
    rows.push_back(RowOf(cells, traits.colors));
  }
  line(frame.bottom);
  return rows;
}

SudokuView::SudokuView(AnswerScene scene, const SudokuGrid& puzzle)
    : scene_(std::move(scene)), puzzle_(puzzle), traits_(scene_.program.OutTraits()) {
  traits_.can_redraw = traits_.can_redraw && scene_.options.view != View::kPlain && scene_.show == Show::kAnswer;
}

void SudokuView::OnDraft(const Draft& draft) {
  if (!traits_.can_redraw) return;
  if (!hidden_) hidden_.emplace(scene_.program.out);
  Draw(ReadSudoku(scene_.engine, draft),
       fmt::format("step {}/{} | entropy {:.3f}", draft.step, draft.steps, draft.mean_entropy));
  const double waited = PauseFor(scene_.options.pause, scene_.stop.get_token());
  waiting_.total_seconds += waited;
  waiting_.before_text_seconds += waited;
}

void SudokuView::OnText(std::string_view text) { text_ += text; }

void SudokuView::Finish(Ending ending) {
  if (scene_.show == Show::kNothing) return;
  Write(block_.Erase(SizeOf(scene_.program.out.descriptor())));
  if (ending == Ending::kAnswer) {
    for (const Row& row : SudokuRows(puzzle_, ReadSudoku(text_), traits_)) Write(row.bytes + "\n");
  }
  hidden_.reset();
}

void SudokuView::Draw(const SudokuReading& reading, std::string_view status) {
  const TerminalSize size = SizeOf(scene_.program.out.descriptor());
  std::vector<Row> rows = SudokuRows(puzzle_, reading, traits_);
  rows.push_back(LineOf(status, Look::kDim, traits_.colors, size.columns - 1));
  Write(block_.Redraw(std::move(rows), size));
}

void SudokuView::Write(std::string_view bytes) {
  scene_.program.out.Write(bytes);
  if (scene_.program.out.failed()) scene_.stop.request_stop();
}

}  // namespace dgemma
