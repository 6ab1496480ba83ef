// GGUF files as models: the starter model written and read back gives the same configuration, ids and tokens; what is
// missing or unknown is named; autoregressive files answer token by token only.
#include "model/gguf_model.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/thread_pool.h"
#include "dgemma/dgemma.h"
#include "engine/loaded_model.h"
#include "files/gguf_writer.h"
#include "files/json.h"
#include "files/mapped_file.h"
#include "model/convert.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/gguf_tokenizer.h"
#include "model/stored_tensors.h"
#include "text/tokenizer.h"

namespace dgemma::test {
namespace {

const std::string kStarter = DGEMMA_SOURCE_DIR "/models/starter";

class GgufModelTest : public testing::Test {
 protected:
  GgufModelTest() : files_(*OpenCheckpoint(kStarter)), config_(*ReadConfig(files_)) {}

  /// The starter model as a file; with a changed configuration where one is given.
  std::string Write(const std::string& name, TypeWish type, const Config& config) {
    const std::string path = testing::TempDir() + name + ".gguf";
    ConvertOptions options;
    options.type = type;
    options.name = "starter";
    const auto saved = SaveGguf(files_, config, path, options, pool_);
    EXPECT_TRUE(saved) << saved.error().message;
    return path;
  }
  std::string Write(const std::string& name, TypeWish type) { return Write(name, type, config_); }

  static Answer Ask(const std::string& model, DecodeMode mode, Backend backend = Backend::kCpu,
                    const std::string& prompt = "sort 7 3 9 1 22 5") {
    EngineOptions loading;
    loading.threads = 2;
    loading.backend = backend;
    const auto engine = Engine::Load(model, loading);
    EXPECT_TRUE(engine) << engine.error().message;
    Request request;
    request.chat = {{"user", prompt, ""}};
    request.options = (*engine)->Defaults();
    request.options.mode = mode;
    request.options.max_new_tokens = 48;
    request.options.seed = 5;
    const auto answer = (*(*engine)->NewSession())->Generate(request);
    EXPECT_TRUE(answer) << answer.error().message;
    return *answer;
  }

