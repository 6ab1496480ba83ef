// Quantised checkpoints: every form against floats recorded with compressed-tensors and Transformers
// (tests/golden/make_quantized.py), whole checkpoints of random codes against the formulas, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "kernels/ref/ref_kernels.h"
#include "model/quantized_names.h"
#include "model/stored_tensors.h"
#include "model/weights.h"
#include "tensor/rounding.h"
#include "tensor/small_floats.h"

namespace dgemma::test {
namespace {

constexpr WeightFormat kInt8By16{WeightKind::kInt8, 16, false}, kInt8By32{WeightKind::kInt8, 32, false};

WeightFormat Int4(int32_t group, bool has_min = false) { return {WeightKind::kInt4, group, has_min}; }

std::vector<float> Row(const StoredTensor& stored, int64_t index, int64_t row) {
  std::vector<float> values(static_cast<size_t>(stored.cols));
  ReadRow(stored, index, row, values.data());
  return values;
}

const CheckpointFiles& Recorded() {
  static const auto files = OpenSafetensors(DGEMMA_SOURCE_DIR "/tests/data/model/quantized.safetensors");
  EXPECT_TRUE(files) << files.error().message;
  return *files;
}

std::vector<float> RecordedFloats(const std::string& name) {
  const TensorBytes tensor = Recorded().Tensor(name + ".values").value();
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

TEST(SmallFloats, AreThoseOfTorch) {
  const std::vector<float> e4m3 = RecordedFloats("f8_e4m3"), e8m0 = RecordedFloats("f8_e8m0");
  for (size_t bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    EXPECT_EQ(std::isnan(FromF8E4M3(byte)), std::isnan(e4m3[bits])) << bits;
    EXPECT_EQ(std::isnan(FromF8E8M0(byte)), std::isnan(e8m0[bits])) << bits;
    if (!std::isnan(e4m3[bits])) {
      EXPECT_EQ(std::bit_cast<uint32_t>(FromF8E4M3(byte)), std::bit_cast<uint32_t>(e4m3[bits])) << bits;
    }
    if (!std::isnan(e8m0[bits])) {
      EXPECT_EQ(FromF8E8M0(byte), e8m0[bits]) << bits;
    }
  }
}

struct RecordedMatrix {
  std::string name;
  TensorSpec spec;
  WeightFormat natural;
  std::vector<int64_t> rows;  // those that are recorded; empty: all
};

std::vector<RecordedMatrix> RecordedMatrices() {
  const auto matrix = [](std::string name, uint64_t rows, uint64_t cols, WeightFormat natural,
                         std::vector<int64_t> some = {}) {
    TensorSpec spec{name + ".weight", {rows, cols}, TensorRole::kMatrix};
    return RecordedMatrix{std::move(name), std::move(spec), natural, std::move(some)};
  };
  const std::string experts = "experts.gate_up_proj";
  return {matrix("fp8_channel", 10, 36, kInt8By32),
          matrix("fp8_tensor", 6, 20, kInt8By32),
          matrix("fp8_block", 130, 136, kInt8By32, {0, 127, 128, 129}),
          matrix("fp8_power", 130, 136, kInt8By32, {0, 127, 128, 129}),
          matrix("int4_32", 9, 96, Int4(32)),
          matrix("int4_128", 5, 256, Int4(64)),
          matrix("int4_channel", 7, 44, Int4(64)),
          matrix("int4_zero", 19, 64, Int4(32, true)),
          matrix("nvfp4", 9, 80, kInt8By16),
          matrix("nvfp4_2", 9, 80, kInt8By16),
          {experts, {experts, {3, 12, 64}, TensorRole::kExperts}, Int4(32), {}}};
}

TEST(QuantizedForms, DecodeToTheFloatsOfThePackagesThatWriteThem) {
  for (const RecordedMatrix& recorded : RecordedMatrices()) {
    const auto stored = FindStored(Recorded(), recorded.spec);
    ASSERT_TRUE(stored) << stored.error().message;
    EXPECT_EQ(NaturalFormat(*stored), recorded.natural) << recorded.name;
    std::vector<int64_t> rows = recorded.rows;
    for (int64_t row = 0; recorded.rows.empty() && row < stored->count * stored->rows; ++row) rows.push_back(row);
    std::vector<float> decoded;
    for (const int64_t row : rows) {
      const std::vector<float> values = Row(*stored, row / stored->rows, row % stored->rows);
      decoded.insert(decoded.end(), values.begin(), values.end());
    }
    EXPECT_EQ(decoded, RecordedFloats(recorded.name)) << recorded.name;
  }
}

/// |w - w'| of a row in the natural format. Kept codes: only scales are rounded, to 2^-11 of themselves or 2^-25 where
/// subnormal, and minima, both times at most 15. FP8: half a step of 1/127 of the largest of 32, as much again for the
/// rounding of the scale.
void ExpectNear(const StoredTensor& stored, int64_t index, int64_t row, const std::string& name) {
  const WeightFormat format = NaturalFormat(stored);
  const std::vector<float> exact = Row(stored, index, row);
  std::vector<float> held(exact.size());
  GroupedRow grouped;
  const auto read = ReadGroupedRow(stored, index, row, format, {}, grouped);
  ASSERT_TRUE(read) << name << ": " << read.error().message;
  DequantizeRow(grouped, format, held);
  const bool codes_kept = GroupsOf(stored.runs.front().scales).has_value();
  for (size_t i = 0; i < exact.size(); ++i) {
    const size_t group = i / static_cast<size_t>(format.group), size = static_cast<size_t>(format.group);
    float largest = 0;
    for (size_t j = group * size; j < std::min(exact.size(), (group + 1) * size); ++j)
      largest = std::max(largest, std::abs(exact[j]));
    const float min = format.has_min ? grouped.min[group] : 0;
    const float bound = codes_kept ? 0x1p-10f * (std::abs(exact[i]) + min) + 15 * 0x1p-24f
                                   : largest / 254 * (1 + 0x1p-9f) + 0x1p-24f * 127;
    EXPECT_LE(std::abs(held[i] - exact[i]), bound) << name << " row " << row << " value " << i;
  }
}

TEST(QuantizedForms, StayWithinTheStatedErrorInTheirNaturalFormat) {
  for (const RecordedMatrix& recorded : RecordedMatrices()) {
    const StoredTensor stored = FindStored(Recorded(), recorded.spec).value();
    for (int64_t row = 0; row < stored.count * stored.rows; ++row)
      ExpectNear(stored, row / stored.rows, row % stored.rows, recorded.name);
  }
  const StoredTensor halves = FindStored(Recorded(), {"int4_128.weight", {5, 256}, TensorRole::kMatrix}).value();
  GroupedRow grouped;
  std::vector<float> held(256);
  for (int64_t row = 0; row < 5; ++row) {
    ASSERT_TRUE(ReadGroupedRow(halves, 0, row, Int4(64), {}, grouped));
    DequantizeRow(grouped, Int4(64), held);
    EXPECT_EQ(held, Row(halves, 0, row)) << "scales in half precision are kept";
  }
}

/// One tensor of a file being made.
struct Part {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};
using Parts = std::map<std::string, Part>;

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string FileOf(const Parts& parts) {
  std::string header, data;
  for (const auto& [name, part] : parts) {
    std::string shape;
    for (const uint64_t size : part.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    header += (header.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":")" + part.dtype + R"(","shape":[)" + shape +
              R"(],"data_offsets":[)" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + part.bytes.size()) + "]}";
    data += part.bytes;
  }
  header += "}";
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + data;
}

enum class Form { kFp8Channel, kFp8Tensor, kFp8Blocks, kInt4, kInt4Zeros, kNvfp4, kNvfp4Reciprocal };
constexpr Form kForms[] = {Form::kFp8Channel, Form::kFp8Tensor, Form::kFp8Blocks,      Form::kInt4,
                           Form::kInt4Zeros,  Form::kNvfp4,     Form::kNvfp4Reciprocal};

/// A matrix of random codes: its parts by what follows W in their names, and its values by the formulas of
/// quantized_names.h, in float64 with one rounding where they round.
struct Coded {
  Parts parts;
  std::vector<float> values;
};

class Coder {
 public:
  Coded Make(Form form, uint64_t rows, uint64_t cols) {
    Coded out;
    out.values.resize(rows * cols);
    const auto set = [&](uint64_t row, uint64_t col, float scale, double code) {
      out.values[row * cols + col] = static_cast<float>(static_cast<double>(scale) * code);
    };
    if (form == Form::kFp8Channel || form == Form::kFp8Tensor || form == Form::kFp8Blocks) {
      const uint64_t down = form == Form::kFp8Channel ? rows : form == Form::kFp8Tensor ? 1 : (rows + 127) / 128;
      const uint64_t across = form == Form::kFp8Blocks ? (cols + 127) / 128 : 1;
      const std::vector<float> scales = Scales(down * across);
      std::vector<uint8_t> codes(rows * cols);
      for (uint64_t row = 0; row < rows; ++row) {
        for (uint64_t col = 0; col < cols; ++col) {
          const uint32_t bits = Draw(256), code = bits % 128 == 127 ? 0 : bits;  // not NaN
          codes[row * cols + col] = static_cast<uint8_t>(code);
          const uint64_t block = form == Form::kFp8Channel  ? row
                                 : form == Form::kFp8Tensor ? 0
                                                            : row / 128 * across + col / 128;
          set(row, col, scales[block], E4M3(code));
        }
      }
      out.parts[""] = {"F8_E4M3", {rows, cols}, BytesOf(codes)};
      const std::vector<uint64_t> shape =
          form == Form::kFp8Tensor ? std::vector<uint64_t>{} : std::vector<uint64_t>{down, across};
      out.parts[form == Form::kFp8Blocks ? "_scale_inv" : "_scale"] = {"F32", shape, BytesOf(scales)};
      return out;
    }
    const bool int4 = form == Form::kInt4 || form == Form::kInt4Zeros;
    const uint64_t group = !int4 ? 16 : cols % 32 == 0 ? 32 : cols % 16 == 0 ? 16 : 8, across = cols / group;
    const uint64_t row_bytes = int4 ? (cols + 7) / 8 * 4 : cols / 2;
    std::vector<uint8_t> codes(rows * row_bytes);
    std::vector<uint32_t> zeros((rows + 7) / 8 * across);
    std::vector<uint16_t> halves(rows * across);
    std::vector<uint8_t> small(rows * across);
    const float second = form == Form::kNvfp4 ? 3.1e-5f : 31337.0f;
    for (uint64_t row = 0; row < rows; ++row) {
      for (uint64_t part = 0; part < across; ++part) {
        const uint64_t place = row * across + part;
        const float wide = Scales(1)[0];
        halves[place] = ToF16(wide);
        small[place] = static_cast<uint8_t>(1 + Draw(126));
        const double first = E4M3(small[place]);
        const auto whole = static_cast<double>(second);
        const float scale =
            int4 ? FromF16(halves[place]) : static_cast<float>(form == Form::kNvfp4 ? first * whole : first / whole);
        const uint32_t zero = form == Form::kInt4Zeros ? Draw(16) : 8;
        zeros[row / 8 * across + part] |= zero << (4 * (row % 8));
        for (uint64_t col = part * group; col < (part + 1) * group; ++col) {
          const uint32_t nibble = Draw(16);
          codes[row * row_bytes + col / 2] |= static_cast<uint8_t>(nibble << (4 * (col % 2)));
          set(row, col, scale, int4 ? static_cast<double>(nibble) - static_cast<double>(zero) : E2M1(nibble));
        }
      }
    }
    if (int4) {
      out.parts["_packed"] = {"I32", {rows, row_bytes / 4}, BytesOf(codes)};
      out.parts["_scale"] = {"F16", {rows, across}, BytesOf(halves)};
      out.parts["_shape"] = {"I64", {2}, BytesOf(std::vector<uint64_t>{rows, cols})};
      if (form == Form::kInt4Zeros) out.parts["_zero_point"] = {"I32", {(rows + 7) / 8, across}, BytesOf(zeros)};
      return out;
    }
    out.parts[form == Form::kNvfp4 ? "" : "_packed"] = {"U8", {rows, row_bytes}, BytesOf(codes)};
    out.parts["_scale"] = {"F8_E4M3", {rows, across}, BytesOf(small)};
    const std::vector<uint64_t> shape = form == Form::kNvfp4 ? std::vector<uint64_t>{} : std::vector<uint64_t>{1};
    out.parts[form == Form::kNvfp4 ? "_scale_2" : "_global_scale"] = {"F32", shape,
                                                                      BytesOf(std::vector<float>{second})};
    return out;
  }

  uint32_t Draw(uint32_t count) { return std::uniform_int_distribution<uint32_t>(0, count - 1)(random_); }

 private:
  std::vector<float> Scales(uint64_t count) {
    std::vector<float> scales(count);
    for (float& scale : scales) scale = std::uniform_real_distribution<float>(1e-4f, 1e-2f)(random_);
    return scales;
  }
  static double E4M3(uint32_t bits) {
    const int exponent = static_cast<int>(bits >> 3 & 15), mantissa = static_cast<int>(bits & 7);
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return bits >= 128 ? -magnitude : magnitude;
  }
  static double E2M1(uint32_t bits) {
    const int exponent = static_cast<int>(bits >> 1 & 3), mantissa = static_cast<int>(bits & 1);
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -1) : std::ldexp(2 + mantissa, exponent - 2);
    return bits >= 8 ? -magnitude : magnitude;
  }

  std::mt19937 random_{5};
};

/// How the experts of a checkpoint lie.
enum class Experts { kTogether, kOneByOne };

/// The small golden checkpoint with its matrices in a quantised form.
class QuantizedCheckpoint : public testing::Test {
 protected:
  QuantizedCheckpoint() {
    const auto files = OpenCheckpoint(DGEMMA_SOURCE_DIR "/tests/golden/alternating-f32");
    EXPECT_TRUE(files) << files.error().message;
    config_text_ = files->Text("config.json").value();
    config_ = ParseConfig(config_text_).value();
    for (const TensorBytes& tensor : files->tensors()) {
      plain_[std::string(tensor.name)] = {
          "F32",
          {tensor.shape.begin(), tensor.shape.end()},
          std::string(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size())};
    }
  }

  static bool Fits(Form form, uint64_t cols) {
    return (form != Form::kNvfp4 && form != Form::kNvfp4Reciprocal) || cols % 16 == 0;
  }

  void Add(const std::string& stem, const Coded& coded) {
    for (const auto& [suffix, part] : coded.parts) parts_[stem + suffix] = part;
  }

  /// Replaces text matrices and experts; fills values_ with what they stand for.
  void Quantize(Form form, Experts experts) {
    parts_ = plain_;
    values_.clear();
    for (const TensorSpec& spec : ListTensors(config_)) {
      if (spec.role == TensorRole::kVision || spec.shape.size() < 2 || !Fits(form, spec.shape.back())) continue;
      parts_.erase(spec.name);
      std::vector<float>& values = values_[spec.name];
      const auto append = [&](const std::vector<float>& more) {
        values.insert(values.end(), more.begin(), more.end());
      };
      if (spec.role != TensorRole::kExperts) {
        const Coded coded = coder_.Make(form, spec.shape[0], spec.shape[1]);
        Add(spec.name, coded);
        append(coded.values);
        continue;
      }
      if (experts == Experts::kTogether) {
        AddTogether(form, spec, append);
        continue;
      }
      const std::string at = spec.name.substr(0, spec.name.rfind('.') + 1);
      const bool halves = spec.name.ends_with("gate_up_proj");
      for (uint64_t expert = 0; expert < spec.shape[0]; ++expert) {
        for (const char* name :
             halves ? std::vector<const char*>{"gate_proj", "up_proj"} : std::vector<const char*>{"down_proj"}) {
          const Coded coded = coder_.Make(form, spec.shape[1] / (halves ? 2 : 1), spec.shape[2]);
          const std::string layer = at + std::to_string(expert) + "." + name;
          Add(layer + ".weight", coded);
          parts_[layer + ".input_scale"] = {"F32", {}, BytesOf(std::vector<float>{1})};
          append(coded.values);
        }
      }
    }
  }

  template <typename Append>
  void AddTogether(Form form, const TensorSpec& spec, const Append& append) {
    Parts all;
    for (uint64_t expert = 0; expert < spec.shape[0]; ++expert) {
      const Coded coded = coder_.Make(form, spec.shape[1], spec.shape[2]);
      for (const auto& [suffix, part] : coded.parts) {
        if (suffix == "_shape") continue;
        Part& joined = all[suffix];
        joined.dtype = part.dtype;
        joined.shape = part.shape;
        joined.shape.insert(joined.shape.begin(), spec.shape[0]);
        joined.bytes += part.bytes;
      }
      append(coded.values);
    }
    Add(spec.name, {all, {}});
  }

  Result<CheckpointFiles> Files() const {
    return CheckpointFromMemory(
        {OwnedBlob("model.safetensors", FileOf(parts_)), OwnedBlob("config.json", config_text_)});
  }

  void ExpectRefused(const std::string& message, StatusCode code = StatusCode::kInvalidFile) const {
    const auto files = Files();
    ASSERT_TRUE(files) << files.error().message;
    const auto result = CheckTensors(*files, config_);
    ASSERT_FALSE(result) << message;
    EXPECT_EQ(result.error().message, "model.safetensors: " + message);
    EXPECT_EQ(result.error().code, code);
  }

  Coder coder_;
  std::string config_text_;
  Config config_;
  Parts plain_, parts_;
  std::map<std::string, std::vector<float>> values_;
};

TEST_F(QuantizedCheckpoint, HoldsTheValuesOfTheFormulasInEveryForm) {
  for (const Form form : kForms) {
    for (const Experts experts : {Experts::kTogether, Experts::kOneByOne}) {
      Quantize(form, experts);
      const auto files = Files();
      ASSERT_TRUE(files) << files.error().message;
      const auto checked = CheckTensors(*files, config_);
      ASSERT_TRUE(checked) << checked.error().message;
      EXPECT_GT(values_.size(), 20u);
      for (const TensorSpec& spec : ListTensors(config_)) {
        const auto stored = FindStored(*files, spec);
        ASSERT_TRUE(stored) << stored.error().message;
        const auto expected = values_.find(spec.name);
        if (expected == values_.end()) continue;
        for (int64_t row = 0; row < stored->count * stored->rows; ++row) {
          const std::vector<float> values = Row(*stored, row / stored->rows, row % stored->rows);
          ASSERT_TRUE(std::equal(values.begin(), values.end(), expected->second.begin() + row * stored->cols))
              << spec.name << " row " << row;
          if (row % 7 == 0) ExpectNear(*stored, row / stored->rows, row % stored->rows, spec.name);
        }
      }
      const auto kernels = MakeRefKernels({});
      const auto weights = LoadWeights(*files, config_, *kernels, {});
      ASSERT_TRUE(weights) << weights.error().message;
      const float first = values_.at("model.decoder.layers.1.experts.down_proj").front();
      EXPECT_NEAR(weights->layers[1].experts.down.Vector()[0], first, 0.1) << "loads what it holds";
    }
  }
}

constexpr const char* kMatrix = "model.decoder.layers.0.mlp.gate_proj.weight";  // [40, 48]
constexpr const char* kExperts = "model.decoder.layers.0.experts.";

TEST_F(QuantizedCheckpoint, FormsMayDifferFromMatrixToMatrix) {
  Quantize(Form::kNvfp4, Experts::kOneByOne);
  for (const char* name : {"3.gate_proj.weight", "0.up_proj.weight", "7.down_proj.weight"}) {
    const uint64_t rows = name[2] == 'd' ? 48 : 16, cols = name[2] == 'd' ? 16 : 48;
    for (const char* suffix : {"", "_scale", "_scale_2"}) parts_.erase(std::string(kExperts) + name + suffix);
    const bool plain = name[0] == '0';
    if (plain) parts_[std::string(kExperts) + name] = {"BF16", {rows, cols}, std::string(rows * cols * 2, '\0')};
    if (!plain) Add(std::string(kExperts) + name, coder_.Make(Form::kInt4, rows, cols));
  }
  const auto files = Files();
  ASSERT_TRUE(files);
  const auto checked = CheckTensors(*files, config_);
  ASSERT_TRUE(checked) << checked.error().message;
  const TensorSpec gate_up{std::string(kExperts) + "gate_up_proj", {8, 32, 48}, TensorRole::kExperts};
  const StoredTensor stored = FindStored(*files, gate_up).value();
  EXPECT_EQ(stored.runs.size(), 16u);
  EXPECT_EQ(NaturalFormat(stored), kBfloat16Weights) << "the one that keeps most";
  EXPECT_EQ(Row(stored, 0, 16), std::vector<float>(48, 0.0f)) << "up follows gate";
  std::vector<std::string_view> names;
  ASSERT_TRUE(FindStored(*files, gate_up, &names));
  EXPECT_EQ(names.size(), 14u * 3 + 3 + 1);
}

TEST_F(QuantizedCheckpoint, ScalesOfActivationsAndCachesAreIgnoredBesideTheirLayers) {
  Quantize(Form::kFp8Channel, Experts::kTogether);
  const std::string attention = "model.decoder.layers.0.self_attn.";
  for (const std::string& name :
       {attention + "q_proj.input_scale", attention + "k_proj.k_scale", attention + "v_scale",
        kExperts + std::string("gate_up_proj_input_scale"), std::string("lm_head.input_scale"),
        std::string("lm_head.weight_packed"), attention + "o_proj.input_global_scale"}) {
    parts_[name] = {"F32", {}, BytesOf(std::vector<float>{1})};
  }
  const auto files = Files();
  ASSERT_TRUE(files);
  const auto checked = CheckTensors(*files, config_);
  EXPECT_TRUE(checked) << checked.error().message;
  for (const std::string& name :
       {attention + "r_proj.input_scale", attention + "q_proj.pre_quant_scale", attention + "q_proj.weight_g_idx",
        std::string("model.decoder.layers.9.self_attn.q_proj.input_scale")}) {
    parts_[name] = {"F32", {}, BytesOf(std::vector<float>{1})};
    ExpectRefused("\"" + name + "\": no such tensor in this model");
    parts_.erase(name);
  }
}

TEST_F(QuantizedCheckpoint, RefusesPartsThatAreMissingOrTooMany) {
  const std::string w = kMatrix;
  Quantize(Form::kFp8Channel, Experts::kTogether);
  parts_.erase(w + "_scale");
  ExpectRefused(w + ": has no scale beside it (FP8 has codes and a _scale or _scale_inv)");

  Quantize(Form::kFp8Channel, Experts::kTogether);
  parts_[w + "_scale_inv"] = parts_[w + "_scale"];
  ExpectRefused(w + ": has \"" + w + "_scale\", \"" + w +
                "_scale_inv\" beside it (FP8 has codes and a _scale or _scale_inv)");

  Quantize(Form::kFp8Channel, Experts::kTogether);
  parts_.erase(w);
  ExpectRefused(w + "_scale: has no \"" + w + "\" to scale");

  Quantize(Form::kInt4, Experts::kTogether);
  parts_[w] = plain_[w];
  ExpectRefused(w + "_packed: stands beside \"" + w + "\" (one spelling of the codes)");

  Quantize(Form::kNvfp4Reciprocal, Experts::kTogether);
  parts_.erase(w + "_global_scale");
  ExpectRefused(w + "_packed: has \"" + w + "_scale\" beside it (NVFP4 has _packed, _scale and _global_scale)");

  Quantize(Form::kNvfp4, Experts::kOneByOne);
  const std::string one = std::string(kExperts) + "2.up_proj.weight", all = std::string(kExperts) + "gate_up_proj";
  parts_.erase(one + "_scale_2");
  ExpectRefused(one + ": has \"" + one + "_scale\" beside it (NVFP4 has codes, _scale and _scale_2)");
  for (const char* suffix : {"", "_scale"}) parts_.erase(one + suffix);
  ExpectRefused("has no tensor \"" + one + "\"", StatusCode::kNotFound);

  Quantize(Form::kNvfp4, Experts::kOneByOne);
  parts_[all] = plain_[all];
  ExpectRefused(std::string(kExperts) + "0.gate_proj.weight: stands beside \"" + all +
                "\" (experts together or one by one)");

  Quantize(Form::kFp8Channel, Experts::kTogether);
  parts_[all + ".weight"] = parts_[all];
  ExpectRefused(all + ".weight: is \"" + all + "\" in another spelling");

  parts_ = plain_;
  parts_[w].dtype = "U32";
  ExpectRefused(
      w + ": type U32 is not supported here (F32, F16, BF16; FP8, INT4 packed in I32 and NVFP4 with their scales)",
      StatusCode::kUnsupported);
}

TEST_F(QuantizedCheckpoint, RefusesWrongShapesAndTypes) {
  const std::string w = kMatrix;
  const auto with = [&](Form form, const std::string& name, Part part, const std::string& message) {
    Quantize(form, Experts::kTogether);
    parts_[name] = std::move(part);
    ExpectRefused(name + ": " + message);
  };
  const auto zeros = [](const char* dtype, std::vector<uint64_t> shape) {
    uint64_t bytes = BytesPerValue(*DTypeFromName(dtype));
    for (const uint64_t size : shape) bytes *= size;
    return Part{dtype, std::move(shape), std::string(bytes, '\0')};
  };
  const std::string grid = "is not one scale, one a row, or a grid of equal blocks";
  with(Form::kFp8Channel, w + "_scale", zeros("F32", {39, 1}), "shape [39, 1] " + grid);
  with(Form::kFp8Channel, w + "_scale", zeros("F32", {40, 7}), "shape [40, 7] " + grid);
  with(Form::kFp8Channel, w + "_scale", zeros("F32", {0, 1}), "shape [0, 1] " + grid);
  with(Form::kFp8Channel, w + "_scale", zeros("F32", {1, 40, 1}), "shape [1, 40, 1] " + grid);
  with(Form::kFp8Channel, w + "_scale", zeros("I32", {40, 1}), "type I32 where F32, F16, BF16 or F8_E8M0 is needed");
  with(Form::kFp8Channel, w, zeros("F8_E4M3", {40, 47}),
       "shape [40, 47] is not [40, 48] (the configuration's matrices are [40, 48])");
  with(Form::kInt4, w + "_packed", zeros("I32", {40, 5}),
       "shape [40, 5] is not [40, 6] (the configuration's matrices are [40, 48])");
  with(Form::kInt4, w + "_packed", zeros("I32", {40, 12}),
       "shape [40, 12] is not [40, 6] (the configuration's matrices are [40, 48])");
  with(Form::kInt4, w + "_scale", zeros("F16", {40, 5}),
       "shape [40, 5] is not [40, 5] with a whole number of values in a group");
  with(Form::kInt4, w + "_scale", zeros("F8_E8M0", {40, 3}), "type F8_E8M0 where F32, F16 or BF16 is needed");
  with(Form::kInt4, w + "_shape", {"I64", {2}, BytesOf(std::vector<int64_t>{40, -48})}, "does not state [40, 48]");
  with(Form::kInt4, w + "_shape", zeros("I64", {3}), "shape [3] is not [2]");
  with(Form::kInt4, w + "_shape", zeros("F32", {2}), "type F32 where I64 or I32 is needed");
  with(Form::kInt4Zeros, w + "_zero_point", zeros("I32", {4, 3}),
       "shape [4, 3] is not [5, 3] (the configuration's matrices are [40, 48])");
  with(Form::kInt4Zeros, w + "_zero_point", zeros("I8", {40, 3}), "type I8 where I32 is needed");
  with(Form::kNvfp4, w, zeros("U8", {40, 25}),
       "shape [40, 25] is not [40, 24] (the configuration's matrices are [40, 48])");
  with(Form::kNvfp4, w + "_scale", zeros("F8_E4M3", {40, 2}),
       "shape [40, 2] is not [40, 3] (the configuration's matrices are [40, 48])");
  with(Form::kNvfp4, w + "_scale", zeros("F32", {40, 3}), "type F32 where F8_E4M3 is needed");
  with(Form::kNvfp4, w + "_scale_2", zeros("BF16", {}), "type BF16 where F32 is needed");
  with(Form::kNvfp4, w + "_scale_2", zeros("F32", {2}), "shape [2] is not [1]");
  with(Form::kNvfp4, w + "_scale_2", zeros("F32", {0}), "shape [0] is not [1]");

  const std::string down = "model.decoder.layers.0.mlp.down_proj.weight";  // [48, 40]
  parts_ = plain_;
  parts_[down] = zeros("U8", {48, 20});
  parts_[down + "_scale"] = zeros("F8_E4M3", {48, 2});
  parts_[down + "_scale_2"] = zeros("F32", {});
  ExpectRefused(down + ": NVFP4 rows of 40 values (rows are a multiple of 16)");
}

TEST_F(QuantizedCheckpoint, RefusesScalesThatAreNoNumbers) {
  const std::string w = kMatrix;
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float value : {nan, infinity}) {
    Quantize(Form::kNvfp4, Experts::kTogether);
    parts_[w + "_scale_2"].bytes = BytesOf(std::vector<float>{value});
    ExpectRefused(w + "_scale_2: is NaN or infinite (scales are finite numbers)");
  }
  Quantize(Form::kNvfp4Reciprocal, Experts::kTogether);
  parts_[w + "_global_scale"].bytes = BytesOf(std::vector<float>{0});
  ExpectRefused(w + "_global_scale: is 0 or too small to divide by");

  const auto expect_not_loaded = [&](const std::string& message) {
    const auto files = Files();
    ASSERT_TRUE(files);
    const auto kernels = MakeRefKernels({});
    const auto weights = LoadWeights(*files, config_, *kernels, {});
    ASSERT_FALSE(weights);
    EXPECT_EQ(weights.error().message, w + ": " + message);
    EXPECT_EQ(weights.error().code, StatusCode::kInvalidFile);
  };
  Quantize(Form::kNvfp4, Experts::kTogether);
  parts_[w + "_scale"].bytes[3 * 5 + 2] = '\x7f';
  expect_not_loaded("scale 2 of row 5: is NaN or infinite (scales are finite numbers)");
  Quantize(Form::kFp8Channel, Experts::kTogether);
  std::memcpy(parts_[w + "_scale"].bytes.data() + 4 * 11, &infinity, sizeof(float));
  expect_not_loaded("scale 0 of row 11: is NaN or infinite (scales are finite numbers)");
  Quantize(Form::kFp8Channel, Experts::kTogether);
  parts_[w].bytes[100] = '\x7f';
  expect_not_loaded("holds NaN or infinity, which no group can hold");
  Quantize(Form::kInt4, Experts::kTogether);
  std::memcpy(parts_[w + "_scale"].bytes.data(), "\x00\x7c", 2);
  expect_not_loaded("scale 0 of row 0: is NaN or infinite (scales are finite numbers)");
}

TEST_F(QuantizedCheckpoint, NamesTheMethodOfAnotherQuantisation) {
  parts_ = plain_;
  const std::string layer = "model.decoder.layers.0.mlp.gate_proj.";
  parts_.erase(layer + "weight");
  parts_[layer + "qweight"] = {"I32", {48, 5}, std::string(48 * 5 * 4, '\0')};
  const std::string without = config_text_;
  EXPECT_EQ(WithoutQuantMethod(without), without);
  config_text_.insert(config_text_.find('{') + 1, R"("quantization_config": {"quant_method": "awq", "bits": 4},)");
  EXPECT_TRUE(ParseConfig(config_text_)) << "the section itself is no fault";
  EXPECT_EQ(WithoutQuantMethod(config_text_).value().find("quantization_config"), std::string::npos);
  ExpectRefused("has no tensor \"" + layer +
                    "weight\" (the checkpoint is quantised by \"awq\"; types that can be read: F32, F16, BF16; FP8, "
                    "INT4 packed in I32 "
                    "and NVFP4 with their scales)",
                StatusCode::kNotFound);
}

}  // namespace
}  // namespace dgemma::test
