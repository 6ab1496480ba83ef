// `dgemma dump` as a user runs it: its files against the recordings of Transformers, and inputs it has to refuse.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "child.h"
#include "engine/replay.h"
#include "files/safetensors_writer.h"
#include "files/temp_folder.h"
#include "support/golden.h"

namespace dgemma::test {
namespace {

const std::string kModel = "/alternating-f32";

std::vector<float> Numbers(const std::string& path, const std::string& name) {
  const auto files = OpenSafetensors(path);
  EXPECT_TRUE(files) << files.error().message;
  return *ReadNumbers(*files->Tensor(name));
}

std::vector<int64_t> Integers(const std::string& path, const std::string& name) {
  const auto files = OpenSafetensors(path);
  EXPECT_TRUE(files) << files.error().message;
  const auto tensor = files->Tensor(name);
  EXPECT_TRUE(tensor) << tensor.error().message;
  return *ReadIntegers(*tensor);
}

class DumpTest : public testing::TestWithParam<const char*> {};

TEST_P(DumpTest, PassesAreThoseOfTransformers) {
  const TempFolder folder;
  const std::string golden = GoldenRoot() + kModel + "/golden/";
  const auto decoder = *OpenSafetensors(golden + "decoder.safetensors");
  std::vector<TensorToWrite> input;
  for (const auto& [name, source] : {std::pair("ids", "ids"), std::pair("canvas", "canvas"),
                                     std::pair("self_conditioning_logits", "second.self_conditioning_logits")}) {
    const TensorBytes tensor = *decoder.Tensor(source);
    input.push_back(TensorFromMemory(name, tensor.dtype, {tensor.shape.begin(), tensor.shape.end()}, tensor.bytes));
  }
  ASSERT_TRUE(WriteSafetensors(folder / "in.safetensors", std::move(input)));
  const Ran ran = RunProgram({"dump", GoldenRoot() + kModel, "--in", folder / "in.safetensors", "--out",
                              folder / "out.safetensors", "--backend", GetParam()});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string out = folder / "out.safetensors";
  // 16 operations a layer, five layers deep, sums of up to 64 terms (tests/model/forward_test.cc has the bound stage by stage).
  const ErrorBound bound{0x1p-24, 64, 16 * 5};
  for (const auto& [name, file, recorded] :
       {std::tuple("logits", "decoder", "second.logits"), std::tuple("x0", "decoder", "second.x0"),
        std::tuple("layer.3", "decoder", "second.layer.3"), std::tuple("ar_logits", "encoder", "ar_logits"),
        std::tuple("encoder.layer.2", "encoder", "layer.2"), std::tuple("cache.0.k", "encoder", "cache.0.k"),
        std::tuple("cache.3.v", "encoder", "cache.3.v")}) {
    ExpectClose(Numbers(out, name), Numbers(golden + file + ".safetensors", recorded), bound, name);
  }
}

TEST_P(DumpTest, GenerationsAreThoseOfTransformers) {
  for (const char* name : {"generate", "generate_batch", "generate_start"}) {
    const TempFolder folder;
    const std::string recording = GoldenRoot() + kModel + "/golden/" + name;
    const std::string out = folder / "out.safetensors";
    const Ran ran = RunProgram({"dump", GoldenRoot() + kModel, "--in", recording + ".safetensors", "--generate",
                                recording + ".json", "--out", out, "--backend", GetParam()});
    ASSERT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(Integers(out, "sequences"), Integers(recording + ".safetensors", "sequences")) << name;
    EXPECT_EQ(Numbers(out, "tokens_per_forward"), Numbers(recording + ".safetensors", "tokens_per_forward")) << name;
    int compared = 0;
    const auto results = *OpenSafetensors(out);
    for (const TensorBytes& tensor : results.tensors()) {
      if (!tensor.name.ends_with(".argmax") && !tensor.name.ends_with(".accepted")) continue;
      EXPECT_EQ(*ReadIntegers(tensor), Integers(recording + ".safetensors", std::string(tensor.name))) << name;
      ++compared;
    }
    EXPECT_GE(compared, 16);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, DumpTest, testing::Values("cpu", "ref"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(DumpErrorTest, EachIsOneLineAndLeavesNoFile) {
  const TempFolder folder;
  const std::string model = GoldenRoot() + kModel, out = folder / "out.safetensors";
  const std::vector<int64_t> good = {5, 6, 7}, outside = {5, 6, 160}, empty;
  const auto write = [&](const std::string& file, const std::string& name, const std::vector<int64_t>& ids,
                         std::vector<uint64_t> shape) {
    EXPECT_TRUE(WriteSafetensors(
        folder / file, {TensorFromMemory(name, DType::kI64, std::move(shape), std::as_bytes(std::span(ids)))}));
    return folder / file;
  };
  const auto expect = [&](const std::string& in, const std::string& message) {
    const Ran ran = RunProgram({"dump", model, "--in", in, "--out", out});
    EXPECT_NE(ran.code, 0);
    EXPECT_NE(ran.err.find(message), std::string::npos) << ran.err;
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    EXPECT_FALSE(std::filesystem::exists(out));
  };
  expect(write("a.safetensors", "other", good, {1, 3}), "dgemma dump: " + folder / "a.safetensors" + ": has no tensor");
  expect(write("b.safetensors", "ids", outside, {1, 3}), "160");
  expect(write("c.safetensors", "ids", good, {3}), "shape");
  expect(write("d.safetensors", "ids", good, {3, 1}), "one row");
  expect(folder / "missing.safetensors", "missing.safetensors");
  const std::string recording = model + "/golden/generate.safetensors", options = folder / "options.json";
  for (const auto& [text, message] :
       {std::pair(R"({"steps": 3})", ": steps: is no option"), std::pair("[]", ": must be a JSON object"),
        std::pair(R"({"t_min": "0"})", ": t_min: must be a number"), std::pair("{", ": JSON: ")}) {
    std::ofstream(options) << text;
    const Ran refused = RunProgram({"dump", model, "--in", recording, "--generate", options, "--out", out});
    EXPECT_EQ(refused.code, 1) << text;
    EXPECT_TRUE(refused.err.starts_with("dgemma dump: " + options + message)) << refused.err;
    EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  }
  const std::vector<std::string> whole = {"dump", model, "--in", recording, "--generate", options, "--out", out};
  for (size_t value : {1u, 3u, 5u, 7u}) {
    std::vector<std::string> arguments = whole;
    arguments[value] = "";
    const Ran refused = RunProgram(arguments);
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find((value == 1 ? "MODEL" : whole[value - 1]) + ": the name of the "), std::string::npos)
        << refused.err;
  }
  EXPECT_FALSE(std::filesystem::exists(out));
  const Ran ran = RunProgram({"dump", model, "--in", write("e.safetensors", "ids", good, {1, 3}), "--out",
                              folder / "no/such/folder.safetensors"});
  EXPECT_NE(ran.code, 0);
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

}  // namespace
}  // namespace dgemma::test
