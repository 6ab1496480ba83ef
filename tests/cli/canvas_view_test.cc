// The live canvas, frame by frame, as a terminal shows it: drafts from a scripted engine, bytes read by a test
// terminal.
#include "canvas_view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <array>

#include "draft_cells.h"
#include "live_answer.h"
#include "screen.h"
#include "scripted_engine.h"

namespace dgemma {
namespace {

using Lines = std::vector<std::string>;

class CanvasViews : public ::testing::Test {
 protected:
  void SetUp() override { UseUnicodeWidths(); }

  std::vector<Cell> Read(DraftReader& reader, const ScriptedDraft& draft) {
    std::vector<Cell> cells;
    engine_.Play(draft, 1, [&](const Draft& shown) { cells = reader.Read(shown); });
    return cells;
  }
  std::string Text(const std::vector<Cell>& cells) {
    std::string text;
    for (const Cell& cell : cells) text += cell.ends_line ? "\n" : cell.text;
    return text;
  }
  DraftReader Reader(DraftLook look = DraftLook::kCanvas, Colors colors = Colors::kNone, bool utf8 = true) {
    return DraftReader(engine_, {engine_.Id("<turn|>")}, look,
                       {.is_terminal = true, .can_redraw = true, .utf8 = utf8, .colors = colors});
  }

  ScriptedEngine engine_;
};

TEST_F(CanvasViews, UndecidedPositionsAreNeutralGlyphsOfTheTokensWidth) {
  auto reader = Reader();
  EXPECT_EQ(Text(Read(reader, {.tokens = {"Hi", "? there", "?日", "?\n", "?<turn|>", "!"}})), "Hi··········!");
  auto ascii = Reader(DraftLook::kCanvas, Colors::kNone, false);
  EXPECT_EQ(Text(Read(ascii, {.tokens = {"a", "?bc"}})), "a..");
}

TEST_F(CanvasViews, TextEndsAtTheAcceptedStopToken) {
  auto reader = Reader();
  EXPECT_EQ(Text(Read(reader, {.tokens = {"a", "<turn|>", "b", "?c"}})), "a");
  EXPECT_EQ(Text(Read(reader, {.tokens = {"a", "?<turn|>", "b"}})), "a·b") << "an undecided stop token ends nothing";
  EXPECT_EQ(reader.decided(), 2);
}

TEST_F(CanvasViews, BytesOfOneCharacterAreJoined) {
  auto reader = Reader();
  EXPECT_EQ(Text(Read(reader, {.tokens = {"\xE2", "\x82", "\xAC", "!"}})), "€!");
  EXPECT_EQ(Text(Read(reader, {.tokens = {"\xE2", "\x82", "x"}})), "\uFFFDx");
  EXPECT_EQ(Text(Read(reader, {.tokens = {"\xE2", "?\x82", "\xAC"}})), "\uFFFD·\uFFFD");
  EXPECT_EQ(Text(Read(reader, {.tokens = {"\x1b", "[31m"}})), "\uFFFD[31m");
}

TEST_F(CanvasViews, ThoughtsAreDimAndContinueInTheNextCanvas) {
  auto reader = Reader();
  const auto first = Read(reader, {.canvas = 0, .tokens = {"<|channel>", "t"}});
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].look, Look::kDim);
  for (int frame = 0; frame < 2; ++frame) {
    const auto second = Read(reader, {.canvas = 1, .tokens = {"u", "<channel|>", "a"}});
    ASSERT_EQ(second.size(), 2U);
    EXPECT_EQ(second[0].look, Look::kDim);
    EXPECT_EQ(second[1].look, Look::kPlain);
  }
}

TEST_F(CanvasViews, HeatShadesByEntropyWithoutColors) {
  auto reader = Reader(DraftLook::kHeat);
  EXPECT_EQ(Text(Read(reader, {.tokens = {"?ab"}, .entropy = 0.02F})), "░░");
  EXPECT_EQ(Text(Read(reader, {.tokens = {"?ab"}, .entropy = 5.0F})), "▓▓");
  auto colored = Reader(DraftLook::kHeat, Colors::k256);
  const auto cells = Read(colored, {.tokens = {"x", "?y"}, .entropy = 5.0F});
  EXPECT_EQ(Text(cells), "xy");
  EXPECT_EQ(cells[0].look, Look::kHeat0);
  EXPECT_EQ(cells[1].look, Look::kHeat4);
}

