// Model folders: one file, shards with an index, the same from memory; every disagreement of index and shards is
// refused.
#include "files/checkpoint_files.h"

#include <gtest/gtest.h>

#include "files/shard_index.h"
#include "safetensors_bytes.h"
#include "temp_folder.h"

namespace dgemma {
namespace {

const std::string kOne = SafetensorsFile(
    "{\"__metadata__\":{\"format\":\"pt\"}," + Entry("b", "U8", "4", "0,4") + "," + Entry("a", "I16", "1", "4,6") + "}",
    6);
const std::string kTwo = SafetensorsFile("{" + Entry("c", "U8", "3", "0,3") + "}", 3);
const std::string kIndex = R"({"metadata":{"total_size":9,"other":1.5},)"
                           R"("weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})";

using Files = std::map<std::string, std::string>;

/// Opens the files from a folder and from memory, checks that both agree, and returns the result from memory.
Result<CheckpointFiles> Open(const Files& files) {
  const TempFolder folder;
  std::vector<Blob> blobs;
  for (const auto& [name, content] : files) {
    folder.Add(name, content);
    blobs.push_back(OwnedBlob(name, content));
  }
  const auto from_folder = OpenCheckpoint(folder.path());
  const auto from_memory = CheckpointFromMemory(blobs);
  EXPECT_EQ(from_folder.has_value(), from_memory.has_value());
  if (!from_folder && !from_memory) {
    EXPECT_EQ(from_folder.error().code, from_memory.error().code);
    EXPECT_TRUE(from_folder.error().message.starts_with(folder.path().string())) << from_folder.error().message;
    EXPECT_EQ(from_folder.error().message.find('\n'), std::string::npos);
  }
  return from_memory;
}

void ExpectTensors(const CheckpointFiles& files) {
  const std::span<const TensorBytes> tensors = files.tensors();
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kI16);
  EXPECT_EQ(AsText(tensors[0].bytes), "\x04\x05");
  EXPECT_EQ(tensors[1].name, "b");
  EXPECT_EQ(AsText(tensors[1].bytes), std::string("\0\1\2\3", 4));
  EXPECT_EQ(files.metadata().at("format"), "pt");
}

TEST(CheckpointFiles, SingleFile) {
  const auto files = Open({{"model.safetensors", kOne}, {"config.json", "{}"}});
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->tensors().size(), 2U);
  ExpectTensors(*files);
  EXPECT_EQ(files->Tensor("b")->shape[0], 4U);
  EXPECT_EQ(files->Tensor("b")->file, "model.safetensors");
  EXPECT_TRUE(files->HasTensor("a"));
  EXPECT_FALSE(files->HasTensor("aa"));
  EXPECT_EQ(files->Tensor("z").error(), (Status{StatusCode::kNotFound, "model.safetensors: has no tensor \"z\""}));
  EXPECT_EQ(files->Text("config.json"), "{}");
  EXPECT_EQ(files->Text("tokenizer.json").error().code, StatusCode::kNotFound);
  for (const char* name : {"../config.json", "/etc/passwd", "", ".."}) {
    EXPECT_EQ(files->Text(name).error().code, StatusCode::kInvalidArgument) << name;
  }
}

TEST(CheckpointFiles, Shards) {
  const auto files =
      Open({{"model.safetensors.index.json", kIndex}, {"one.safetensors", kOne}, {"two.safetensors", kTwo}});
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->tensors().size(), 3U);
  ExpectTensors(*files);
  EXPECT_EQ(files->Tensor("c")->file, "two.safetensors");
  EXPECT_EQ(AsText(files->Tensor("c")->bytes), std::string("\0\1\2", 3));
}

TEST(CheckpointFiles, TensorsOutliveTheFolderObject) {
  const TempFolder folder;
  folder.Add("model.safetensors", kOne);
  std::optional<CheckpointFiles> copy;
  {
    const auto files = OpenCheckpoint(folder.path());
    ASSERT_TRUE(files);
    copy = *files;
  }
  ExpectTensors(*copy);
}

TEST(CheckpointFiles, OneSafetensorsFile) {
  const TempFolder folder;
  const auto files = OpenSafetensors(folder.Add("adapter.safetensors", kOne));
  ASSERT_TRUE(files);
  ExpectTensors(*files);
  EXPECT_EQ(files->Text("config.json").error().code, StatusCode::kNotFound);
}

TEST(CheckpointFiles, FolderItselfIsWrong) {
  const TempFolder folder;
  EXPECT_EQ(OpenCheckpoint(folder.path() / "absent").error().code, StatusCode::kNotFound);
  EXPECT_EQ(OpenCheckpoint(folder.Add("f", "x")).error().code, StatusCode::kInvalidFile);
  EXPECT_EQ(OpenCheckpoint("").error().code, StatusCode::kNotFound);
  const auto without = Open({{"config.json", "{}"}});
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code, StatusCode::kNotFound);
}