  ThreadPool pool_{2};
  CheckpointFiles files_;
  Config config_;
};

TEST_F(GgufModelTest, TheConfigurationComesBack) {
  const auto files = OpenModel(Write("config", DType::kF32));
  ASSERT_TRUE(files) << files.error().message;
  const auto config = ReadConfig(*files);
  ASSERT_TRUE(config) << config.error().message;
  Config expected = config_;
  expected.vision.reset();  // GGUF files hold no vision
  expected.eos_tokens = {1, 106, 50};
  EXPECT_EQ(*config, expected);
  const auto text = files->Text("generation_config.json");
  ASSERT_TRUE(text) << text.error().message;
  const auto generation = ParseGenerationConfig(*text, config->vocab);
  ASSERT_TRUE(generation) << generation.error().message;
  const auto original = *ParseGenerationConfig(*files_.Text("generation_config.json"), config_.vocab);
  EXPECT_EQ(generation->steps, original.steps);
  EXPECT_EQ(generation->t_min, original.t_min);
  EXPECT_EQ(generation->t_max, original.t_max);
  EXPECT_EQ(generation->entropy_bound, original.entropy_bound);
  EXPECT_EQ(generation->stability, original.stability);
  EXPECT_EQ(generation->confidence, original.confidence);
  EXPECT_EQ(generation->eos_tokens, original.eos_tokens);
  EXPECT_EQ(generation->pad_token, original.pad_token);
  EXPECT_EQ(files->metadata().at("general.name"), "starter");
}

TEST_F(GgufModelTest, TheTokenizerGivesTheSameIds) {
  const auto files = OpenModel(Write("tokenizer", DType::kF32));
  ASSERT_TRUE(files) << files.error().message;
  const auto text = files->Text("tokenizer.json");
  ASSERT_TRUE(text) << text.error().message;
  const auto tokenizer = Tokenizer::FromJson(*text);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const Tokenizer original = *Tokenizer::FromJson(*files_.Text("tokenizer.json"));
  ASSERT_EQ(tokenizer->vocab_size(), original.vocab_size());
  for (int32_t id = 0; id < original.vocab_size(); ++id) {
    EXPECT_EQ(tokenizer->TokenContent(id), original.TokenContent(id)) << id;
    EXPECT_EQ(tokenizer->IsSpecial(id), original.IsSpecial(id)) << id;
    EXPECT_EQ(tokenizer->IsControl(id), original.IsControl(id)) << id;
    EXPECT_EQ(tokenizer->IsByte(id), original.IsByte(id)) << id;
  }
  const std::string golden = *ReadWholeFile(DGEMMA_SOURCE_DIR "/tests/data/text/starter_ids.json", 16 << 20);
  const auto document = *ParseJson(golden);
  size_t compared = 0;
  for (const auto& row : document.at("encoded").as_array()) {
    const auto& hex = row.at(0).as_string();
    std::string sample;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      sample.push_back(static_cast<char>(std::stoi(std::string(hex.data() + i, 2), nullptr, 16)));
    }
    for (const SpecialTokens special : {SpecialTokens::kParse, SpecialTokens::kAsText}) {
      EXPECT_EQ(tokenizer->Encode(sample, special), original.Encode(sample, special)) << sample;
    }
    ++compared;
  }
  EXPECT_GT(compared, 50u);
}

TEST_F(GgufModelTest, PlainFilesGiveTheSameTokens) {
  const Answer expected = Ask(kStarter, DecodeMode::kDiffusion);
  ASSERT_FALSE(expected.tokens.empty());
  // In float32 activations are not rounded to bfloat16: another computation, so a folder in float32 beside it.
  const std::string widened = testing::TempDir() + "starter-f32";
  ConvertOptions options;
  options.type = DType::kF32;
  ASSERT_TRUE(SaveFolder(files_, config_, widened, options, pool_));
  EXPECT_EQ(Ask(Write("f32", DType::kF32), DecodeMode::kDiffusion).tokens, Ask(widened, DecodeMode::kDiffusion).tokens);
  EXPECT_EQ(Ask(Write("bf16", DType::kBF16), DecodeMode::kDiffusion).tokens, expected.tokens);
  EXPECT_EQ(Ask(Write("kept", std::nullopt), DecodeMode::kDiffusion).tokens, expected.tokens);
}

TEST_F(GgufModelTest, FewerBitsStillAnswer) {
  const std::string prompt = "json name=ada age=36 city=rome", expected = R"({"name":"ada","age":36,"city":"rome"})";
  EXPECT_EQ(Ask(kStarter, DecodeMode::kDiffusion, Backend::kCpu, prompt).text, expected);
  for (const auto& [name, type] : {std::pair("q8_0", DType::kQ8_0), {"q6_k", DType::kQ6K}, {"q5_k", DType::kQ5K}}) {
    EXPECT_EQ(Ask(Write(name, type), DecodeMode::kDiffusion, Backend::kReference, prompt).text, expected) << name;
  }
}

TEST_F(GgufModelTest, AutoregressiveFilesAnswerTokenByToken) {
  Config causal = config_;
  causal.causal_only = true;
  const std::string path = Write("gemma4", DType::kBF16, causal);
  const auto files = OpenModel(path);
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_EQ(files->metadata().at("general.architecture"), "gemma4");
  EXPECT_FALSE(files->HasTensor("model.decoder.self_conditioning.pre_norm.weight"));
  EXPECT_EQ(Ask(path, DecodeMode::kAutoregressive).tokens, Ask(kStarter, DecodeMode::kAutoregressive).tokens);

  const auto engine = Engine::Load(path, {});
  ASSERT_TRUE(engine) << engine.error().message;
  Request request;
  request.chat = {{"user", "upper cat", ""}};
  request.options = (*engine)->Defaults();
  const auto refused = (*(*engine)->NewSession())->Generate(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, StatusCode::kUnsupported);
  EXPECT_EQ(refused.error().message, "this is an autoregressive model (gemma4): use --ar");
}

/// A copy of a file's tensors and metadata, written again with changes.
struct Edit {
  std::string drop;  ///< a tensor left out
  std::pair<std::string, std::string> rename;
  bool split_experts = false;
};

std::string Edited(const std::string& path, const Config& config, const CheckpointFiles& starter, const Edit& edit) {
  const auto file = *MappedFile::Open(path);
  const auto table = *ParseGguf(file.bytes());
  GgufMetadata metadata;
  metadata.Put("general.architecture", GgufArchitecture(config));
  PutConfig(config, {}, metadata);
  EXPECT_TRUE(PutTokenizer({*starter.Text("tokenizer.json"), ""}, config, metadata));
  std::vector<TensorToWrite> tensors;
  for (const GgufTensor& tensor : table.tensors) {
    std::string name(tensor.name);
    const auto bytes = file.bytes().subspan(tensor.begin, tensor.end - tensor.begin);
    std::vector<uint64_t> shape(tensor.shape().begin(), tensor.shape().end());
    if (name == edit.drop) continue;
    if (name == edit.rename.first) name = edit.rename.second;
    if (!edit.split_experts || !name.ends_with("ffn_gate_up_exps.weight")) {
      tensors.push_back(TensorFromMemory(name, tensor.dtype, shape, bytes));
      continue;
    }
    const size_t expert = bytes.size() / shape[0], half = expert / 2;
    shape[1] /= 2;
    for (const size_t first : {size_t{0}, half}) {
      std::string part = name;
      part.replace(part.find("gate_up"), 7, first == 0 ? "gate" : "up");
      tensors.push_back({part, tensor.dtype, shape, [=](const ByteSink& sink) -> Result<void> {
                           for (size_t begin = first; begin < bytes.size(); begin += expert) {
                             if (auto taken = sink(bytes.subspan(begin, half)); !taken) return taken;
                           }
                           return {};
                         }});
    }
  }
  const std::string out = path + ".edited.gguf";
  const auto written = WriteGguf(out, metadata, tensors);
  EXPECT_TRUE(written) << written.error().message;
  return out;
}

TEST_F(GgufModelTest, SplitExpertsAndOtherNamesAreTheSameModel) {
  const std::string path = Write("q8_0", DType::kQ8_0);
  const auto plain = *OpenModel(path);
  for (const Edit& edit : {Edit{"", {}, true}, Edit{"", {"self_cond_gate.weight", "sc_gate.weight"}, false},
                           Edit{"", {"blk.0.post_attention_norm.weight", "blk.0.attn_post_norm.weight"}, false}}) {
    const auto files = OpenModel(Edited(path, config_, files_, edit));
    ASSERT_TRUE(files) << files.error().message;
    const auto config = ReadConfig(*files);
    ASSERT_TRUE(config) << config.error().message;
    for (const TensorSpec& spec : ListTensors(*config)) {
      const StoredTensor expected = *FindStored(plain, spec), actual = *FindStored(*files, spec);
      std::vector<float> a(static_cast<size_t>(expected.cols)), b(a.size());
      for (int64_t row = 0; row < expected.count * expected.rows; ++row) {
        ReadRow(expected, row / expected.rows, row % expected.rows, a.data());
        ReadRow(actual, row / expected.rows, row % expected.rows, b.data());
        ASSERT_EQ(a, b) << spec.name;
      }
      EXPECT_EQ(plain.Tensor(spec.name)->ByteCount(), files->Tensor(spec.name)->ByteCount());
      files->Release(*files->Tensor(spec.name));
    }
  }
}

TEST_F(GgufModelTest, MissingAndUnknownTensorsAreNamed) {
  const std::string path = Write("named", DType::kF32);
  const auto missing = OpenModel(Edited(path, config_, files_, {"blk.1.attn_q.weight", {}, false}));
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find(
                "has no tensor \"blk.1.attn_q.weight\" (the model's model.decoder.layers.1.self_attn.q_proj.weight)"),
            std::string::npos)
      << missing.error().message;
  const auto rope = OpenModel(Edited(path, config_, files_, {"rope_freqs.weight", {}, false}));
  ASSERT_FALSE(rope);
  EXPECT_NE(rope.error().message.find("rope_freqs.weight: is missing"), std::string::npos) << rope.error().message;
  // One scalar a layer serves both passes; with the encoder's renamed the decoder's stands in, and the stranger is
  // refused.
  const auto unknown = OpenModel(
      Edited(path, config_, files_, {"", {"blk.1.enc_layer_output_scale.weight", "blk.1.odd.weight"}, false}));
  ASSERT_TRUE(unknown) << unknown.error().message;
  const auto config = ReadConfig(*unknown);
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("\"blk.1.odd.weight\": no such tensor in this model"), std::string::npos);
}

