// How fast rows of weights are encoded, in million weights a second of one thread: every block type that `dgemma convert`
// writes and every format of `dgemma quantize`. Run it pinned to a core, and compare rows of one run.
//   encode_rows [SECONDS_EACH]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "tensor/ggml_blocks.h"
#include "tensor/groups.h"

namespace {

using namespace dgemma;
using Clock = std::chrono::steady_clock;

constexpr size_t kRow = 2816;  // of the released model: 11 blocks of 256

/// The best of many short runs, so that other work on the machine is left out.
double MillionsPerSecond(double seconds, const std::function<void()>& encode_row) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  double best = 0;
  do {
    const auto begin = Clock::now();
    encode_row();
    best = std::max(best, static_cast<double>(kRow) / std::chrono::duration<double>(Clock::now() - begin).count());
  } while (Clock::now() < end);
  return best / 1e6;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 0.5;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> row(kRow), importance(kRow);
  for (float& value : row) value = normal(random);
  for (float& value : importance) value = std::abs(normal(random));
  fmt::print("{:<14} {:>12}\n", "type", "M weights/s");
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4K, DType::kQ5K, DType::kQ6K, DType::kIq4Xs}) {
    std::vector<std::byte> blocks(kRow / ValuesPerBlock(dtype) * BytesPerBlock(dtype));
    const double speed = MillionsPerSecond(seconds, [&] {
      if (!EncodeBlocks(dtype, row, blocks)) std::abort();
    });
    fmt::print("{:<14} {:>12.1f}\n", Name(dtype), speed);
  }
  for (const char* name : {"int8-row", "int8-64", "int8-32-min", "int4-32-row", "int4-32", "int4-32-min"}) {
    const WeightFormat format = *ParseWeightFormat(name);
    GroupedRow coded;
    const double plain = MillionsPerSecond(seconds, [&] { QuantizeRow(row, format, {}, coded); });
    const double weighted = MillionsPerSecond(seconds, [&] { QuantizeRow(row, format, importance, coded); });
    fmt::print("{:<14} {:>12.1f} {:>12.1f} with importance\n", name, plain, weighted);
  }
  return 0;
}
