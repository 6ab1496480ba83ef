// `dgemma convert` as a process: files and folders come out, errors are reported, nothing is overwritten by accident.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "child.h"
#include "files/temp_folder.h"
#include "refusal.h"

namespace dgemma {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

TEST(Convert, MakesFilesThatEveryVerbTakes) {
  const TempFolder folder;
  const std::string file = folder / "small.gguf";
  const Ran made = RunProgram({"convert", kStarter, file, "--type", "q8_0"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.out.find("Q8_0      56 tensors"), std::string::npos) << made.out;
  EXPECT_NE(made.out.find("exact"), std::string::npos) << made.out;
  EXPECT_NE(made.out.find("left out: 31 vision tensors, "), std::string::npos) << made.out;
  EXPECT_EQ(RunProgram({"run", "-q", file, "upper cat"}).out, "CAT\n");
  EXPECT_EQ(RunProgram({"run", "-q", "-m", file, "upper cat"}).out, "CAT\n");
  EXPECT_EQ(RunProgram({"tokenize", file, "upper <|turn>", "--ids"}).out,
            RunProgram({"tokenize", kStarter, "upper <|turn>", "--ids"}).out);
  const auto inspected = boost::json::parse(RunProgram({"inspect", file, "--json"}).out);
  EXPECT_NE(boost::json::serialize(inspected).find("\"Q8_0\""), std::string::npos);

  const std::string back = folder / "back";
  EXPECT_EQ(RunProgram({"convert", file, back, "--type", "bf16"}).code, 0);
  EXPECT_EQ(RunProgram({"run", "-q", back, "upper cat"}).out, "CAT\n");
  for (const char* name :
       {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_TRUE(std::filesystem::exists(back + "/" + name)) << name;
  }
  size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) entries += entry.exists();
  EXPECT_EQ(entries, 2u) << "nothing but the file and the folder stays";
}

TEST(Convert, ReportsEveryTensor) {
  const TempFolder folder;
  const Ran ran = RunProgram({"convert", "embedded", folder / "a.gguf", "--type", "q4_0", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto report = boost::json::parse(ran.out);
  const auto& tensors = report.at("tensors").as_array();
  EXPECT_EQ(tensors.size(), 143u);
  int64_t bytes = 0, rounded = 0;
  for (const auto& tensor : tensors) {
    bytes += tensor.at("bytes").to_number<int64_t>();
    const double relative = tensor.at("relative_error").to_number<double>();
    if (tensor.at("to").as_string() == "Q4_0") {
      ++rounded;
      EXPECT_GT(relative, 0.05) << tensor.at("name").as_string();  // a step of 1/8 of the largest of 32 values
      EXPECT_LT(relative, 0.13) << tensor.at("name").as_string();
      EXPECT_GT(tensor.at("largest_error").to_number<double>(), 0) << tensor.at("name").as_string();
    }
    if (tensor.at("to").as_string() == "F32") {
      EXPECT_EQ(relative, 0) << tensor.at("name").as_string();
    }
  }
  EXPECT_EQ(rounded, 56);
  EXPECT_EQ(report.at("left_out").at("tensors").to_number<int64_t>(), 31);
  EXPECT_GT(report.at("left_out").at("bytes").to_number<int64_t>(), 31);
  const Ran text = RunProgram({"convert", "embedded", folder / "b.gguf", "--type", "q4_0", "--tensors"});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const auto& tensor : tensors) {
    EXPECT_NE(text.out.find("\n  " + std::string(tensor.at("name").as_string()) + " "), std::string::npos);
  }
  const Ran whole = RunProgram({"convert", "embedded", folder / "folder/"});
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.out.find("left out"), std::string::npos) << "a folder holds all";
  EXPECT_EQ(RunProgram({"convert", "-q", "embedded", folder / "quiet"}).out, "");
  EXPECT_EQ(report.at("bytes").to_number<int64_t>(), bytes);
}

TEST(Convert, OverwritesOnlyWhenForced) {
  const TempFolder folder;
  const std::string file = folder / "a.gguf", out = folder / "b";
  std::ofstream(file) << "precious";
  ExpectRefused({"convert", kStarter, file}, 2, "exists (--force replaces it)");
  EXPECT_EQ(std::filesystem::file_size(file), 8u);
  EXPECT_EQ(RunProgram({"convert", kStarter, file, "--force"}).code, 0);
  EXPECT_GT(std::filesystem::file_size(file), 1'000'000u);
  EXPECT_EQ(RunProgram({"convert", file, out}).code, 0);
  ExpectRefused({"convert", file, out}, 2, "exists (--force replaces it)");
  EXPECT_EQ(RunProgram({"convert", file, out, "-f"}).code, 0);
  ExpectRefused({"convert", file, out, "--force", "--type", "q8_0"}, 2, "a model folder holds f32, f16 or bf16");
  ExpectRefused({"convert", kStarter, file, "--type", "q2_k"}, 2, "\"q2_k\": not one of f32,f16");
  ExpectRefused({"convert", folder / "absent.gguf", folder / "c.gguf"}, 1, "absent.gguf");
  std::ofstream(folder / "bad.gguf") << "GGUF";
  ExpectRefused({"convert", folder / "bad.gguf", folder / "c.gguf"}, 1, "beyond the end (truncated file?)");
}

/// Content of a file, or of the weights in a folder; "" where there is none.
std::string Content(const std::string& path) {
  return FileContent(std::filesystem::is_directory(path) ? path + "/model.safetensors" : path);
}

std::set<std::string> Names(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    names.insert(entry.path().lexically_relative(folder).string());
  return names;
}

TEST(Convert, AFullDiskKeepsWhatWasThere) {
  const TempFolder folder;
  const std::string file = folder / "a.gguf", out = folder / "b";
  ASSERT_EQ(RunProgram({"convert", kStarter, file, "--type", "q4_0"}).code, 0);
  ASSERT_EQ(RunProgram({"convert", kStarter, out, "--type", "f16"}).code, 0);
  const std::string file_before = Content(file), out_before = Content(out);
  const std::set<std::string> names = Names(folder.path());
  // Files may have a megabyte; the program inherits it.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{1 << 20, before.rlim_max};
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"convert", kStarter, file, "-f", "--type", "q8_0"},
        {"convert", kStarter, out, "-f"},
        {"quantize", kStarter, out, "int8", "-f"},
        {"convert", kStarter, folder / "new.gguf"},
        {"quantize", kStarter, folder / "new", "int8"}}) {
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
    const Ran ran = RunProgram(arguments);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(ran.code, 1);
    EXPECT_NE(ran.err.find("write failed: File too large"), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find(".partial"), std::string::npos) << ran.err;
    EXPECT_TRUE(Content(file) == file_before && Content(out) == out_before) << ran.err;
    EXPECT_EQ(Names(folder.path()), names) << ran.err;
  }
}