TEST_F(CanvasViews, FramesStayInPlaceAndTheFinalTextReplacesThem) {
  const TerminalSize size{12, 8};
  Screen screen(size.columns, size.rows);
  CanvasView view(Colors::kNone);
  screen.Write("$ run\n");
  screen.Write(view.Frame(CellsOf("hello ···· · ····"), "step 1", size));
  EXPECT_EQ(screen.Lines(), (Lines{"$ run", "hello ···· ·", " ····", "step 1"}));
  screen.Write(view.Frame(CellsOf("hello\n·"), "step 2", size));
  EXPECT_EQ(screen.Lines(), (Lines{"$ run", "hello", "·", "step 2"}));
  screen.Write(view.Commit(CellsOf("hello\nworld, and "), size));
  EXPECT_EQ(screen.Lines(), (Lines{"$ run", "hello", "world, and"}));
  screen.Write(view.Frame(CellsOf("more ··"), "step 1", size));
  EXPECT_EQ(screen.Lines(), (Lines{"$ run", "hello", "world, and m", "ore ··", "step 1"}))
      << "a canvas continues the line";
  screen.Write(view.Commit(CellsOf("more."), size));
  screen.Write(view.Finish(size));
  EXPECT_EQ(screen.Lines(), (Lines{"$ run", "hello", "world, and m", "ore."}));
  EXPECT_EQ(screen.column(), 0);
  EXPECT_EQ(screen.row(), 4);
  EXPECT_TRUE(screen.unknown().empty());
}

TEST_F(CanvasViews, AnInterruptedCanvasLeavesOnlyFinalText) {
  const TerminalSize size{20, 8};
  Screen screen(size.columns, size.rows);
  CanvasView view(Colors::kNone);
  screen.Write(view.Commit(CellsOf("kept"), size));
  screen.Write(view.Frame(CellsOf(" lost\nlost"), "step 3", size));
  screen.Write(view.Finish(size));
  EXPECT_EQ(screen.Text(), "kept\n");
}

TEST_F(CanvasViews, CanvasTallerThanTheScreenKeepsTheScrollBackClean) {
  const TerminalSize size{10, 4};
  Screen screen(size.columns, size.rows);
  CanvasView view(Colors::kNone);
  const std::string tall = "1\n2\n3\n4\n5\n6";
  for (int step = 0; step < 5; ++step) screen.Write(view.Frame(CellsOf(tall), "step", size));
  EXPECT_EQ(screen.Lines(), (Lines{"5", "6", "step"}));
  screen.Write(view.Commit(CellsOf(tall), size));
  screen.Write(view.Finish(size));
  EXPECT_EQ(screen.Text(), "1\n2\n3\n4\n5\n6\n") << "the final text once, nothing else";
}

