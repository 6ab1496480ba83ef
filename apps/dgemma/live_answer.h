// The live view's clockwork: which drafts become frames, pauses for watching, the hidden cursor. See answer_view.h.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "answer_view.h"
#include "canvas_view.h"
#include "draft_cells.h"
#include "progress_line.h"
#include "terminal.h"

namespace dgemma {

class LiveAnswer final : public AnswerView {
 public:
  LiveAnswer(AnswerScene scene, DraftLook look);

  void OnPrefill(int64_t done_tokens, int64_t total_tokens) override;
  void OnDraft(const Draft& draft) override;
  void OnText(std::string_view text) override;
  void OnThought(std::string_view text) override;
  void Finish(Ending ending) override;
  Waiting waiting() const override { return waiting_; }

 private:
  std::string Status(const Draft& draft) const;
  void DrawPending();
  void Pause();
  void Commit(std::string_view text, Look look);
  void Write(std::string_view bytes);
  TerminalSize Size() const { return SizeOf(scene_.program.out.descriptor()); }

  AnswerScene scene_;
  ProgressLine progress_;
  std::optional<HiddenCursor> hidden_;
  DraftReader reader_;
  CanvasView view_;

  struct Frame {
    std::vector<Cell> cells;
    std::string status;
  };
  std::optional<Frame> pending_;  // read but not drawn yet
  std::chrono::steady_clock::time_point begin_;
  std::optional<std::chrono::steady_clock::time_point> drawn_;
  Waiting waiting_;
  int64_t decided_before_ = 0;  // tokens of the canvases before this one
  int32_t canvas_ = -1;
  bool has_text_ = false;
  bool in_thought_ = false;
  bool at_line_start_ = true;
};

}  // namespace dgemma