TEST(Convert, InterruptedOrKilledItLeavesTheOldOrTheWhole) {
  const TempFolder folder;
  const std::string file = folder / "a.gguf", out = folder / "b";
  const auto convert = [&](const std::string& target, const std::string& type) {
    return std::vector<std::string>{"convert", kStarter, target, "-f", "-q", "--type", type};
  };
  for (const std::string& target : {file, out}) {
    const std::string wanted = target == file ? "q8_0" : "f32";
    ASSERT_EQ(RunProgram(convert(target, wanted)).code, 0);
    const std::string whole = Content(target);
    ASSERT_EQ(RunProgram(convert(target, "f16")).code, 0);
    const std::string old = Content(target);
    const std::set<std::string> names = Names(folder.path());
    std::mt19937 random(3);
    for (int round = 0; round < 12; ++round) {
      const bool kills = round % 2 == 1;
      TerminalChild child(convert(target, wanted));
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 80));
      child.Signal(kills ? SIGKILL : SIGINT);
      child.Wait();
      const std::string now = Content(target);
      ASSERT_TRUE(now == old || now == whole) << target << " has " << now.size() << " bytes";
      if (!kills) {
        EXPECT_EQ(Names(folder.path()), names);
      }
      ASSERT_EQ(RunProgram(convert(target, "f16")).code, 0);
      EXPECT_EQ(Names(folder.path()), names) << "the next run sweeps what a killed one left";
    }
  }
}

}  // namespace
}  // namespace dgemma
