// `dgemma quantize --imatrix` as a process: llama.cpp's files weigh as the importance that they stand for, and what is
// said about them.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "child.h"

namespace dgemma {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";
const std::string kImportance = DGEMMA_SOURCE_DIR "/tests/data/model/importance/";

std::string Content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Quantize, LlamasImportanceMatricesWeighAsWhatTheyStandFor) {
  const TemporaryFolder folder;
  ASSERT_EQ(RunProgram({"quantize", kStarter, folder / "plain", "int4-32-min", "-q"}).code, 0);
  for (const std::string form : {"safetensors", "gguf", "dat"}) {
    const Ran ran = RunProgram(
        {"quantize", kStarter, folder / form, "int4-32-min", "--imatrix", kImportance + "starter." + form, "--json"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto importance = boost::json::parse(ran.out).at("importance").as_object();
    EXPECT_EQ(importance.at("matrices").to_number<int>(), 4);
    EXPECT_EQ(importance.at("entries").to_number<int>(), 4);
    EXPECT_EQ(importance.at("unknown_names").to_number<int>(), 0);
    EXPECT_EQ(importance.contains("chunks"), form != "safetensors");
    const std::string packed = Content(folder / form + "/model.safetensors");
    EXPECT_FALSE(packed.empty());
    EXPECT_EQ(packed, Content(folder / "safetensors/model.safetensors")) << form;
    EXPECT_NE(packed, Content(folder / "plain/model.safetensors")) << form;
  }
}

TEST(Quantize, ImportanceOfZerosSaysNothing) {
  const TemporaryFolder folder;
  std::string file = Content(kImportance + "starter.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  std::fill(file.begin() + 8 + static_cast<int64_t>(header), file.end(), '\0');
  std::ofstream(folder / "zeros.safetensors", std::ios::binary) << file;
  ASSERT_EQ(RunProgram({"quantize", kStarter, folder / "plain", "int4-32-min", "-q"}).code, 0);
  const Ran ran = RunProgram(
      {"quantize", kStarter, folder / "zeros", "int4-32-min", "--imatrix", folder / "zeros.safetensors", "-q"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(Content(folder / "zeros/model.safetensors"), Content(folder / "plain/model.safetensors"));
}

TEST(Quantize, ReplacesNoModelUntold) {
  const TemporaryFolder folder;
  ASSERT_EQ(RunProgram({"quantize", kStarter, folder / "model", "int8", "-q"}).code, 0);
  const std::string model = Content(folder / "model/model.safetensors"), text = "{\"mine\": 1}";
  for (const char* name : {"settings", "shards"}) {
    std::filesystem::create_directory(folder / name);
    std::ofstream(folder / name + "/config.json") << text;
  }
  std::ofstream(folder / "shards/model.safetensors.index.json") << text;
  std::ofstream(folder / "file") << text;
  const auto refused = [&](std::vector<std::string> arguments, const std::string& why) {
    const Ran ran = RunProgram(std::move(arguments));
    EXPECT_EQ(ran.code, 2);
    EXPECT_NE(ran.err.find(why), std::string::npos) << ran.err;
  };
  const std::string own = folder / "model";
  refused({"quantize", kStarter, own, "int4"}, "holds a model already (model.safetensors; --force replaces it)");
  refused({"quantize", own, own, "int4", "--force"}, "is the model that is read");
  refused({"quantize", own, own + "/../model", "int4", "--force"}, "is the model that is read");
  refused({"quantize", own, folder / "settings", "int4"}, "holds a model already (config.json");
  refused({"quantize", own, folder / "shards", "int4", "-f"}, "holds a model in several files");
  refused({"convert", own, folder / "shards", "-f"}, "holds a model in several files");
  refused({"synth", folder / "shards", "--shape", "mid", "-f"}, "holds a model in several files");
  refused({"quantize", own, folder / "file", "int4", "-f"}, "is a file, not a folder");
  EXPECT_EQ(Content(folder / "model/model.safetensors"), model);
  EXPECT_EQ(Content(folder / "settings/config.json"), text);
  EXPECT_EQ(Content(folder / "shards/config.json"), text);
  EXPECT_EQ(Content(folder / "file"), text);
}

TEST(Quantize, SaysWhatAnImportanceMatrixIsAbout) {
  const TemporaryFolder folder;
  const std::string known = Content(kImportance + "starter.dat");
  std::string file = known;
  file[4 + 4 + 4] = '7';  // blk.7, which the model has not
  std::ofstream(folder / "some.dat", std::ios::binary) << file;
  const Ran ran = RunProgram({"quantize", kStarter, folder / "a", "int8", "--imatrix", folder / "some.dat"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("some.dat (dat, 3 chunks of calibration.txt): 3 matrices; 1 of 4 entries have unknown names"),
            std::string::npos)
      << ran.out;

  const auto refused = [&](const std::string& imatrix, int code, const std::string& named) {
    const Ran bad = RunProgram({"quantize", kStarter, folder / "b", "int8", "--imatrix", imatrix});
    EXPECT_EQ(bad.code, code) << bad.err;
    EXPECT_NE(bad.err.find(named), std::string::npos) << bad.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "b"));
  };
  refused(kImportance + "tiny.gguf", 1, "entry \"blk.0.attn_q.weight\": 4 values where 160 are needed");
  refused(kStarter + "/config.json", 1, "config.json");
  refused(folder / "none", 1, "none");
  std::ofstream(folder / "short.dat", std::ios::binary) << known.substr(0, 500);
  refused(folder / "short.dat", 1, "beyond the end (truncated file?)");
}

}  // namespace
}  // namespace dgemma
