// Importance matrices: what llama.cpp's two forms stand for, against means that numpy computed
// (tests/golden/make_importance.py), every refusal with its reason, the limits, and files cut and changed at every
// byte.
#include "model/importance.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "files/gguf_bytes.h"
#include "files/temp_folder.h"
#include "model/tensor_list.h"

namespace dgemma::test {
namespace {

const std::string kFolder = DGEMMA_SOURCE_DIR "/tests/data/model/importance/";

const Config& Tiny() {
  static const auto config = ParseConfig(FileContent(kFolder + "config.json"));
  EXPECT_TRUE(config) << config.error().message;
  return *config;
}

Result<ImportanceFile> Parse(const std::string& bytes, const FileLimits& limits = {}) {
  return ParseImportance(StaticBlob("file", AsBytes(bytes)), Tiny(), limits);
}

/// The message of a refusal; "" where there is none.
std::string Refusal(const std::string& bytes) {
  const auto file = Parse(bytes);
  return file ? "" : file.error().message;
}

std::string Floats(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) bytes += Raw(value);
  return bytes;
}

std::string DatEntry(std::string_view name, int32_t calls, const std::vector<float>& values) {
  return Raw(static_cast<int32_t>(name.size())) + std::string(name) + Raw(calls) +
         Raw(static_cast<int32_t>(values.size())) + Floats(values);
}

/// A file of one entry for q_proj of layer 0 (4 inputs), which alone is good.
std::string DatOf(int32_t calls, const std::vector<float>& values) {
  return Raw<int32_t>(1) + DatEntry("blk.0.attn_q.weight", calls, values);
}

struct Part {
  std::string name;
  std::vector<float> values;
  uint32_t type = 0;  // F32
};

/// A GGUF file of tensors of one dimension, with general.type imatrix before `keys`.
std::string GgufOf(const std::vector<Part>& parts, const std::string& keys = "", uint64_t key_count = 0,
                   std::string_view type = "imatrix") {
  std::string head =
      GgufPrefix(parts.size(), 2 + key_count) + U32Key("general.alignment", 8) + TextKey("general.type", type) + keys;
  std::string data;
  for (const Part& part : parts) {
    head += TensorEntry(part.name, {part.values.size()}, part.type, data.size());
    data += Floats(part.values);
    data.resize((data.size() + 7) / 8 * 8);
  }
  head.resize((head.size() + 7) / 8 * 8);
  return head + data;
}

std::vector<Part> GgufEntry(const std::string& name, const std::vector<float>& sums, const std::vector<float>& counts) {
  return {{name + ".in_sum2", sums}, {name + ".counts", counts}};
}

const std::string kQ = "blk.0.attn_q.weight", kOurQ = "model.decoder.layers.0.self_attn.q_proj.weight";
const std::string kGateUp = "blk.0.ffn_gate_up_exps.weight", kOurGateUp = "model.decoder.layers.0.experts.gate_up_proj";
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

TEST(ReadImportance, BothFormsStandForTheMeansThatNumpyComputed) {
  const auto means = ReadImportance(kFolder + "tiny.safetensors", Tiny());
  const auto gguf = ReadImportance(kFolder + "tiny.gguf", Tiny()), dat = ReadImportance(kFolder + "tiny.dat", Tiny());
  ASSERT_TRUE(means) << means.error().message;
  ASSERT_TRUE(gguf) << gguf.error().message;
  ASSERT_TRUE(dat) << dat.error().message;
  EXPECT_EQ(means->importance.size(), 8U);
  EXPECT_EQ(gguf->importance, means->importance);
  EXPECT_EQ(dat->importance, means->importance);
  const std::vector<float>& experts = means->importance.at(kOurGateUp);
  EXPECT_EQ(std::vector(experts.begin() + 4, experts.end()), std::vector<float>(4, 1.0f)) << "an expert without data";
  for (const ImportanceFile& file : {*gguf, *dat}) {
    EXPECT_EQ(file.entries, 14);
    EXPECT_EQ(file.unknown, 2);
    EXPECT_EQ(file.without_data, 2);
    EXPECT_EQ(file.chunks, 3);
  }
  EXPECT_EQ(means->form + gguf->form + dat->form, "safetensorsGGUFdat");
  EXPECT_EQ(gguf->texts, (std::vector<std::string>{"calibration.txt", "more.txt"}));
  EXPECT_EQ(dat->texts, std::vector<std::string>{"calibration.txt"});
}

TEST(ReadImportance, ContentDecidesAndNotTheName) {
  const TempFolder folder;
  for (const std::string form : {"gguf", "dat", "safetensors"}) {
    const std::string content = FileContent(kFolder + "tiny." + form);
    for (const char* name : {"a.gguf", "a.dat", "a.safetensors", "a"}) {
      const auto file = ReadImportance(folder.Add(name, content), Tiny());
      ASSERT_TRUE(file) << file.error().message;
      EXPECT_EQ(file->form, form == "gguf" ? "GGUF" : form);
    }
  }
  EXPECT_EQ(ReadImportance(folder.path() / "none", Tiny()).error().code, StatusCode::kNotFound);
  EXPECT_EQ(ReadImportance(folder.path(), Tiny()).error().code, StatusCode::kInvalidFile) << "a folder";
}

TEST(ReadImportance, DividesByCountsAndLeavesOutWhatWasNotCounted) {
  const auto dense = Parse(GgufOf(GgufEntry(kQ, {2, 0, 6, 1}, {4})));
  ASSERT_TRUE(dense) << dense.error().message;
  EXPECT_EQ(dense->importance.at(kOurQ), (std::vector<float>{0.5f, 0, 1.5f, 0.25f}));
  const auto experts = Parse(GgufOf(GgufEntry(kGateUp, {kNan, -1, 0, 0, 2, 4, 6, 8}, {0, 2})));
  ASSERT_TRUE(experts) << experts.error().message;
  EXPECT_EQ(experts->importance.at(kOurGateUp), (std::vector<float>{1, 1, 1, 1, 1, 2, 3, 4}));
  const auto one_count = Parse(GgufOf(GgufEntry(kGateUp, {0, 0, 0, 0, 2, 4, 6, 8}, {2})));
  ASSERT_TRUE(one_count) << one_count.error().message;
  EXPECT_EQ(one_count->importance, experts->importance) << "sums of 0 say as little as a count of 0";
  const auto shared = Parse(GgufOf(GgufEntry(kGateUp, {2, 4, 6, 8}, {2})));
  ASSERT_TRUE(shared) << shared.error().message;
  EXPECT_EQ(shared->importance.at(kOurGateUp), (std::vector<float>{1, 2, 3, 4})) << "the same for all experts";
  const auto calls = Parse(DatOf(8, {2, 0, 6, 1}));
  ASSERT_TRUE(calls) << calls.error().message;
  EXPECT_EQ(calls->importance.at(kOurQ), (std::vector<float>{0.25f, 0, 0.75f, 0.125f}));
}

TEST(ReadImportance, TakesWhicheverHalfOfTheExpertsIsThere) {
  const std::string up = DatEntry("blk.1.ffn_up_exps.weight", 1, {1, 2, 3, 4, 5, 6, 7, 8});
  const std::string gate = DatEntry("blk.1.ffn_gate_exps.weight", 0, {9, 9, 9, 9, 9, 9, 9, 9});
  for (const std::string& bytes : {Raw<int32_t>(1) + up, Raw<int32_t>(2) + up + gate}) {
    const auto file = Parse(bytes);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(file->importance.begin()->first, "model.decoder.layers.1.experts.gate_up_proj");
    EXPECT_EQ(file->importance.begin()->second, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
    EXPECT_EQ(file->unknown, 0);
  }
}

TEST(ReadImportance, RefusesByEntryAndRule) {
  const auto experts = [](const std::vector<float>& sums, const std::vector<float>& counts) {
    return GgufOf(GgufEntry(kGateUp, sums, counts));
  };
  const auto with_key = [](const std::string& key) { return GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {1}), key, 1); };
  const std::string q = DatOf(1, {1, 2, 3, 4}), two = Raw<int32_t>(2) + q.substr(4);
  const std::string place = "file: entry \"blk.0.attn_q.weight\": ";
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"", "file: is too short"},
      {"GGUF", "file: is too short"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {1}), "", 0, "model"),
       "file: general.type: \"model\" is no importance matrix"},
      {GgufOf({{kQ + ".in_sum2", {1, 1, 1, 1}}}), place + "has sums but no counts"},
      {GgufOf({{kQ + ".counts", {1}}}), place + "has counts but no sums"},
      {GgufOf({{kQ + ".in_sum2", {1, 1}, 26}, {kQ + ".counts", {1}}}), "type I32 where F32 is needed"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1}, {1})), place + "3 values where 4 are needed"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1, 1, 1, 1, 1}, {1, 1})), place + "8 values where 4 are needed"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {1, 1})), place + "2 counts where 1 are needed"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {-1})), place + "count -1 is no whole number from 0 on"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {0.5f})), place + "count 0.5"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {kNan})), place + "count nan"},
      {GgufOf(GgufEntry(kQ, {1, 1, 1, 1}, {kInfinity})), place + "count inf"},
      {GgufOf(GgufEntry(kQ, {1, kNan, 1, 1}, {1})), place + "value nan (finite and not negative)"},
      {GgufOf(GgufEntry(kQ, {1, kInfinity, 1, 1}, {1})), place + "value inf"},
      {GgufOf(GgufEntry(kQ, {1, -2, 1, 1}, {1})), place + "value -2"},
      {GgufOf(GgufEntry(kQ, {1, 3e30f, 1, 1}, {1})), place + "value 3e+30"},
      {experts({1, 1, 1, 1, 1, 1, 1}, {1, 1}), "7 values where 4 or 8 are needed"},
      {experts({1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1}), "3 counts where 1 or 2 are needed"},
      {experts({1, 1, 1, 1}, {1, 1}), "2 counts where 1 are needed"},
      {with_key(TextKey("imatrix.chunk_count", "3")), "file: imatrix.chunk_count: is no integer from 0 on"},
      {with_key(Key("imatrix.chunk_count", 5, Raw<int32_t>(-3))), "imatrix.chunk_count: is no integer from 0 on"},
      {with_key(U32Key("imatrix.datasets", 3)), "imatrix.datasets: is no array of texts"},
      {GgufOf(GgufEntry("blk.7.attn_q.weight", {1, 1, 1, 1}, {1})), "(1 entries, 1 of unknown names, 0 without data)"},
      {GgufOf(GgufEntry(kQ, {0, 0, 0, 0}, {1})), "(1 entries, 0 of unknown names, 1 without data)"},
      {Raw<int32_t>(0) + q.substr(4), "file: 0 entries (1 to 65536"},
      {Raw<int32_t>(-1) + q.substr(4), "file: -1 entries"},
      {two, "file: entry 1: 4 bytes at 51 are beyond the end"},
      {two + q.substr(4), place + "occurs twice"},
      {Raw<int32_t>(1) + Raw<int32_t>(-4) + "abcd", "file: entry 0: name of -4 bytes (1 to 64)"},
      {Raw<int32_t>(1) + Raw<int32_t>(65) + "abcd", "file: entry 0: name of 65 bytes (1 to 64)"},
      {DatOf(-1, {1, 2, 3, 4}), place + "-1 calls"},
      {DatOf(1, {}), place + "0 values"},
      {DatOf(1, {1, 2, 3}), place + "3 values where 4 are needed"},
      {DatOf(1, {1, 2, 3, kNan}), place + "value nan"},
      {DatOf(0, {1, 2, 3, 4}), "(1 entries, 0 of unknown names, 1 without data)"},
      {q.substr(0, 31) + Raw(std::numeric_limits<int32_t>::max()), place + "8589934588 bytes at 35 are beyond the end"},
      {q + Raw<int32_t>(-1), "file: -1 chunks"},
      {q + "ab", "file: number of chunks: 4 bytes at 51"},
      {q + Raw<int32_t>(1) + Raw<int32_t>(9) + "abc", "file: data set: 9 bytes at 59"},
      {q + Raw<int32_t>(1) + Raw<int32_t>(-9), "file: data set: name of -9 bytes"},
      {q + Raw<int32_t>(1) + Raw<int32_t>(3) + "abcd", "file: 1 bytes follow the name of the data set"},
  };
  for (const auto& [bytes, reason] : refused)
    EXPECT_NE(Refusal(bytes).find(reason), std::string::npos) << reason << "\n" << Refusal(bytes);
  EXPECT_EQ(Refusal(q), "");
  EXPECT_EQ(Refusal(q + Raw<int32_t>(7)), "") << "the number of chunks alone, as old versions may write it";
}

