// See golden.h.
#include "support/golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "engine/replay.h"
#include "files/temp_folder.h"
#include "model/convert.h"

namespace dgemma::test {
namespace {

template <typename T>
T Value(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return *std::move(result);
}

}  // namespace

std::string GoldenRoot() {
  const char* other = std::getenv("DGEMMA_GOLDEN");
  return other != nullptr ? other : DGEMMA_SOURCE_DIR "/tests/golden";
}

bool HasGolden(const std::string& path) { return std::filesystem::exists(GoldenRoot() + "/" + path); }

Golden::Golden(const std::string& path) {
  files_ = std::make_shared<CheckpointFiles>(Value(OpenSafetensors(GoldenRoot() + "/" + path)));
}

std::vector<float> Golden::Floats(const std::string& name) const { return Value(ReadNumbers(Tensor(name))); }

std::vector<int32_t> Golden::Ids(const std::string& name) const {
  const std::vector<int64_t> wide = Value(ReadIntegers(Tensor(name)));
  return {wide.begin(), wide.end()};
}

std::vector<uint64_t> Golden::Shape(const std::string& name) const {
  const TensorBytes tensor = Tensor(name);
  return {tensor.shape.begin(), tensor.shape.end()};
}

TensorBytes Golden::Tensor(const std::string& name) const { return Value(files_->Tensor(name)); }

const char* Name(TestBackend backend) {
  switch (backend) {
    case TestBackend::kRefF32:
      return "ref_f32";
    case TestBackend::kRefBf16:
      return "ref_bf16";
    case TestBackend::kCpu:
      return "cpu";
  }
  return "";
}

void PrintTo(const RecordedCase& c, std::ostream* out) {
  *out << c.model << "/" << c.recording << " " << Name(c.backend);
}

std::string BackendName(const testing::TestParamInfo<TestBackend>& info) {
  switch (info.param) {
    case TestBackend::kRefF32:
      return "ref";
    case TestBackend::kRefBf16:
      return "ref_bf16";
    case TestBackend::kCpu:
      return "cpu";
  }
  return "unknown";
}

std::string CaseName(const testing::TestParamInfo<RecordedCase>& info) {
  std::string name = info.param.model + "_" + info.param.recording + "_" + Name(info.param.backend);
  std::ranges::replace(name, '-', '_');
  return name;
}

TestModel TestModel::Load(const std::string& folder, TestBackend backend, int threads) {
  EngineOptions options;
  options.threads = threads;
  options.backend = backend == TestBackend::kCpu       ? Backend::kCpu
                    : backend == TestBackend::kRefBf16 ? Backend::kReferenceBf16
                                                       : Backend::kReference;
  const CheckpointFiles files = Value(OpenCheckpoint(folder));
  return {Value(LoadModel(files, Value(ReadConfig(files)), options))};
}

TestModel TestModel::LoadWidened(const std::string& folder, TestBackend backend) {
  const CheckpointFiles files = Value(OpenCheckpoint(folder));
  const TempFolder widened;
  ConvertOptions options;
  options.type = DType::kF32;
  ThreadPool pool(1);
  Value(SaveFolder(files, Value(ReadConfig(files)), widened.path() / "model", options, pool));
  return Load((widened.path() / "model").string(), backend);
}

TestModel TestModel::Load(const RecordedCase& c) {
  const std::string folder = GoldenRoot() + "/" + c.model;
  return c.recording == "golden-f32" ? LoadWidened(folder, c.backend) : Load(folder, c.backend);
}

void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected, const ErrorBound& bound,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double scale = 0, worst = 0, sum = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    const double error = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
    sum += error;
  }
  const double limit = bound.unit * std::sqrt(bound.terms) * bound.depth * scale;
  EXPECT_LE(worst, limit) << what << ": worst error against the largest value " << scale;
  if (std::getenv("DGEMMA_VERBOSE") != nullptr) {
    std::printf("%-28s worst %.2e mean %.2e bound %.2e scale %.2e\n", what.c_str(), worst,
                sum / static_cast<double>(actual.size()), limit, scale);
  }
}

std::vector<float> ToVector(Kernels& kernels, Matrix matrix) {
  std::vector<float> out(static_cast<size_t>(matrix.rows * matrix.cols));
  kernels.Download(matrix, out);
  return out;
}

}  // namespace dgemma::test
