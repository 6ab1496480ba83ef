// Frames of the live canvas. The block always begins at the row where the final text ends, so drafts continue its line.
#include "canvas_view.h"

namespace dgemma {

std::string CanvasView::Frame(std::span<const Cell> draft, std::string_view status, TerminalSize size) {
  std::vector<Cell> cells = tail_;
  cells.insert(cells.end(), draft.begin(), draft.end());
  std::vector<Row> rows;
  for (const std::vector<Cell>& row : Wrap(cells, size.columns)) rows.push_back(RowOf(row, colors_));
  rows.push_back(LineOf(status, Look::kDim, colors_, size.columns - 1));
  return block_.Redraw(std::move(rows), size);
}

std::string CanvasView::Commit(std::span<const Cell> text, TerminalSize size) {
  std::string bytes = block_.Erase(size);
  if (bytes.empty() && !tail_.empty()) bytes = "\r";
  std::vector<Cell> cells = tail_;
  cells.insert(cells.end(), text.begin(), text.end());
  std::vector<Cell> line;
  for (const Cell& cell : cells) {
    if (!cell.ends_line) {
      line.push_back(cell);
      continue;
    }
    bytes += RowOf(line, colors_).bytes + "\r\n";
    line.clear();
  }
  bytes += RowOf(line, colors_).bytes;
  tail_ = Wrap(line, size.columns).back();
  return bytes;
}

std::string CanvasView::Finish(TerminalSize size) {
  std::string bytes = block_.Erase(size) + (tail_.empty() ? "" : "\r") + RowOf(tail_, colors_).bytes;
  if (!tail_.empty()) bytes += "\r\n";
  tail_.clear();
  return bytes;
}

}  // namespace dgemma
