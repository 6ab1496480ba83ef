// `dgemma quantize --imatrix` as a process: llama.cpp's files weigh as the importance that they stand for, and what is
// said about them.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "child.h"
#include "files/temp_folder.h"
#include "refusal.h"

namespace dgemma {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";
const std::string kImportance = DGEMMA_SOURCE_DIR "/tests/data/model/importance/";

TEST(Quantize, LlamasImportanceMatricesWeighAsWhatTheyStandFor) {
  const TempFolder folder;
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
    const std::string packed = FileContent(folder / form + "/model.safetensors");
    EXPECT_FALSE(packed.empty());
    EXPECT_EQ(packed, FileContent(folder / "safetensors/model.safetensors")) << form;
    EXPECT_NE(packed, FileContent(folder / "plain/model.safetensors")) << form;
  }
}

TEST(Quantize, ImportanceOfZerosSaysNothing) {
  const TempFolder folder;
  std::string file = FileContent(kImportance + "starter.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  std::fill(file.begin() + 8 + static_cast<int64_t>(header), file.end(), '\0');
  std::ofstream(folder / "zeros.safetensors", std::ios::binary) << file;
  ASSERT_EQ(RunProgram({"quantize", kStarter, folder / "plain", "int4-32-min", "-q"}).code, 0);
  const Ran ran = RunProgram(
      {"quantize", kStarter, folder / "zeros", "int4-32-min", "--imatrix", folder / "zeros.safetensors", "-q"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(FileContent(folder / "zeros/model.safetensors"), FileContent(folder / "plain/model.safetensors"));
}

TEST(Quantize, ReplacesNoModelUntold) {
  const TempFolder folder;
  ASSERT_EQ(RunProgram({"quantize", kStarter, folder / "model", "int8", "-q"}).code, 0);
  const std::string model = FileContent(folder / "model/model.safetensors"), text = "{\"mine\": 1}";
  for (const char* name : {"settings", "shards"}) {
    std::filesystem::create_directory(folder / name);
    std::ofstream(folder / name + "/config.json") << text;
  }
  std::ofstream(folder / "shards/model.safetensors.index.json") << text;
  std::ofstream(folder / "file") << text;
  const std::string own = folder / "model";
  ExpectRefused({"quantize", kStarter, own, "int4"}, 2,
                "holds a model already (model.safetensors; --force replaces it)");
  ExpectRefused({"quantize", own, own, "int4", "--force"}, 2, "is the model that is read");
  ExpectRefused({"quantize", own, own + "/../model", "int4", "--force"}, 2, "is the model that is read");
  ExpectRefused({"quantize", own, folder / "settings", "int4"}, 2, "holds a model already (config.json");
  ExpectRefused({"quantize", own, folder / "shards", "int4", "-f"}, 2, "holds a model in several files");
  ExpectRefused({"convert", own, folder / "shards", "-f"}, 2, "holds a model in several files");
  ExpectRefused({"synth", folder / "shards", "--shape", "mid", "-f"}, 2, "holds a model in several files");
  ExpectRefused({"quantize", own, folder / "file", "int4", "-f"}, 2, "is a file, not a folder");
  EXPECT_EQ(FileContent(folder / "model/model.safetensors"), model);
  EXPECT_EQ(FileContent(folder / "settings/config.json"), text);
  EXPECT_EQ(FileContent(folder / "shards/config.json"), text);
  EXPECT_EQ(FileContent(folder / "file"), text);
}

TEST(Quantize, SaysWhatAnImportanceMatrixIsAbout) {
  const TempFolder folder;
  const std::string known = FileContent(kImportance + "starter.dat");
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
