// Recorded results of Transformers for tests: reading tensors by name, loading the small models, and comparing with a derived bound.
// The folder is tests/golden, or the one in DGEMMA_GOLDEN (recordings with another seed, for developers).
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/loaded_model.h"

namespace dgemma::test {

/// A case file such as "alternating-f32/golden/encoder.safetensors".
class Golden {
 public:
  explicit Golden(const std::string& path);
  bool Has(const std::string& name) const { return files_->HasTensor(name); }
  std::vector<float> Floats(const std::string& name) const;
  std::vector<int32_t> Ids(const std::string& name) const;
  std::vector<uint64_t> Shape(const std::string& name) const;

 private:
  TensorBytes Tensor(const std::string& name) const;

  std::shared_ptr<CheckpointFiles> files_;
};

std::string GoldenRoot();
bool HasGolden(const std::string& path);

enum class TestBackend { kRefF32, kRefBf16, kCpu };
const char* Name(TestBackend backend);

/// The backend in the name of a test: "ref", "ref_bf16", "cpu".
std::string BackendName(const testing::TestParamInfo<TestBackend>& info);

/// What tests are repeated for: a checkpoint, one of its folders of recordings, and how dgemma computes.
struct RecordedCase {
  std::string model;      // folder of the checkpoint
  std::string recording;  // folder below it
  TestBackend backend;
};
void PrintTo(const RecordedCase& c, std::ostream* out);
/// The case in the name of a test: "alternating_f32_golden_cpu".
std::string CaseName(const testing::TestParamInfo<RecordedCase>& info);

/// A loaded model with its kernels; the folder may be a golden one or models/starter. Throws when it cannot be loaded.
struct TestModel : LoadedModel {
  static TestModel Load(const std::string& folder, TestBackend backend, int threads = 2);
  /// The same with every tensor widened to float32 first, as Transformers loads a checkpoint that it shall compute in float32.
  static TestModel LoadWidened(const std::string& folder, TestBackend backend);
  /// The checkpoint of a case, widened where its recording was computed in float32.
  static TestModel Load(const RecordedCase& c);
  const Config& config() const { return model->config; }
};

/// |actual - expected| <= unit * sqrt(terms) * depth * max(|expected|), for every value. The bound grows with the roundings on the way:
/// `depth` operations in sequence, each summing about `terms` products; `unit` is half an ulp of the storage format.
struct ErrorBound {
  double unit = 0x1p-24;
  double terms = 1;
  double depth = 1;
};
void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected, const ErrorBound& bound,
                 const std::string& what);

std::vector<float> ToVector(Kernels& kernels, Matrix matrix);

}  // namespace dgemma::test