TEST(ReadImportance, OurOwnFormIsCheckedToo) {
  const auto file = [](std::string_view name, std::string_view dtype, const std::string& data) {
    std::string header = fmt::format(R"({{"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[0,{}]}}}})", name, dtype,
                                     data.size() / (dtype == "F32" ? 4 : 2), data.size());
    return Raw<uint64_t>(header.size()) + header + data;
  };
  EXPECT_EQ(Refusal(file(kOurQ, "F32", Floats({1, 0, 2, 3}))), "");
  EXPECT_EQ(Parse(file(kOurQ, "BF16", Raw<uint64_t>(0x3f80'4000'3f80'4040)))->importance.at(kOurQ),
            (std::vector<float>{3, 1, 2, 1}));
  const std::string place = "file: entry \"" + kOurQ + "\": ";
  EXPECT_EQ(Refusal(file(kOurQ, "F32", Floats({1, 0, 2}))), place + "3 values where 4 are needed");
  EXPECT_EQ(Refusal(file(kOurQ, "F32", Floats({1, 0, 2, -3}))), place + "value -3 (finite and not negative)");
  EXPECT_EQ(Refusal(file(kOurQ, "I16", Floats({1, 0}))), place + "type I16 where F32, BF16 or F16 is needed");
  EXPECT_NE(Refusal(file(kQ, "F32", Floats({1, 0, 2, 3}))).find("1 of unknown names"), std::string::npos);
}

/// accepted(n) must hold for limit - 1 and limit, and not for limit + 1.
void ExpectLimit(uint64_t limit, const std::function<bool(uint64_t)>& accepted) {
  EXPECT_TRUE(accepted(limit - 1));
  EXPECT_TRUE(accepted(limit));
  EXPECT_FALSE(accepted(limit + 1));
}

TEST(ImportanceLimits, HoldForTheOlderForm) {
  const FileLimits limits;
  ExpectLimit(limits.gguf_tensors, [](uint64_t count) {
    std::string bytes = Raw(static_cast<int32_t>(count)) + DatEntry(kQ, 1, {1, 2, 3, 4});
    for (uint64_t i = 1; i < count; ++i) bytes += DatEntry(std::to_string(i), 1, {1});
    return Refusal(bytes).empty();
  });
  ExpectLimit(limits.gguf_tensor_name_bytes, [](uint64_t length) {
    return Refusal(Raw<int32_t>(2) + DatOf(1, {1, 2, 3, 4}).substr(4) + DatEntry(std::string(length, 'a'), 1, {1}))
        .empty();
  });
  ExpectLimit(limits.gguf_text_bytes, [](uint64_t length) {
    return Refusal(DatOf(1, {1, 2, 3, 4}) + Raw<int32_t>(1) + Raw(static_cast<int32_t>(length)) +
                   std::string(length, 'a'))
        .empty();
  });
}

/// What must hold of any bytes: a refusal of one line that begins with the file, or importance that fits the model.
void ExpectSound(const std::string& bytes) {
  const auto file = Parse(bytes);
  if (!file) {
    EXPECT_TRUE(file.error().message.starts_with("file: ")) << file.error().message;
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos);
    return;
  }
  static const std::vector<TensorSpec> specs = ListTensors(Tiny());
  for (const auto& [name, values] : file->importance) {
    const auto spec = std::ranges::find(specs, name, &TensorSpec::name);
    ASSERT_NE(spec, specs.end()) << name;
    const uint64_t inputs = spec->shape.back();
    EXPECT_TRUE(values.size() == inputs || values.size() == inputs * spec->shape.front()) << name;
    EXPECT_TRUE(std::ranges::all_of(values, [](float value) { return value >= 0 && value < 1e30f; })) << name;
  }
  EXPECT_GE(file->unknown, 0);
  EXPECT_LE(file->unknown + file->without_data, file->entries);
}

TEST(ReadImportance, SurvivesEveryCutAndEveryChangedByte) {
  for (const char* form : {"gguf", "dat", "safetensors"}) {
    const std::string whole = FileContent(kFolder + "tiny." + form);
    ASSERT_FALSE(whole.empty());
    std::vector<size_t> accepted;
    for (size_t size = 0; size < whole.size(); ++size) {
      ExpectSound(whole.substr(0, size));
      if (Refusal(whole.substr(0, size)).empty()) accepted.push_back(size);
    }
    // The older form may end behind the entries and behind the number of chunks; GGUF's last padding may be missing.
    const size_t trailer = 8 + std::string_view("calibration.txt").size(), end = whole.size() - trailer;
    if (form == std::string_view("dat")) {
      EXPECT_EQ(accepted, (std::vector<size_t>{end, end + 4}));
    } else if (form == std::string_view("gguf")) {
      EXPECT_TRUE(accepted.empty() || accepted.front() + 32 > whole.size());
    } else {
      EXPECT_TRUE(accepted.empty());
    }
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0x55, 0xff}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        ExpectSound(changed);
      }
    }
  }
}

}  // namespace
}  // namespace dgemma::test
