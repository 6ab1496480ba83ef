// See golden.h.
#include "support/golden.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "tensor/stored.h"

namespace dgemma::test {

std::string GoldenRoot() {
  const char* other = std::getenv("DGEMMA_GOLDEN");
  return other != nullptr ? other : DGEMMA_SOURCE_DIR "/tests/golden";
}

bool HasGolden(const std::string& path) { return std::filesystem::exists(GoldenRoot() + "/" + path); }

Golden::Golden(const std::string& path) {
  auto opened = OpenSafetensors(GoldenRoot() + "/" + path);
  if (!opened) throw std::runtime_error(opened.error().message);
  files_ = std::make_shared<CheckpointFiles>(*opened);
}

std::vector<float> Golden::Floats(const std::string& name) const {
  const auto tensor = files_->Tensor(name);
  if (!tensor) throw std::runtime_error(tensor.error().message);
  int64_t values = 1;
  for (uint64_t size : tensor->shape) values *= static_cast<int64_t>(size);
  std::vector<float> out(static_cast<size_t>(values));
  if (tensor->dtype == DType::kU8) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(tensor->bytes[i]);
  } else {
    ReadRow({tensor->dtype, 1, 1, values, tensor->bytes}, 0, 0, out.data());
  }
  return out;
}

std::vector<int32_t> Golden::Ids(const std::string& name) const {
  const auto tensor = files_->Tensor(name);
  if (!tensor) throw std::runtime_error(tensor.error().message);
  if (tensor->dtype == DType::kU8) {
    std::vector<int32_t> out;
    for (std::byte b : tensor->bytes) out.push_back(static_cast<int32_t>(b));
    return out;
  }
  if (tensor->dtype == DType::kI32) {
    std::vector<int32_t> out(tensor->bytes.size() / 4);
    std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
    return out;
  }
  std::vector<int64_t> wide(tensor->bytes.size() / 8);
  std::memcpy(wide.data(), tensor->bytes.data(), tensor->bytes.size());
  return {wide.begin(), wide.end()};
}

std::vector<uint64_t> Golden::Shape(const std::string& name) const {
  const auto tensor = files_->Tensor(name);
  if (!tensor) throw std::runtime_error(tensor.error().message);
  return {tensor->shape.begin(), tensor->shape.end()};
}

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

TestModel TestModel::Load(const std::string& folder, TestBackend backend, int threads) {
  EngineOptions options;
  options.threads = threads;
  options.backend = backend == TestBackend::kCpu       ? Backend::kCpu
                    : backend == TestBackend::kRefBf16 ? Backend::kReferenceBf16
                                                       : Backend::kReference;
  const auto files = OpenCheckpoint(folder);
  if (!files) throw std::runtime_error(files.error().message);
  auto config = ReadConfig(*files);
  if (!config) throw std::runtime_error(config.error().message);
  auto loaded = LoadModel(*files, *std::move(config), options);
  if (!loaded) throw std::runtime_error(loaded.error().message);
  return {*std::move(loaded)};
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
