// `dgemma train` as a process: what it writes and says, what it refuses to replace, and how runs go on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>

#include "child.h"
#include "files/temp_folder.h"

namespace dgemma {
namespace {

namespace fs = std::filesystem;

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

void Write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

class TrainTest : public testing::Test {
 protected:
  TrainTest() { Write(data_, "{\"prompt\":\"upper cat\",\"completion\":\"CAT\"}\n"); }

  /// Trains with these arguments behind data, folder and size.
  Ran Train(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"train", "--data", data_, "--batch", "1", "-t", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  }
  void ExpectRefused(const std::vector<std::string>& more, const std::string& named) const {
    const Ran ran = Train(more);
    EXPECT_EQ(ran.code, 2) << ran.err;
    EXPECT_NE(ran.err.find(named), std::string::npos) << ran.err;
  }

  const TempFolder folder_;
  const std::string data_ = folder_ / "data.jsonl", run_ = folder_ / "run";
};

TEST_F(TrainTest, WritesAModelAndGoesOn) {
  const Ran made = Train({kStarter, "--out", run_, "--steps", "2"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.err.find(run_ + "/model: the model after 2 steps"), std::string::npos) << made.err;
  EXPECT_EQ(made.err.find("task \"\""), std::string::npos) << "records without a task\n" << made.err;
  EXPECT_EQ(RunProgram({"inspect", run_ + "/model"}).code, 0);

  ExpectRefused({kStarter, "--out", run_, "--steps", "3"}, "holds a run already");
  ExpectRefused({kStarter, "--out", run_, "--steps", "1", "--resume"}, "step-000002 has taken 2 already, more than 1");
  ExpectRefused({kStarter, "--out", run_, "--steps", "3", "--resume", "--rate", "0.5"},
                "\"rate 0.001 0.1 cosine 0\" then, \"rate 0.5 0.1 cosine 0\" now");
  ExpectRefused({kStarter, "--out", run_, "--resume", "--lora-rank", "2"}, "trains all weights");
  ExpectRefused({"--out", folder_ / "other", "--resume"}, "MODEL is missing");
  const Ran more = Train({"--out", run_, "--steps", "3", "--resume", "-q"});  // the checkpoint has all of the model
  EXPECT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(more.err, "");
  EXPECT_TRUE(fs::exists(run_ + "/checkpoints/step-000003"));
  EXPECT_EQ(Train({kStarter, "--out", run_, "--steps", "1", "--force", "-q"}).code, 0);
  EXPECT_FALSE(fs::exists(run_ + "/checkpoints/step-000003"));
}

TEST_F(TrainTest, ReplacesNothingThatNoRunMade) {
  fs::create_directory(run_);
  fs::copy(kStarter, run_ + "/model");
  Write(run_ + "/checkpoints/checkpoint-500/file", "kept");
  const std::string before = FileContent(run_ + "/model/model.safetensors");
  for (const char* force : {"-q", "--force"}) {
    ExpectRefused({run_ + "/model", "--out", run_, "--steps", "1", force}, "would be lost");
    ExpectRefused({run_ + "/../run/model/model.safetensors", "--out", run_, "--steps", "1", force}, "would be lost");
  }
  ExpectRefused({kStarter, "--out", run_, "--steps", "1"}, "run/model: exists (--force replaces it)");
  EXPECT_EQ(FileContent(run_ + "/model/model.safetensors"), before);

  const Ran beside = Train({kStarter, "--out", run_, "--steps", "1", "--lora-rank", "2", "-q"});
  EXPECT_EQ(beside.code, 0) << beside.err;
  EXPECT_EQ(FileContent(run_ + "/model/model.safetensors"), before);
  EXPECT_EQ(FileContent(run_ + "/checkpoints/checkpoint-500/file"), "kept");

  Write(folder_ / "files/model", "mine");
  ExpectRefused({kStarter, "--out", folder_ / "files", "--steps", "1", "--force"}, "is a file");
  Write(folder_ / "more/checkpoints", "mine");
  ExpectRefused({kStarter, "--out", folder_ / "more", "--steps", "1", "--resume"}, "is a file");
  EXPECT_EQ(FileContent(folder_ / "files/model") + FileContent(folder_ / "more/checkpoints"), "minemine");
}

TEST_F(TrainTest, HasItsFolderForItself) {
  fs::create_directory(run_);
  const int held = open(run_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(flock(held, LOCK_EX), 0);
  ExpectRefused({kStarter, "--out", run_, "--steps", "1"}, "another training writes into this folder");
  EXPECT_TRUE(fs::is_empty(run_));
  EXPECT_EQ(Train({kStarter, "--out", run_, "--steps", "1", "--dry-run", "-q"}).code, 0) << "writes nothing";
  close(held);
  EXPECT_EQ(Train({kStarter, "--out", run_, "--steps", "1", "-q"}).code, 0);
}

TEST_F(TrainTest, AdaptersNameTheirModelAndStayApart) {
  const std::string adapter = run_ + "/adapter";
  const Ran made = Train({kStarter, "--out", run_, "--steps", "1", "--lora-rank", "2"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.err.find("adapter: the adapter after 1 steps"), std::string::npos) << made.err;
  EXPECT_EQ(boost::json::parse(FileContent(adapter + "/adapter_config.json")).at("base_model_name_or_path").as_string(),
            kStarter);
  EXPECT_NE(FileContent(run_ + "/report.html").find("rank 2, shared roles"), std::string::npos);

  ExpectRefused({kStarter, "--out", run_, "--resume"}, "trains an adapter");
  ExpectRefused({kStarter, "--out", run_, "--lora", adapter, "--force"}, "would be lost");
  ExpectRefused({kStarter, "--out", folder_ / "on", "--lora", adapter, "--lora-alpha", "9"}, "are for a new one");
  ExpectRefused({kStarter, "--out", folder_ / "on", "--lora-alpha", "9"}, "need --lora-rank");
  EXPECT_EQ(Train({kStarter, "--out", folder_ / "on", "--steps", "1", "--lora", adapter, "-q"}).code, 0);

  const Ran merged = RunProgram({"lora", "merge", kStarter, adapter, adapter, "--force"});
  EXPECT_EQ(merged.code, 2);
  EXPECT_NE(merged.err.find("holds an adapter (adapter_config.json)"), std::string::npos) << merged.err;
  EXPECT_FALSE(fs::exists(adapter + "/config.json"));
  fs::copy(kStarter, folder_ / "copy");
  const Ran converted = RunProgram({"lora", "convert", adapter, folder_ / "copy", "--model", kStarter, "--force"});
  EXPECT_EQ(converted.code, 2);
  EXPECT_NE(converted.err.find("holds a model (config.json)"), std::string::npos) << converted.err;
  EXPECT_FALSE(fs::exists(folder_ / "copy/adapter_config.json"));
}

TEST_F(TrainTest, ConfigFilesHoldFlagsAndTheModel) {
  const std::string config = folder_ / "run.toml";
  const auto trained = [&](const std::string& text, std::vector<std::string> more = {}) {
    Write(config, text);
    more.insert(more.end(), {"--config", config, "--dry-run"});
    return Train(more);
  };
  const Ran plan = trained("# comment\nmodel = \"" + kStarter + "\"\nsteps = 7\nrate = 3e-4\nno-shuffle = true\n");
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_NE(plan.err.find("run: 7 steps of 1 examples"), std::string::npos) << plan.err;
  EXPECT_NE(trained("[train]\nsteps = 7\n", {kStarter, "--steps", "9"}).err.find("run: 9 steps"), std::string::npos);
  for (const auto& [text, named] : std::vector<std::pair<std::string, std::string>>{
           {"learning_rate = 1", "run.toml: \"learning_rate\": no flag of this name"},
           {"[eval]\nsteps = 7", "\"eval.steps\": no flag of this name"},
           {"help = true", "\"help\": no flag of this name"},
           {"config = \"x\"", "\"config\": no flag of this name"},
           {"steps = nan", "run.toml: Could not convert: --steps = nan"},
           {"rate = nan", "rate: must be above 0"},
           {"lora-rank = 2\nlora = \"x\"", "are for a new one"},
           {"resume = true\nforce = true", "--resume and --force"}}) {
    const Ran ran = trained(text, {kStarter});
    EXPECT_EQ(ran.code, 2) << text << ran.err;
    EXPECT_NE(ran.err.find(named), std::string::npos) << ran.err;
  }
}

TEST_F(TrainTest, MistakesHaveWords) {
  ExpectRefused({kStarter, "--out", run_, "--threads", "100000"}, "\"100000\" is out of range (1 to ");
  ExpectRefused({kStarter, "--out", run_, "--threads", "0"}, "--threads");
  ExpectRefused({kStarter, "--out", ""}, "--out: the name is empty");
  const Ran large = Train({kStarter, "--dry-run", "--pass-rows", "1048576", "--max-tokens", "1048576"});
  EXPECT_NE(large.err.find("--pass-rows"), std::string::npos) << large.err;
  Write(folder_ / "broken/config.json", "{");
  Write(folder_ / "broken/model.safetensors", FileContent(kStarter + "/model.safetensors"));
  const Ran broken = Train({folder_ / "broken", "--dry-run"});
  EXPECT_NE(broken.err.find("broken: config.json: "), std::string::npos) << broken.err;
  Write(folder_ / "new.json", "{}");
  const Ran fresh = Train({"--new", folder_ / "new.json", "--tokenizer", kStarter + "/tokenizer.json", "--dry-run"});
  EXPECT_NE(fresh.err.find("new.json: model_type"), std::string::npos) << fresh.err;
  EXPECT_FALSE(fs::exists(run_));
}

}  // namespace
}  // namespace dgemma