TEST(CheckpointFiles, DisagreementsAreRefused) {
  struct Case {
    const char* rule;
    std::string index;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"tensor_not_in_shard",
       R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors","d":"two.safetensors"}})",
       "places tensor \"d\" in \"two.safetensors\", which lacks it"},
      {"tensor_in_other_shard", R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors","c":"two.safetensors"}})",
       "does not place tensor \"a\" in \"one.safetensors\""},
      {"tensor_omitted", R"({"weight_map":{"b":"one.safetensors","c":"two.safetensors"}})",
       "does not place tensor \"a\""},
      {"total_size_wrong",
       R"({"metadata":{"total_size":10},)"
       R"("weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})",
       "metadata.total_size: states 10 bytes, the shards hold 9"},
      {"shard_missing", R"({"weight_map":{"a":"three.safetensors"}})", "three.safetensors: "},
      {"shard_malformed", R"({"weight_map":{"a":"model.safetensors.index.json"}})",
       "model.safetensors.index.json: header"},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.rule);
    const auto files =
        Open({{"model.safetensors.index.json", wrong.index}, {"one.safetensors", kOne}, {"two.safetensors", kTwo}});
    ASSERT_FALSE(files);
    EXPECT_NE(files.error().message.find(wrong.message), std::string::npos) << files.error().message;
  }
}

TEST(CheckpointFiles, SameTensorInTwoShardsIsRefused) {
  const auto files =
      Open({{"model.safetensors.index.json",
             R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})"},
            {"one.safetensors", kOne},
            {"two.safetensors",
             SafetensorsFile("{" + Entry("c", "U8", "3", "0,3") + "," + Entry("a", "U8", "1", "3,4") + "}", 4)}});
  ASSERT_FALSE(files);
  EXPECT_NE(files.error().message.find("does not place tensor \"a\" in \"two.safetensors\""), std::string::npos)
      << files.error().message;
}

TEST(ShardIndex, ReadsTheTable) {
  const auto index = ParseShardIndex(kIndex);
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->files, (std::vector<std::string>{"one.safetensors", "two.safetensors"}));
  EXPECT_EQ(index->file_of, (std::map<std::string, size_t>{{"a", 0}, {"b", 0}, {"c", 1}}));
  EXPECT_EQ(index->total_size, 9U);
  EXPECT_FALSE(ParseShardIndex(R"({"metadata":{},"weight_map":{"a":"f"}})")->total_size);
}

TEST(ShardIndex, EachMalformedTextIsRefusedByItsRule) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "JSON: "},
      {"[]", "is not a JSON object"},
      {"{}", "weight_map: is missing"},
      {R"({"weight_map":[]})", "weight_map: is not an object"},
      {R"({"weight_map":{}})", "weight_map: is empty"},
      {R"({"weight_map":{"a":1}})", "tensor \"a\": file is not a string"},
      {R"({"weight_map":{"a":"f","a":"g"}})", "duplicate key \"a\""},
      {R"({"weight_map":{"a":"f"},"weight_map":{"a":"f"}})", "duplicate key \"weight_map\""},
      {R"({"weight_map":{"a":"f"},"metadata":[]})", "metadata: is not an object"},
      {R"({"weight_map":{"a":"f"},"metadata":{"total_size":-1}})", "total_size: is not"},
      {R"({"weight_map":{"a":"f"},"metadata":{"total_size":1.5}})", "total_size: is not"},
      {R"({"weight_map":{"a":"f"},"metadata":{"total_size":"9"}})", "total_size: is not"},
      {R"({"weight_map":{"a":"f"},"x":[[[[[[[[[]]]]]]]]]})", "JSON: "},
  };
  for (const auto& [text, message] : cases) {
    const auto index = ParseShardIndex(text);
    ASSERT_FALSE(index) << text;
    EXPECT_EQ(index.error().code, StatusCode::kInvalidFile);
    EXPECT_NE(index.error().message.find(message), std::string::npos) << index.error().message;
  }
}

TEST(ShardIndex, FileNamesCannotLeaveTheFolder) {
  for (const char* name :
       {"", ".", "..", "../f", "/f", "a/f", "a\\f", "C:f", ".hidden", "a b", "a\nb", "a\x7f", "\xc3\xa9"}) {
    EXPECT_FALSE(IsPlainFileName(name)) << name;
  }
  EXPECT_FALSE(IsPlainFileName(std::string_view("a\0b", 3)));
  for (const char* name : {"f", "model-00001-of-00002.safetensors", "a..b", "~f"})
    EXPECT_TRUE(IsPlainFileName(name)) << name;
  for (const char* name : {"../f", "/etc/passwd", "a\\\\f", "f\\u0000"}) {
    const auto index = ParseShardIndex(R"({"weight_map":{"t":")" + std::string(name) + "\"}}");
    ASSERT_FALSE(index) << name;
    EXPECT_NE(index.error().message.find("is not a plain file name"), std::string::npos) << index.error().message;
  }
}

}  // namespace
}  // namespace dgemma
