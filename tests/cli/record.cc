// cli_record FILE: runs the program on a pseudo-terminal and writes what it showed as an animated SVG, for the README.
// Nothing is drawn by hand: every frame is a screen of the real program, shown as long as it stood.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "cells.h"
#include "child.h"
#include "files/atomic_file.h"
#include "files/bytes.h"

namespace dgemma {
namespace {

constexpr int kColumns = 80;
constexpr int kRows = 24;
constexpr int kCellWidth = 9;
constexpr int kLineHeight = 18;
constexpr double kRest = 1.5;  // seconds between commands

struct Frame {
  double begin = 0;  // seconds
  std::vector<std::vector<StyledCell>> cells;
};

const std::vector<std::vector<std::string>> kCommands = {
    {"run", "--slow", "500", "json name=ada age=36 city=rome"},
    {"run", "--slow", "400", "count 5 to 11"},
    {"run", "--slow", "500", "reverse planet"},
    {"sudoku", "--size", "6", "--slow", "700", "--seed", "3"},
};

std::string CommandLine(const std::vector<std::string>& arguments) {
  std::string line = "$ dgemma";
  for (const std::string& argument : arguments)
    line += argument.find(' ') == std::string::npos ? " " + argument : " '" + argument + "'";
  return line + "\n";
}

std::vector<Frame> Record(double& end) {
  std::vector<Frame> frames;
  Screen screen(kColumns, kRows);
  double now = 0;
  const auto take = [&] {
    if (frames.empty() || frames.back().cells != screen.Cells())
      frames.push_back({.begin = now, .cells = screen.Cells()});
  };
  for (const auto& arguments : kCommands) {
    screen.Write(CommandLine(arguments));
    take();
    now += 0.4;
    TerminalChild child(arguments);
    const auto begin = std::chrono::steady_clock::now();
    const double offset = now;
    size_t written = 0;
    for (bool open = true; open;) {
      open = child.Read(std::chrono::milliseconds(20));
      now = offset + std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      if (child.bytes().size() == written) continue;
      screen.Write(child.bytes().substr(written));
      written = child.bytes().size();
      take();
    }
    child.Wait();
    now += kRest;
    screen.Write("\n");
  }
  end = now + kRest;
  return frames;
}

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char byte : text) {
    escaped += byte == '<' ? "&lt;" : byte == '&' ? "&amp;" : std::string(1, byte);
  }
  return escaped;
}

// Runs of equal style as one <text> each; spaces are kept.
std::string RowSvg(const std::vector<StyledCell>& cells, size_t row) {
  std::string svg;
  for (size_t begin = 0; begin < cells.size();) {
    size_t end = begin;
    std::string text;
    while (end < cells.size() && cells[end].style == cells[begin].style) text += cells[end++].text;
    if (text.find_first_not_of(' ') != std::string::npos) {
      const char* kind = cells[begin].style == "2" ? " class=\"d\"" : cells[begin].style == "1" ? " class=\"b\"" : "";
      svg += fmt::format("<text x=\"{}\" y=\"{}\" textLength=\"{}\"{}>{}</text>", 12 + begin * kCellWidth,
                         24 + row * kLineHeight, (end - begin) * kCellWidth, kind, Escaped(text));
    }
    begin = end;
  }
  return svg;
}

std::string Svg(const std::vector<Frame>& frames, double end) {
  const int width = kColumns * kCellWidth + 24;
  const int height = kRows * kLineHeight + 20;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\">\n"
      "<title>dgemma writing on its canvas, recorded from the program</title>\n"
      "<style>text{{font:15px ui-monospace,Menlo,Consolas,monospace;fill:#e6e6e6;white-space:pre}}"
      ".d{{fill:#7d8590}}.b{{font-weight:700;fill:#7ee787}}</style>\n"
      "<rect width=\"{0}\" height=\"{1}\" rx=\"8\" fill=\"#0d1117\"><animate id=\"loop\" attributeName=\"opacity\" "
      "values=\"1;1\" dur=\"{2:.2f}s\" begin=\"0s;loop.end\"/></rect>\n",
      width, height, end);
  for (size_t index = 0; index < frames.size(); ++index) {
    const bool last = index + 1 == frames.size();
    const double until = last ? end : frames[index + 1].begin;
    // The last frame stands where nothing moves; the others appear in their time.
    svg += fmt::format(
        "<g visibility=\"{}\"><set attributeName=\"visibility\" to=\"{}\" begin=\"loop.begin+{:.2f}s\" "
        "dur=\"{:.2f}s\"/>",
        last ? "visible" : "hidden", last ? "hidden" : "visible", last ? 0 : frames[index].begin,
        last ? frames[index].begin : until - frames[index].begin);
    for (size_t row = 0; row < frames[index].cells.size(); ++row) svg += RowSvg(frames[index].cells[row], row);
    svg += "</g>\n";
  }
  return svg + "</svg>\n";
}

}  // namespace
}  // namespace dgemma

int main(int count, char** values) {
  if (count != 2) {
    std::fputs("usage: cli_record FILE.svg\n", stderr);
    return 2;
  }
  dgemma::UseUnicodeWidths();
  double end = 0;
  const auto frames = dgemma::Record(end);
  const auto saved = dgemma::SaveFile(values[1], dgemma::AsBytes(dgemma::Svg(frames, end)));
  if (!saved) std::fprintf(stderr, "%s\n", saved.error().message.c_str());
  return saved ? 0 : 1;
}
