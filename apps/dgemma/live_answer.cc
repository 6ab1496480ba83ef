// From drafts to frames. Drawing is throttled; the last frame of a canvas is always drawn.
#include "live_answer.h"

#include <fmt/format.h>

#include <utility>

#include "pause.h"

namespace dgemma {
namespace {

double Seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

LiveAnswer::LiveAnswer(AnswerScene scene, DraftLook look)
    : scene_(std::move(scene)),
      progress_(scene_.program),
      reader_(scene_.engine, scene_.stop_tokens, look, scene_.program.OutTraits()),
      view_(scene_.program.OutTraits().colors),
      begin_(scene_.now()) {}

void LiveAnswer::OnPrefill(int64_t done_tokens, int64_t total_tokens) {
  progress_.Show({.phase = "reading", .done = done_tokens, .total = total_tokens});
}

void LiveAnswer::OnDraft(const Draft& draft) {
  progress_.Clear();
  if (!hidden_) hidden_.emplace(scene_.program.out);
  if (draft.canvas != canvas_) {
    if (canvas_ >= 0) decided_before_ += reader_.decided();
    canvas_ = draft.canvas;
  }
  pending_ = Frame{.cells = reader_.Read(draft), .status = {}};
  pending_->status = Status(draft);
  const auto now = scene_.now();
  if (scene_.options.pause.count() > 0) {
    DrawPending();
    Pause();
  } else if (!drawn_ || Seconds(now - *drawn_) * scene_.options.frames_per_second >= 1) {
    DrawPending();
  }
}

std::string LiveAnswer::Status(const Draft& draft) const {
  const double seconds = Seconds(scene_.now() - begin_) - waiting_.total_seconds;
  const auto tokens = static_cast<double>(decided_before_ + reader_.decided());
  return fmt::format("canvas {} | step {}/{} | entropy {:.3f} | {:.0f} tok/s", draft.canvas + 1, draft.step,
                     draft.steps, draft.mean_entropy, seconds > 0 ? tokens / seconds : 0);
}

void LiveAnswer::DrawPending() {
  if (!pending_) return;
  Write(view_.Frame(pending_->cells, pending_->status, Size()));
  drawn_ = scene_.now();
  pending_.reset();
}

void LiveAnswer::Pause() {
  const double waited = PauseFor(scene_.options.pause, scene_.stop.get_token());
  waiting_.total_seconds += waited;
  if (!has_text_) waiting_.before_text_seconds += waited;
}

void LiveAnswer::OnText(std::string_view text) {
  if (std::exchange(in_thought_, false) && !at_line_start_) Commit("\n", Look::kPlain);
  Commit(text, Look::kPlain);
}

void LiveAnswer::OnThought(std::string_view text) {
  in_thought_ = true;
  Commit(text, Look::kDim);
}

void LiveAnswer::Commit(std::string_view text, Look look) {
  if (text.empty()) return;
  progress_.Clear();
  DrawPending();
  has_text_ = true;
  at_line_start_ = text.ends_with('\n');
  Write(view_.Commit(CellsOf(text, look), Size()));
}

void LiveAnswer::Finish(Ending) {
  progress_.Clear();
  DrawPending();
  Write(view_.Finish(Size()));
  hidden_.reset();
}

void LiveAnswer::Write(std::string_view bytes) {
  scene_.program.out.Write(bytes);
  if (scene_.program.out.failed()) scene_.stop.request_stop();
}

}  // namespace dgemma
