// Tests of tree_check on made-up files and a made-up tree: each rule fires where it should and nowhere else.
#include "tree_check.h"

#include <gtest/gtest.h>

#include <fstream>

namespace dgemma::tree {
namespace {

constexpr std::string_view kOpening = "// What this holds.\n";

/// Rules broken by `text` put after a correct opening comment, as "line:rule" joined with blanks.
std::string Broken(std::string_view path, std::string_view text) {
  std::string all;
  for (const Violation& violation : CheckFile(path, std::string(kOpening) + std::string(text))) {
    if (!all.empty()) all += ' ';
    all += std::to_string(violation.line) + ":" + violation.rule;
  }
  return all;
}

std::string BrokenByInclude(std::string_view path, std::string_view included) {
  return Broken(path, "#include " + std::string(included) + "\n");
}

constexpr std::string_view kDirection = "2:include-direction";

TEST(TreeCheck, EveryFolderMayIncludeWhatIsBelowIt) {
  EXPECT_EQ(BrokenByInclude("apps/dgemma/main.cc", "\"server/http.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/server/http.cc", "\"engine/engine.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/engine/engine.cc", "\"text/tokenizer.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/diffusion/denoise.cc", "\"model/forward.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/model/forward.cc", "\"kernels/kernels.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/kernels/ref/norm.cc", "\"tensor/matrix.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/kernels/cpu/norm.cc", "\"kernels/ref/norm.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/text/tokenizer.cc", "\"files/json.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/base/status.cc", "\"dgemma/status.h\""), "");
}

TEST(TreeCheck, NoFolderMayIncludeUpwardsOrSideways) {
  EXPECT_EQ(BrokenByInclude("src/base/status.cc", "\"files/json.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/files/json.cc", "\"tensor/matrix.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/kernels/kernels.h", "\"model/config.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/kernels/kernels.h", "<model/config.h>"), kDirection);
  EXPECT_EQ(BrokenByInclude("src/kernels/kernels.h", "\"vision/tower.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/model/forward.cc", "\"text/tokenizer.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/diffusion/denoise.cc", "\"text/tokenizer.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/text/chat.cc", "\"model/config.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/text/chat.cc", "\"tensor/matrix.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/server/http.cc", "\"train/loss.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/train/loss.cc", "\"server/http.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/plugins/all.cc", "<vector>"), kDirection);
}

TEST(TreeCheck, SpacesInAnIncludeLineDoNotHideIt) {
  EXPECT_EQ(Broken("src/base/a.cc", "  #  include   \"files/json.h\"  // why\n"), kDirection);
}

TEST(TreeCheck, OnlyTheEngineNamesABackend) {
  EXPECT_EQ(BrokenByInclude("src/engine/engine.cc", "\"kernels/cpu/cpu_kernels.h\""), "");
  EXPECT_EQ(BrokenByInclude("tests/kernels/norm_test.cc", "\"kernels/cpu/cpu_kernels.h\""), "");
  EXPECT_EQ(BrokenByInclude("bench/matmul.cc", "\"kernels/cpu/cpu_kernels.h\""), "");
  EXPECT_EQ(BrokenByInclude("src/model/forward.cc", "\"kernels/cpu/cpu_kernels.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/train/loss.cc", "\"kernels/ref/ref_kernels.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("apps/dgemma/bench.cc", "\"kernels/ref/ref_kernels.h\""), kDirection);
}

TEST(TreeCheck, PublicHeadersAndExamplesSeeOnlyThePublicInterface) {
  EXPECT_EQ(BrokenByInclude("include/dgemma/dgemma.h", "\"dgemma/status.h\""), "");
  EXPECT_EQ(BrokenByInclude("include/dgemma/dgemma.h", "<string>"), "");
  EXPECT_EQ(BrokenByInclude("include/dgemma/dgemma.h", "\"base/try.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("examples/minimal/main.cc", "\"engine/engine.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/model/forward.cc", "\"dgemma/dgemma.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/engine/engine.cc", "\"dgemma/dgemma.h\""), "");
}

TEST(TreeCheck, IncludesAreWrittenFromSrcAndNeverNameASourceFile) {
  EXPECT_EQ(BrokenByInclude("src/files/json.cc", "\"json.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/files/json.cc", "\"../base/try.h\""), kDirection);
  EXPECT_EQ(BrokenByInclude("tests/files/json_test.cc", "\"files/json.cc\""), kDirection);
  EXPECT_EQ(BrokenByInclude("src/files/json.cc", "<boost/json.hpp>"), "");
  EXPECT_EQ(BrokenByInclude("src/kernels/cpu/norm.cc", "\"hwy/highway.h\""), "");
}

TEST(TreeCheck, FilesOpenWithAComment) {
  EXPECT_EQ(CheckFile("src/base/a.h", "#pragma once\n").at(0).rule, "opening-comment");
  EXPECT_EQ(CheckFile("src/base/a.h", "").at(0).rule, "opening-comment");
  EXPECT_EQ(CheckFile("script/build", "#!/usr/bin/env bash\nset -e\n").at(0).rule, "opening-comment");
  EXPECT_TRUE(CheckFile("script/build", "#!/usr/bin/env bash\n# Builds.\nset -e\n").empty());
  EXPECT_TRUE(CheckFile("cmake/a.cmake", "# Helps.\n").empty());
  EXPECT_TRUE(CheckFile("src/base/CMakeLists.txt", "dgemma_library(dgemma_base)\n").empty());
}

TEST(TreeCheck, AFileMayHaveExactlyTheLimitOfLines) {
  std::string text(kOpening);
  for (int line = 1; line < kMaxLines; ++line) text += "int x;\n";
  EXPECT_TRUE(CheckFile("src/base/a.cc", text).empty());
  EXPECT_EQ(CheckFile("src/base/a.cc", text + "int y;\n").at(0).rule, "length");
}

TEST(TreeCheck, StrayTextIsFoundWithItsLine) {
  EXPECT_EQ(Broken("src/base/a.cc", "int x;\nint\ty;\n"), "3:whitespace");
  EXPECT_EQ(Broken("src/base/a.cc", "int x; \n"), "2:whitespace");
  EXPECT_EQ(Broken("src/base/a.cc", "int x;\r\n"), "2:whitespace");
  EXPECT_EQ(Broken("src/base/a.cc", "int x;"), "2:whitespace");
  EXPECT_EQ(Broken("src/base/a.cc",
                   "// TO"
                   "DO(someone): more\n"),
            "2:open-work");
  EXPECT_EQ(Broken("src/base/a.cc",
                   "// XX"
                   "X\n"),
            "2:open-work");
  EXPECT_EQ(Broken("src/base/a.cc", "const char* pattern = \"name.XXXXXX\";\n"), "");
}

TEST(TreeCheck, PathsOfOneMachineAreFoundInSourcesAndPages) {
  EXPECT_EQ(Broken("src/base/a.cc",
                   "auto p = \"/ho"
                   "me/ada/x\";\n"),
            "2:machine-path");
  EXPECT_EQ(Broken("docs/page.md",
                   "see `/wo"
                   "rk/x`\n"),
            "2:machine-path");
  EXPECT_EQ(Broken("docs/page.md",
                   "a frame/wo"
                   "rk/x and ../wo"
                   "rk/y\n"),
            "");
}

TEST(TreeCheck, DataAndBuildFoldersAndForeignFilesAreNotChecked) {
  EXPECT_FALSE(IsChecked("tests/data/files/a.cc"));
  EXPECT_FALSE(IsChecked("build/release/a.cc"));
  EXPECT_FALSE(IsChecked("models/starter/config.json"));
  EXPECT_TRUE(IsChecked("CMakeLists.txt"));
  EXPECT_TRUE(IsChecked("src/base/CMakeLists.txt"));
  EXPECT_TRUE(IsChecked(".ci/run"));
}

TEST(TreeCheck, ATreeIsWalkedInOrderAndFormatted) {
  const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "dgemma_tree_check_test";
  std::filesystem::remove_all(root);
  const auto write = [&root](const char* path, std::string_view text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  write("src/model/a.h", "// A.\n#pragma once\n#include \"text/b.h\"\n");
  write("src/base/ok.h", "// Fine.\n#pragma once\n");
  write("script/run", "#!/bin/sh\necho\n");
  write("build/x/bad.cc", "int x;\t\n");
  EXPECT_EQ(CountChecked(root), 3);
  const std::vector<Violation> found = CheckTree(root);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(Format(found[0]), "script/run:1: opening-comment: does not open with a comment on what it holds");
  EXPECT_EQ(Format(found[1]), "src/model/a.h:3: include-direction: model may not include text (text/b.h)");
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace dgemma::tree