// The listener itself, on a real pseudo-terminal: throttling, pauses, the hidden cursor.
class LiveAnswers : public CanvasViews {
 protected:
  void SetUp() override {
    CanvasViews::SetUp();
    ::setenv("TERM", "xterm-256color", 1);
    ::unsetenv("NO_COLOR");
    winsize window{.ws_row = 10, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
    ASSERT_EQ(::openpty(&master_, &slave_, nullptr, nullptr, &window), 0);
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
    program_ = std::make_unique<Program>(signals_, slave_, slave_);
  }
  void TearDown() override {
    ::close(master_);
    ::close(slave_);
  }
  std::unique_ptr<AnswerView> Make(ViewOptions options) {
    return MakeAnswerView({.program = *program_,
                           .engine = engine_,
                           .options = options,
                           .stop_tokens = {engine_.Id("<turn|>")},
                           .stop = stop_,
                           .show = Show::kAnswer,
                           .now = [this] { return now_; }});
  }
  void Draw(AnswerView& view, const ScriptedDraft& draft, int step) {
    engine_.Play(draft, step, [&](const Draft& shown) { view.OnDraft(shown); });
  }
  std::string Written() {
    std::string bytes;
    std::array<char, 4096> part{};
    pollfd ready{master_, POLLIN, 0};
    while (::poll(&ready, 1, 50) > 0) {
      const ssize_t count = ::read(master_, part.data(), part.size());
      if (count <= 0) break;
      bytes.append(part.data(), static_cast<size_t>(count));
    }
    return bytes;
  }

  Signals signals_;
  int master_ = -1, slave_ = -1;
  std::unique_ptr<Program> program_;
  std::stop_source stop_;
  std::chrono::steady_clock::time_point now_{};
};

TEST_F(LiveAnswers, DraftsAreThrottledButTheLastIsDrawn) {
  const auto view = Make({.view = View::kCanvas, .frames_per_second = 20, .pause = std::chrono::milliseconds(0)});
  Screen screen(40, 10);
  Draw(*view, {.tokens = {"one", "?x"}}, 1);
  screen.Write(Written());
  EXPECT_FALSE(screen.cursor_shown());
  EXPECT_EQ(screen.Lines().front(), "one·");
  now_ += std::chrono::milliseconds(10);
  Draw(*view, {.tokens = {"two", "?x"}}, 2);
  EXPECT_EQ(Written(), "") << "too soon for another frame";
  now_ += std::chrono::milliseconds(45);
  Draw(*view, {.tokens = {"three", "?x"}}, 3);
  screen.Write(Written());
  EXPECT_EQ(screen.Lines().front(), "three·");
  now_ += std::chrono::milliseconds(1);
  Draw(*view, {.tokens = {"four", "<turn|>"}}, 4);
  EXPECT_EQ(Written(), "");
  view->OnText("four");
  const std::string last = Written();
  EXPECT_NE(last.find("step 4/48"), std::string::npos) << "the last draft is drawn before the final text";
  screen.Write(last);
  view->Finish(Ending::kAnswer);
  screen.Write(Written());
  EXPECT_EQ(screen.Text(), "four\n");
  EXPECT_TRUE(screen.cursor_shown());
  EXPECT_TRUE(screen.unknown().empty());
}

TEST_F(LiveAnswers, NoColorMeansNoAttributes) {
  program_->color = ColorWish::kNever;
  const auto view = Make({.view = View::kHeat, .pause = std::chrono::milliseconds(0)});
  Draw(*view, {.tokens = {"a", "?b"}}, 1);
  view->OnThought("hm");
  view->OnText("a");
  view->Finish(Ending::kAnswer);
  Screen screen(40, 10);
  screen.Write(Written());
  EXPECT_EQ(screen.attributes(), 0);
  EXPECT_EQ(screen.Text(), "hm\na\n");
}

TEST_F(LiveAnswers, PausesAreReportedAndEndWithTheStopToken) {
  now_ = std::chrono::steady_clock::now();
  const auto view = Make({.view = View::kCanvas, .pause = std::chrono::milliseconds(20)});
  Draw(*view, {.tokens = {"a", "?b"}}, 1);
  EXPECT_GE(view->waiting().before_text_seconds, 0.015);
  view->OnText("a");
  Draw(*view, {.canvas = 1, .tokens = {"a", "?b"}}, 1);
  EXPECT_GT(view->waiting().total_seconds, view->waiting().before_text_seconds);
  stop_.request_stop();
  const auto slow = Make({.view = View::kCanvas, .pause = std::chrono::seconds(30)});
  const auto before = std::chrono::steady_clock::now();
  Draw(*slow, {.tokens = {"a"}}, 1);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  slow->Finish(Ending::kFailure);
  view->Finish(Ending::kAnswer);
}

TEST_F(LiveAnswers, PlainViewWritesTextOnly) {
  const auto view = Make({.view = View::kPlain});
  Draw(*view, {.tokens = {"a", "?b"}}, 1);
  view->OnText("a\x1b[31mb");
  view->Finish(Ending::kAnswer);
  EXPECT_EQ(Written(), "a\uFFFD[31mb\r\n");
}

}  // namespace
}  // namespace dgemma
