// Drawing of the grid. Without a terminal that redraws, the finished grid is written once.
#include "sudoku_view.h"

#include <fmt/format.h>

#include <utility>

#include "pause.h"

namespace dgemma {
namespace {

void Place(SudokuBoard& reading, size_t character, char value) {
  const auto side = static_cast<size_t>(reading.side);
  const size_t row = character / (side + 1), column = character % (side + 1);  // a line is its digits and its end
  const int digit = value - '0';
  if (row < side && column < side && digit >= 1 && digit <= reading.side)
    reading.cells[row * side + column] = static_cast<uint8_t>(digit);
}

struct Frame {
  const char *left, *cross, *right;  // where lines meet
};
struct FrameStyle {
  Frame top, middle, bottom;
  const char *across, *down, *empty;
};
constexpr FrameStyle kLines = {{"┌", "┬", "┐"}, {"├", "┼", "┤"}, {"└", "┴", "┘"}, "─", "│", "·"};
constexpr FrameStyle kAscii = {{"+", "+", "+"}, {"+", "+", "+"}, {"+", "+", "+"}, "-", "|", "."};

/// A line above, between or below the boxes.
std::string Border(const Frame& frame, const char* across, const SudokuBoard& board) {
  std::string line = frame.left;
  for (int column = 0; column < board.side; ++column) {
    if (column > 0 && column % board.box_columns() == 0) line += frame.cross;
    for (int dash = column % board.box_columns() == 0 ? 0 : 1; dash < 3; ++dash) line += across;
  }
  return line + frame.right;
}

}  // namespace

SudokuBoard ReadSudoku(const Engine& engine, const Draft& draft, int side) {
  SudokuBoard reading{.side = side};
  size_t character = 0;
  for (size_t position = 0; position < draft.tokens.size(); ++position) {
    for (const char value : engine.TokenText(draft.tokens[position])) {
      if (draft.accepted[position] != 0) Place(reading, character, value);
      ++character;
    }
  }
  return reading;
}

SudokuBoard ReadSudoku(std::string_view text, int side) {
  SudokuBoard reading{.side = side};
  for (size_t character = 0; character < text.size(); ++character) Place(reading, character, text[character]);
  return reading;
}

std::vector<Row> SudokuRows(const SudokuBoard& puzzle, const SudokuBoard& reading, const TerminalTraits& traits) {
  const FrameStyle& style = traits.utf8 ? kLines : kAscii;
  std::vector<Row> rows;
  const auto line = [&](const Frame& frame) {
    rows.push_back(RowOf(CellsOf(Border(frame, style.across, puzzle)), traits.colors));
  };
  line(style.top);
  for (int row = 0; row < puzzle.side; ++row) {
    if (row > 0 && row % puzzle.box_rows() == 0) line(style.middle);
    std::vector<Cell> cells;
    const auto add = [&](const std::string& text, Look look) {
      cells.push_back({.text = text, .width = 1, .look = look});
    };
    for (int column = 0; column < puzzle.side; ++column) {
      if (column % puzzle.box_columns() == 0) {
        if (column > 0) add(" ", Look::kPlain);
        add(style.down, Look::kPlain);
      }
      add(" ", Look::kPlain);
      const int given = puzzle.At(row, column), found = reading.At(row, column);
      if (found != 0) {
        add(fmt::format("{}", found), given == 0 ? Look::kBold : Look::kPlain);
      } else {
        add(given == 0 ? style.empty : fmt::format("{}", given), Look::kDim);
      }
    }
    add(" ", Look::kPlain);
    add(style.down, Look::kPlain);
    rows.push_back(RowOf(cells, traits.colors));
  }
  line(style.bottom);
  return rows;
}

SudokuView::SudokuView(AnswerScene scene, const SudokuBoard& puzzle)
    : scene_(std::move(scene)), puzzle_(puzzle), traits_(scene_.program.OutTraits()) {
  traits_.can_redraw = traits_.can_redraw && scene_.options.view != View::kPlain && scene_.show == Show::kAnswer;
}

void SudokuView::OnDraft(const Draft& draft) {
  if (!traits_.can_redraw) return;
  if (!hidden_) hidden_.emplace(scene_.program.out);
  Draw(ReadSudoku(scene_.engine, draft, puzzle_.side),
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
    for (const Row& row : SudokuRows(puzzle_, ReadSudoku(text_, puzzle_.side), traits_)) Write(row.bytes + "\n");
  }
  hidden_.reset();
}

void SudokuView::Draw(const SudokuBoard& reading, std::string_view status) {
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