TEST_F(GgufModelTest, OnlyGemmasTokenizerCanBeWritten) {
  const std::string text = *files_.Text("tokenizer.json");
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    GgufMetadata metadata;
    const auto put = PutTokenizer({changed, ""}, config_, metadata);
    return put ? "accepted" : put.error().message;
  };
  const std::string rule = ": differs from Gemma's, which is all that GGUF can say";
  EXPECT_EQ(refused("\"normalizer\": {\"type\": \"Replace\"", "\"normalizer\": {\"type\": \"NFC\""),
            "tokenizer.json: normalizer" + rule);
  EXPECT_EQ(refused("\"behavior\": \"MergedWithPrevious\"", "\"behavior\": \"Isolated\""),
            "tokenizer.json: pre_tokenizer" + rule);
  EXPECT_EQ(refused("{\"type\": \"Fuse\"}", "{\"type\": \"Strip\"}"), "tokenizer.json: decoder" + rule);
  EXPECT_EQ(refused("\"byte_fallback\": true", "\"byte_fallback\": false"),
            "tokenizer.json: model.byte_fallback" + rule);
  EXPECT_EQ(refused("\"ignore_merges\": false", "\"ignore_merges\": true"),
            "tokenizer.json: model.ignore_merges" + rule);
  EXPECT_EQ(refused("[\"u\", \"s\"]", "[\"u \", \"s\"]"),
            "tokenizer.json: model.merges: a rule is not two tokens without spaces");
  EXPECT_EQ(refused("\"<eos>\": 1,", "\"<eos>\": 512,"),
            "tokenizer.json: \"<eos>\": id is not in the model's vocabulary of 512");
  EXPECT_EQ(refused("\"<eos>\": 1,", "\"<eos>\": 0,"), "tokenizer.json: id 0: names two tokens");
}

