// `dgemma lora` and --lora as a process: adapters are shown, converted, merged and applied, and mistakes have words.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>

#include "child.h"
#include "files/temp_folder.h"
#include "refusal.h"
#include "zero_adapter.h"

namespace dgemma {
namespace {

const std::string kGolden = DGEMMA_SOURCE_DIR "/tests/golden";
const std::string kBase = kGolden + "/alternating-f32";

std::string Fixture(const std::string& name) { return kGolden + "/adapters/" + name; }

TEST(Lora, InfoSaysWhatAnAdapterIs) {
  const Ran alone = RunProgram({"lora", "info", Fixture("unsloth")});
  ASSERT_EQ(alone.code, 0) << alone.err;
  EXPECT_NE(alone.out.find("unused keys  2"), std::string::npos) << alone.out;
  EXPECT_NE(alone.out.find("vision_tower"), std::string::npos) << alone.out;
  EXPECT_NE(alone.out.find("mlp.down_proj     0-1"), std::string::npos) << alone.out;
  const Ran checked = RunProgram({"lora", "info", Fixture("peft-roles"), "--model", kBase, "--json"});
  ASSERT_EQ(checked.code, 0) << checked.err;
  const auto report = boost::json::parse(checked.out);
  EXPECT_EQ(report.at("form").as_string(), "PEFT");
  EXPECT_EQ(report.at("rank").to_number<int>(), 2);
  EXPECT_EQ(report.at("alpha").to_number<int>(), 6);
  bool found = false;
  for (const auto& target : report.at("targets").as_array()) {
    if (target.at("module") != "self_attn.q_proj" || target.at("role") != "decoder" || target.at("rank") != 3) continue;
    found = true;
    EXPECT_EQ(target.at("kind").as_string(), "sliding");
    EXPECT_EQ(target.at("scale").to_number<double>(), 2);
  }
  EXPECT_TRUE(found) << checked.out;
  const Ran file = RunProgram({"lora", "info", Fixture("llama-cpp/adapter.gguf")});
  EXPECT_NE(file.out.find("(GGUF)"), std::string::npos) << file.out;
  ExpectRefused({"lora", "info", Fixture("peft-roles"), "--model", "embedded"}, 1, "do not make");
}

TEST(Lora, ConvertWritesAPeftFolder) {
  const TempFolder folder;
  const std::string out = folder / "out";
  const Ran made = RunProgram({"lora", "convert", Fixture("llama-cpp/adapter.gguf"), out, "--model", kBase});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_NE(made.out.find("deltas"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(out + "/adapter_config.json"));
  const auto before =
      boost::json::parse(RunProgram({"lora", "info", Fixture("llama-cpp/adapter.gguf"), "-m", kBase, "--json"}).out);
  const auto after = boost::json::parse(RunProgram({"lora", "info", out, "-m", kBase, "--json"}).out);
  EXPECT_EQ(before.at("targets"), after.at("targets"));
  ExpectRefused({"lora", "convert", Fixture("nemo"), out, "--model", kBase}, 2, "--force");
  EXPECT_EQ(RunProgram({"lora", "convert", Fixture("nemo"), out, "--model", kBase, "--force", "-q"}).code, 0);
}

TEST(Lora, MergeWritesAModel) {
  const TempFolder folder;
  const std::string out = folder / "merged";
  const Ran made = RunProgram({"lora", "merge", kBase, Fixture("trl-both") + ":0.5", Fixture("nemo"), out, "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(boost::json::parse(made.out).at("tensors").as_array().size(), 9u) << made.out;
  EXPECT_EQ(RunProgram({"inspect", out}).code, 0);
  EXPECT_EQ(FileContent(out + "/config.json"), FileContent(kBase + "/config.json"));
  const std::string zero = folder / "zero";
  ASSERT_EQ(RunProgram({"lora", "merge", kBase, Fixture("trl-both") + ":0", zero, "-q"}).code, 0);
  EXPECT_EQ(FileContent(zero + "/model.safetensors").size(), FileContent(out + "/model.safetensors").size());
  EXPECT_NE(FileContent(zero + "/model.safetensors"), FileContent(out + "/model.safetensors"));

  ExpectRefused({"lora", "merge", kBase, Fixture("peft-decoder"), folder / "x"}, 2, "only the decoder is changed");
  ExpectRefused({"lora", "merge", kBase, Fixture("trl-both"), kBase, "--force"}, 2, "the model itself");
  ExpectRefused({"lora", "merge", kBase, Fixture("trl-both"), out}, 2, "--force");
  ASSERT_EQ(RunProgram({"quantize", kBase, folder / "packed", "int8-16", "-q"}).code, 0);
  ExpectRefused({"lora", "merge", folder / "packed", Fixture("trl-both"), folder / "x"}, 1, "is quantised");
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST(Lora, MistakesHaveWords) {
  ExpectRefused({"lora"}, 2, "action");
  ExpectRefused({"lora", "info"}, 2, "paths");
  ExpectRefused({"lora", "show", "x"}, 2, "is no action");
  ExpectRefused({"lora", "info", "a", "b"}, 2, "one adapter");
  ExpectRefused({"lora", "merge", "a", "b"}, 2, "needs MODEL");
  ExpectRefused({"lora", "convert", "a"}, 2, "needs IN and OUT");
  ExpectRefused({"lora", "info", "/nowhere"}, 1, "/nowhere: there is no such adapter");
  ExpectRefused({"lora", "info", ""}, 2, "empty");
}

TEST(Lora, VerbsApplyAdapters) {
  const TempFolder folder;
  const std::string in = kBase + "/golden/decoder.safetensors";
  const auto dump = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"dump", kBase, "--in", in, "--out", folder / name, "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = RunProgram(arguments);
    EXPECT_EQ(ran.code, 0) << ran.err;
    return FileContent(folder / name);
  };
  const std::string plain = dump("plain", {}), nothing = dump("nothing", {"--lora", Fixture("trl-both") + ":0"}),
                    once = dump("once", {"--lora", Fixture("trl-both")}),
                    twice = dump("twice",
                                 {"--lora", Fixture("trl-both") + ":0.25", "--lora", Fixture("trl-both") + ":0.75"});
  EXPECT_EQ(plain.size(), once.size());
  EXPECT_NE(plain, once);
  EXPECT_NE(plain, twice);
  EXPECT_EQ(nothing.size(), plain.size());
  const auto plan = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"inspect", kBase, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return boost::json::parse(RunProgram(arguments).out).at("plan_bytes").at("adapters").to_number<int64_t>();
  };
  EXPECT_EQ(plan({}), 0);
  EXPECT_GT(plan({"--lora", Fixture("trl-both")}), 5'000);
  ExpectRefused({"run", "-q", "--lora", "/nowhere", "upper cat"}, 1, "/nowhere: there is no such adapter");
  ExpectRefused({"run", "-q", "--lora", Fixture("trl-both"), "upper cat"}, 1, "trl-both");
  ExpectRefused({"bench", "--ops", "--lora", Fixture("trl-both")}, 2, "--lora");
}

TEST(Lora, VerboseNamesTheAdapter) {
  const TempFolder folder;
  WriteZeroAdapter("embedded", folder / "zeros");
  const Ran ran = RunProgram({"run", "-v", "--lora", (folder / "zeros") + ":0.5", "upper cat"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "CAT\n") << "an adapter of zeros changes nothing";
  EXPECT_NE(ran.err.find("adapter zeros: "), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("scale 0.5"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace dgemma
