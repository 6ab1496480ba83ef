// The program on a terminal: the live canvas, the chat, Ctrl-C. Screens are read from a pseudo-terminal.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "cells.h"
#include "child.h"
#include "files/temp_folder.h"

namespace dgemma {
namespace {

class OnTerminal : public ::testing::Test {
 protected:
  void SetUp() override { UseUnicodeWidths(); }
};

TEST_F(OnTerminal, CanvasIsDrawnInPlaceAndReplacedByTheAnswer) {
  TerminalChild child({"run", "--slow", "60", "json name=ada age=36 city=rome"});
  EXPECT_TRUE(child.Shows("canvas 1 | step 1/48"));
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_NE(child.bytes().find("·"), std::string::npos) << "undecided positions are dots";
  EXPECT_NE(child.bytes().find("\x1b[?25l"), std::string::npos);
  EXPECT_TRUE(child.screen().cursor_shown());
  EXPECT_TRUE(child.screen().unknown().empty());
  const auto lines = child.screen().Lines();
  ASSERT_EQ(lines.size(), 2U) << child.screen().Text();
  EXPECT_EQ(lines[0], R"({"name":"ada","age":36,"city":"rome"})");
  EXPECT_TRUE(lines[1].starts_with("ttft")) << lines[1];
}

TEST_F(OnTerminal, NoColorAndDumbTerminals) {
  for (const Environment& environment : {Environment{{"NO_COLOR", "1"}}, Environment{{"TERM", "dumb"}}}) {
    TerminalChild child({"run", "--slow", "20", "--view", "heat", "upper cat"}, environment);
    EXPECT_EQ(child.Wait(), 0);
    EXPECT_EQ(child.screen().attributes(), 0);
    EXPECT_EQ(child.screen().Lines().front(), "CAT");
  }
  TerminalChild flag({"run", "--slow", "20", "--no-color", "upper cat"});
  EXPECT_EQ(flag.Wait(), 0);
  EXPECT_EQ(flag.screen().attributes(), 0);
  TerminalChild dumb({"run", "--slow", "20", "upper cat"}, {{"TERM", "dumb"}});
  EXPECT_EQ(dumb.Wait(), 0);
  EXPECT_EQ(dumb.bytes().find('\x1b'), std::string::npos);
}

TEST_F(OnTerminal, ControlCEndsAnAnswerWithTheCursorShown) {
  TerminalChild child({"run", "--slow", "30000", "reverse stone"});
  ASSERT_TRUE(child.Shows("step 1/48"));
  EXPECT_FALSE(child.screen().cursor_shown());
  child.Send("\x03");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_TRUE(child.screen().cursor_shown());
  EXPECT_EQ(child.screen().Text().find("step 1/48"), std::string::npos) << "no canvas is left behind";
}

TEST_F(OnTerminal, SigtermRestoresTheCursorToo) {
  TerminalChild child({"sudoku", "--slow", "30000"});
  ASSERT_TRUE(child.Shows("step 1/48"));
  child.Signal(SIGTERM);
  EXPECT_EQ(child.Wait(), 143);
  EXPECT_TRUE(child.screen().cursor_shown());
}

TEST_F(OnTerminal, SudokuGridFills) {
  TerminalChild child({"sudoku", "--slow", "60", "3241 4132 ..14 1.2."});
  EXPECT_TRUE(child.Shows("step 1/48"));
  EXPECT_EQ(child.Wait(), 0);
  const auto lines = child.screen().Lines();
  ASSERT_GE(lines.size(), 8U);
  EXPECT_EQ(lines[0], "┌─────┬─────┐");
  EXPECT_EQ(lines[5], "│ 1 4 │ 2 3 │");
  EXPECT_TRUE(lines[7].starts_with("solved in "));
  EXPECT_TRUE(child.screen().cursor_shown());
}

TEST_F(OnTerminal, ChatAnswersAndObeys) {
  const TempFolder folder;
  TerminalChild child({"run", "--slow", "0"}, {{"XDG_STATE_HOME", folder.path()}});
  const auto prompt = [&] { return child.Writes(">>> "); };
  const auto type = [&](const std::string& line) { child.Send(line + "\r"); };
  ASSERT_TRUE(prompt());
  type("upper cat");
  EXPECT_TRUE(child.Writes("CAT"));
  EXPECT_TRUE(child.Writes("tok/s"));
  EXPECT_TRUE(prompt());
  type("/help");
  EXPECT_TRUE(child.Writes("/nothink"));
  EXPECT_TRUE(prompt());
  type("/fly");
  EXPECT_TRUE(child.Writes("\"/fly\": there is no such command"));
  EXPECT_TRUE(prompt());
  type("/set steps 0");
  EXPECT_TRUE(child.Writes("steps: \"0\" is out of range (1 to 4096)"));
  EXPECT_TRUE(prompt());
  type("/set t-min 0.9");
  EXPECT_TRUE(child.Writes("t-min: 0.9 is above"));
  EXPECT_TRUE(prompt());
  type("/seed 41");
  EXPECT_TRUE(child.Writes("seed is 41"));
  EXPECT_TRUE(prompt());
  type("/view heat");
  EXPECT_TRUE(child.Writes("view is heat"));
  EXPECT_TRUE(prompt());
  type("/think");
  EXPECT_TRUE(child.Writes("thinking is on"));
  EXPECT_TRUE(prompt());
  type("/nothink");
  EXPECT_TRUE(child.Writes("thinking is off"));
  EXPECT_TRUE(prompt());
  type("/save " + folder / "talk.json");
  EXPECT_TRUE(child.Writes("talk.json (1 turn)"));
  EXPECT_TRUE(prompt());
  type("/regen");
  EXPECT_TRUE(child.Writes("seed 42"));
  EXPECT_TRUE(prompt());
  type("/undo");
  EXPECT_TRUE(child.Writes("taken back (0 turns)"));
  EXPECT_TRUE(prompt());
  type("/undo");
  EXPECT_TRUE(child.Writes("/undo: there is nothing to undo"));
  EXPECT_TRUE(prompt());
  type("/load " + folder / "talk.json");
  EXPECT_TRUE(child.Writes("CAT"));
  EXPECT_TRUE(prompt());
  type("/load " + folder.path().string());
  EXPECT_TRUE(child.Writes("dgemma: "));
  EXPECT_TRUE(prompt());
  type("/show");
  EXPECT_TRUE(child.Writes("turns      1"));
  EXPECT_TRUE(prompt());
  type("/clear");
  EXPECT_TRUE(prompt());
  type("\"\"\"upper");
  EXPECT_TRUE(child.Writes("... "));
  type("dog\"\"\"");
  EXPECT_TRUE(child.Writes("tok/s"));
  EXPECT_TRUE(prompt());
  type("/system be brief");
  EXPECT_TRUE(child.Writes("single prompts only"));
  EXPECT_TRUE(prompt());
  type("/bye");
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_TRUE(child.screen().cursor_shown());

  std::ifstream saved(folder / "talk.json");
  const std::string text((std::istreambuf_iterator<char>(saved)), {});
  EXPECT_NE(text.find(R"({"role":"assistant","text":"CAT"})"), std::string::npos) << text;
  struct stat history{};
  ASSERT_EQ(::stat((folder / "dgemma/history").c_str(), &history), 0);
  EXPECT_EQ(history.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat((folder / "talk.json").c_str(), &history), 0);
  EXPECT_EQ(history.st_mode & 0077, 0U);
}

TEST_F(OnTerminal, EveryMessageToTheEmbeddedModelStartsAnew) {
  const TempFolder folder;
  TerminalChild child({"run", "--slow", "0"}, {{"XDG_STATE_HOME", folder.path()}});
  ASSERT_TRUE(child.Writes("Every message starts anew")) << child.bytes();
  EXPECT_TRUE(child.Writes("spell bird"));
  ASSERT_TRUE(child.Writes(">>> "));
  for (const auto& [prompt, answer] :
       {std::pair("upper cat", "CAT"), std::pair("spell bird", "b i r d"), std::pair("reverse cat", "tac")}) {
    child.Send(std::string(prompt) + "\r");
    EXPECT_TRUE(child.Writes(answer)) << prompt << ": " << child.bytes();
    EXPECT_TRUE(child.Writes("tok/s"));
    ASSERT_TRUE(child.Writes(">>> "));
  }
  child.Send("/show\r");
  EXPECT_TRUE(child.Writes("turns      3")) << "they are kept for /save and /undo";
  ASSERT_TRUE(child.Writes(">>> "));
  child.Send("\x04");
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(OnTerminal, AnInterruptedSudokuSaysSo) {
  TerminalChild child({"sudoku", "--slow", "30000"});
  ASSERT_TRUE(child.Shows("step 1/48"));
  child.Send("\x03");
  EXPECT_EQ(child.Wait(), 130);
  EXPECT_NE(child.bytes().find("interrupted after 1 step"), std::string::npos) << child.bytes();
  EXPECT_EQ(child.bytes().find("not solved"), std::string::npos) << child.bytes();
}

TEST_F(OnTerminal, AnInterruptedSynthLeavesNothing) {
  const TempFolder folder;
  TerminalChild child({"synth", folder / "mid", "--shape", "mid", "--type", "float32"});
  ASSERT_TRUE(child.Shows("writing")) << child.bytes();
  child.Send("\x03");
  EXPECT_EQ(child.Wait(), 130) << child.bytes();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST_F(OnTerminal, HelpFitsTheWindow) {
  for (const char* verb : {"run", "bench", "help"}) {
    TerminalChild child({"help", verb}, {}, {.columns = 60, .rows = 24});
    EXPECT_EQ(child.Wait(), 0);
    size_t begin = 0;
    for (size_t end; (end = child.bytes().find("\r\n", begin)) != std::string::npos; begin = end + 2) {
      EXPECT_LE(end - begin, 60U) << child.bytes().substr(begin, end - begin);
    }
  }
}

TEST_F(OnTerminal, ControlCInTheChatStopsOnlyTheAnswerOrTheLine) {
  const TempFolder folder;
  TerminalChild child({"run", "--slow", "30000"}, {{"XDG_STATE_HOME", folder.path()}});
  ASSERT_TRUE(child.Writes(">>> "));
  child.Send("reverse stone\r");
  ASSERT_TRUE(child.Shows("step 1/48"));
  child.Send("\x03");
  ASSERT_TRUE(child.Writes(">>> ")) << child.bytes();
  EXPECT_TRUE(child.screen().cursor_shown());
  child.Send("half a line");
  ASSERT_TRUE(child.Writes("half a line"));
  child.Send("\x03");
  ASSERT_TRUE(child.Writes(">>> "));
  child.Send("/bye\r");
  EXPECT_EQ(child.Wait(), 0) << "the half line was dropped: " << child.bytes();
}

TEST_F(OnTerminal, ControlDLeavesTheChat) {
  const TempFolder folder;
  TerminalChild child({"run"}, {{"XDG_STATE_HOME", folder.path()}});
  ASSERT_TRUE(child.Writes(">>> "));
  child.Send("\x04");
  EXPECT_EQ(child.Wait(), 0);
}

// libedit takes 8 bytes for each cell, 34 GB here: such a window is read without it.
TEST_F(OnTerminal, AWindowOfAbsurdSizeCostsNothing) {
  const TempFolder folder;
  TerminalChild child({"run", "--slow", "0"}, {{"XDG_STATE_HOME", folder.path()}}, {.columns = 65'535, .rows = 65'535});
  ASSERT_TRUE(child.Writes(">>> ")) << child.bytes();
  child.Send("upper cat\r");
  EXPECT_TRUE(child.Writes("CAT")) << child.bytes();
  ASSERT_TRUE(child.Writes(">>> ")) << child.bytes();
  child.Send("half a line");
  ASSERT_TRUE(child.Writes("half a line"));
  child.Send("\x03");
  ASSERT_TRUE(child.Writes(">>> ")) << child.bytes();
  child.Send("\x04");
  EXPECT_EQ(child.Wait(), 0) << child.bytes();
  EXPECT_LT(child.peak_bytes(), 1'000'000'000);
}

TEST_F(OnTerminal, HistoryComesBack) {
  const TempFolder folder;
  for (const char* keys : {"upper cat\r", "\x10\r"}) {
    TerminalChild child({"run", "--slow", "0"}, {{"XDG_STATE_HOME", folder.path()}});
    ASSERT_TRUE(child.Writes(">>> "));
    child.Send(keys);
    EXPECT_TRUE(child.Writes("CAT")) << child.bytes();
    EXPECT_TRUE(child.Writes("tok/s"));
    EXPECT_TRUE(child.Writes(">>> "));
    child.Send("\x04");
    EXPECT_EQ(child.Wait(), 0);
  }
}

}  // namespace
}  // namespace dgemma