TEST_F(GgufModelTest, FoldersComeBackToTheByte) {
  const std::string path = Write("there", std::nullopt), folder = testing::TempDir() + "back";
  std::filesystem::remove_all(folder);
  const auto files = *OpenModel(path);
  ConvertOptions options;
  options.type = DType::kBF16;
  const auto saved = SaveFolder(files, *ReadConfig(files), folder, options, pool_);
  ASSERT_TRUE(saved) << saved.error().message;
  const auto back = OpenModel(folder);
  ASSERT_TRUE(back) << back.error().message;
  ASSERT_TRUE(ReadConfig(*back));
  for (const TensorBytes& tensor : back->tensors()) {
    const auto original = files_.Tensor(tensor.name);
    ASSERT_TRUE(original);
    EXPECT_EQ(tensor.dtype, original->dtype);
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, original->bytes)) << tensor.name;
  }
  EXPECT_EQ(Ask(folder, DecodeMode::kDiffusion).tokens, Ask(kStarter, DecodeMode::kDiffusion).tokens);
  const ConvertOptions blocks{DType::kQ8_0, "", {}};
  EXPECT_EQ(SaveFolder(files, *ReadConfig(files), folder, blocks, pool_).error().code, StatusCode::kInvalidArgument);
}

TEST_F(GgufModelTest, ThreadsDoNotChangeAByteAndACancelledFileIsNotThere) {
  const std::string path = Write("threads", DType::kQ4K);
  ThreadPool one(1);
  ConvertOptions options;
  options.type = DType::kQ4K;
  options.name = "starter";
  ASSERT_TRUE(SaveGguf(files_, config_, path + "1.gguf", options, one));
  EXPECT_EQ(*ReadWholeFile(path, 1 << 30), *ReadWholeFile(path + "1.gguf", 1 << 30));
  std::stop_source stop;
  options.stream.stop = stop.get_token();
  options.stream.progress = [&](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    stop.request_stop();
  };
  const std::string cancelled = testing::TempDir() + "cancelled.gguf";
  EXPECT_EQ(SaveGguf(files_, config_, cancelled, options, pool_).error().code, StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(cancelled));
}

TEST(GgufFile, IsKnownByNameAndByContent) {
  const std::string folder = testing::TempDir();
  std::ofstream(folder + "named.gguf") << "x";
  std::ofstream(folder + "content") << "GGUF and more";
  std::ofstream(folder + "other") << "GGU";
  EXPECT_TRUE(IsGgufFile(folder + "named.gguf"));
  EXPECT_TRUE(IsGgufFile(folder + "content"));
  EXPECT_FALSE(IsGgufFile(folder + "other"));
  EXPECT_FALSE(IsGgufFile(folder));
  EXPECT_FALSE(IsGgufFile(folder + "absent.gguf"));
  EXPECT_EQ(OpenModel(folder + "absent.gguf").error().code, StatusCode::kNotFound);
  EXPECT_EQ(OpenModel(folder + "named.gguf").error().code, StatusCode::kInvalidFile);
}

}  // namespace
}  // namespace dgemma::test
