// Cells, wrapping and the live block: what a terminal shows must be what was meant, whatever the characters.
#include "cells.h"

#include <gtest/gtest.h>

#include "live_block.h"
#include "screen.h"

namespace dgemma {
namespace {

class Cells : public ::testing::Test {
 protected:
  void SetUp() override { UseUnicodeWidths(); }
};

std::vector<Row> RowsOf(const std::vector<std::string>& lines) {
  std::vector<Row> rows;
  for (const std::string& line : lines) rows.push_back(RowOf(CellsOf(line), Colors::kNone));
  return rows;
}

TEST_F(Cells, MeasuresWideCombiningAndEmoji) {
  EXPECT_EQ(WidthOf("abc"), 3);
  EXPECT_EQ(WidthOf("日本"), 4);
  EXPECT_EQ(WidthOf("e\u0301"), 1) << "a combining accent joins its letter";
  EXPECT_EQ(CellsOf("e\u0301x").size(), 2U);
  EXPECT_EQ(WidthOf("😀"), 2);
  EXPECT_EQ(WidthOf("a\nb"), 2);
  EXPECT_EQ(WidthOf("\t"), 4);
}

TEST_F(Cells, ControlCharactersNeverPass) {
  for (int byte = 0; byte < 0x20; ++byte) {
    if (byte == '\n' || byte == '\t') continue;
    const std::string text = std::string("a") + static_cast<char>(byte) + "b";
    const Row row = RowOf(CellsOf(text), Colors::kNone);
    EXPECT_EQ(row.bytes, "a\uFFFDb") << byte;
    EXPECT_EQ(row.width, 3);
  }
  EXPECT_EQ(RowOf(CellsOf("\x7f\u009b31m\u202e"), Colors::kNone).bytes, "\uFFFD\uFFFD31m\uFFFD");
  EXPECT_EQ(RowOf(CellsOf("\xff"), Colors::kNone).bytes, "\uFFFD");
}

TEST_F(Cells, WrapsAsTheTerminalDoes) {
  for (const std::string text :
       {"hello world", "日本語とEnglish", "x\n\ny", "aaa日", "", "0123456789", "e\u0301e\u0301e\u0301e\u0301e\u0301"}) {
    for (int columns = 2; columns < 14; ++columns) {
      Screen screen(columns, 40);
      screen.Write(text);
      std::vector<std::string> wrapped;
      for (const auto& row : Wrap(CellsOf(text), columns)) wrapped.push_back(RowOf(row, Colors::kNone).bytes);
      for (std::string& line : wrapped) {
        while (line.ends_with(' ')) line.pop_back();
      }
      while (!wrapped.empty() && wrapped.back().empty()) wrapped.pop_back();
      EXPECT_EQ(wrapped, screen.Lines()) << text << " in " << columns;
    }
  }
}

TEST_F(Cells, LongStatusIsCutToItsColumns) {
  for (int columns = 1; columns < 12; ++columns) {
    const Row row = LineOf("日本 step 7", Look::kDim, Colors::kNone, columns);
    EXPECT_LE(row.width, columns);
    EXPECT_EQ(WidthOf(row.bytes), row.width);
  }
  EXPECT_EQ(LineOf("short", Look::kDim, Colors::kNone, 10).bytes, "short");
}

TEST_F(Cells, AttributesOnlyWithColors) {
  const auto cells = CellsOf("x", Look::kBold);
  EXPECT_EQ(RowOf(cells, Colors::kNone).bytes, "x");
  EXPECT_EQ(RowOf(cells, Colors::k256).bytes, "\x1b[1mx\x1b[0m");
}

TEST_F(Cells, BlockReplacesItselfAndLeavesWhatIsAbove) {
  const TerminalSize size{10, 6};
  Screen screen(size.columns, size.rows);
  screen.Write("above\n");
  LiveBlock block;
  screen.Write(block.Redraw(RowsOf({"one", "two", "three"}), size));
  EXPECT_EQ(screen.Lines(), (std::vector<std::string>{"above", "one", "two", "three"}));
  screen.Write(block.Redraw(RowsOf({"ONE", "0123456789"}), size));
  EXPECT_EQ(screen.Lines(), (std::vector<std::string>{"above", "ONE", "0123456789"}));
  screen.Write(block.Redraw(RowsOf({"0123456789", "b"}), size));
  EXPECT_EQ(screen.Lines(), (std::vector<std::string>{"above", "0123456789", "b"}));
  screen.Write(block.Erase(size));
  EXPECT_EQ(screen.Lines(), (std::vector<std::string>{"above"}));
  EXPECT_EQ(screen.row(), 1);
  EXPECT_EQ(screen.column(), 0);
  EXPECT_EQ(block.Erase(size), "");
  EXPECT_TRUE(screen.unknown().empty());
}

TEST_F(Cells, BlockTallerThanTheScreenShowsItsEnd) {
  const TerminalSize size{10, 4};
  Screen screen(size.columns, size.rows);
  LiveBlock block;
  for (const char* last : {"x", "y", "z"}) {
    screen.Write(block.Redraw(RowsOf({"1", "2", "3", "4", "5", last}), size));
    EXPECT_EQ(screen.Lines(), (std::vector<std::string>{"4", "5", last}));
  }
  EXPECT_EQ(screen.Text(), "4\n5\nz\n") << "nothing was pushed into the scroll-back";
}

}  // namespace
}  // namespace dgemma
