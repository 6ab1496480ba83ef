// Times every heavy operation of the CPU backend, and compares it with the bound of its arithmetic: operations over the peak that
// this machine reaches from registers (int8 dot products where weights are in groups, float32 multiply-adds elsewhere).
// Figures are the best and the median of several runs.
//   op_bench [--threads N] [--format float32|bfloat16|int8-32|int4-32-min|...] [--shape mid|26b] [--repeats N]
//            [--clock wall|cpu] [--only PART-OF-A-NAME] [--json]
// `--clock cpu` counts the time the process really ran: with one thread, figures that other work on the machine disturbs little.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/machine_peak.h"
#include "tensor/panels.h"

namespace dgemma {
namespace {

enum class Clock { kWall, kCpu };

struct Settings {
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  WeightFormat format;
  bool large = false;
  std::string only;  ///< times only operations whose name contains this
  int repeats = 9;
  Clock clock = Clock::kWall;
  bool json = false;
};

double NowMs(Clock clock) {
  timespec now = {};
  clock_gettime(clock == Clock::kCpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

/// Operations by what does them; a multiply-add counts as two.
struct Operations {
  double weights = 0;  ///< with weights: integer where they are in groups
  double floats = 0;   ///< float32
};

struct Timing {
  std::string name;
  Operations operations;
  double best_ms = 0;
  double median_ms = 0;
};

std::vector<float> Noise(int64_t count, float deviation) {
  std::minstd_rand engine(static_cast<uint32_t>(count));
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {  // a sum of four uniforms is normal enough, and quick for 10^8 values
    float sum = -2.0f;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(engine()) * 0x1p-31f;
    value = sum * 1.7320508f * deviation;
  }
  return values;
}

class Bench {
 public:
  explicit Bench(const Settings& settings)
      : settings_(settings), kernels_(MakeCpuKernels({.threads = settings.threads, .norm_eps = 1e-6f})) {}

  Kernels& kernels() { return *kernels_; }
  const std::vector<Timing>& timings() const { return timings_; }

  Matrix Rows(int64_t rows, int64_t cols) {
    storage_.push_back(Noise(rows * cols, 1.0f));
    return {storage_.back().data(), rows, cols, cols};
  }
  float* Floats(int64_t count) {
    storage_.push_back(Noise(count, 0.1f));
    return storage_.back().data();
  }
  Weight Weights(int64_t count, int64_t out, int64_t in) { return Stored(count, out, in); }
  Weight Vector(int64_t width) {
    const std::vector<float> values = Noise(width, 1.0f);
    return *kernels_->PackVector(OneRun(DType::kF32, 1, 1, width, std::as_bytes(std::span(values))));
  }

  void Time(const std::string& name, Operations operations, const std::function<void()>& run) {
    if (name.find(settings_.only) == std::string::npos) return;
    run();
    std::vector<double> ms;
    for (int repeat = 0; repeat < settings_.repeats; ++repeat) {
      const double begin = NowMs(settings_.clock);
      run();
      ms.push_back(NowMs(settings_.clock) - begin);
    }
    std::sort(ms.begin(), ms.end());
    timings_.push_back({name, operations, ms.front(), ms[ms.size() / 2]});
  }

 private:
  Weight Stored(int64_t count, int64_t out, int64_t in) {
    const WeightFormat& format = settings_.format;
    if (!format.grouped()) {
      const std::vector<float> values = Noise(count * out * in, 0.03f);
      return *kernels_->Pack(OneRun(DType::kF32, count, out, in, std::as_bytes(std::span(values))), format);
    }
    const int64_t bytes = GroupedBytes(format, count, out, in), panel = PanelBytes(format, in);
    Buffer buffer = *kernels_->Allocate(bytes);
    auto* data = static_cast<std::byte*>(buffer.owner.get());
    std::minstd_rand engine(1);
    std::generate_n(data, bytes, [&] { return static_cast<std::byte>(engine() >> 8); });
    for (int64_t at = 0; at < bytes; at += panel) {  // scales and minima of 2^-8
      auto* halves = reinterpret_cast<uint16_t*>(data + at);
      std::fill_n(halves, PanelScaleBytes(format, in) / 2, uint16_t{0x1C00});
    }
    return {count, out, in, format, buffer};
  }

  Settings settings_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<std::vector<float>> storage_;
  std::vector<Timing> timings_;
};

double Product(int64_t rows, int64_t out, int64_t in) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in);
}

constexpr int64_t kRows = 256;

struct ModelShape {
  int64_t width, dense, experts, active, hidden, vocab;
  QkvShape sliding, full;
  int64_t window;
};
constexpr ModelShape kMid{1024, 768, 32, 4, 256, 32768, {8, 4, 128}, {8, 1, 256}, 512};
constexpr ModelShape k26b{2816, 2112, 128, 8, 704, 65536, {16, 8, 256}, {16, 2, 512}, 1024};

void TimeLinear(Bench& bench, const ModelShape& shape) {
  for (int64_t rows : {1, 4, 32, 256, 1024}) {
    const Weight w = bench.Weights(1, shape.width, shape.width);
    const Matrix x = bench.Rows(rows, shape.width), y = bench.Rows(rows, shape.width);
    bench.Time(fmt::format("linear {}x{}x{}", rows, shape.width, shape.width),
               {Product(rows, shape.width, shape.width), 0}, [&] { bench.kernels().Linear(x, w, y); });
  }
}

void TimeAttention(Bench& bench, int64_t width, const QkvShape& shape, int64_t cached, int64_t window) {
  const std::string kind = fmt::format("{} x {}, kv {}", shape.heads, shape.head_size, shape.kv_heads);
  const int64_t q_width = shape.heads * shape.head_size, kv_width = shape.kv_heads * shape.head_size;
  QkvWeights w{bench.Weights(1, q_width, width), bench.Weights(1, kv_width, width), {},
               bench.Vector(shape.head_size), bench.Vector(shape.head_size)};
  if (window > 0) w.v = bench.Weights(1, kv_width, width);
  const Matrix a = bench.Rows(kRows, width), q = bench.Rows(kRows, q_width), out = bench.Rows(kRows, q_width);
  const Rotary rotary{bench.Rows(kRows, shape.head_size / 2), bench.Rows(kRows, shape.head_size / 2)};
  const int64_t slots = (cached + kRows + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  const KvStore cache{bench.Floats(slots * kv_width), bench.Floats(slots * kv_width), shape.kv_heads, shape.head_size,
                      slots};
  const KvStore local{bench.Floats(kRows * kv_width), bench.Floats(kRows * kv_width), shape.kv_heads, shape.head_size,
                      kRows};
  std::vector<KvTarget> targets;
  for (int64_t row = 0; row < kRows; ++row) targets.push_back({local, row});
  const int64_t outputs = q_width + (w.v.present() ? 2 : 1) * kv_width;
  bench.Time("project qkv " + kind, {Product(kRows, outputs, width), 0},
             [&] { bench.kernels().ProjectQkv(a, w, shape, rotary, targets, q); });
  AttentionSpan span;
  span.rows = kRows;
  span.cache = cache;
  span.cache_end = cached;
  span.pos = cached;
  span.window = window;
  span.causal = false;
  span.local = local;
  span.local_rows = kRows;
  const int64_t keys = (window > 0 ? std::min(cached, window - 1) : cached) + kRows;
  bench.Time(fmt::format("attend canvas {}, {} cached", kind, cached), {0, 2 * Product(kRows, q_width, keys)},
             [&] { bench.kernels().Attend({&span, 1}, shape, q, out); });
  span.causal = true;
  const double seen =
      static_cast<double>(window > 0 ? std::min(cached, window) : cached) + static_cast<double>(kRows) / 2;
  bench.Time(fmt::format("attend causal {}, {} cached", kind, cached),
             {0, 4.0 * static_cast<double>(kRows * q_width) * seen},
             [&] { bench.kernels().Attend({&span, 1}, shape, q, out); });
}

void TimeFeedForward(Bench& bench, const ModelShape& s) {
  const int64_t width = s.width;
  const Matrix x = bench.Rows(kRows, width), y = bench.Rows(kRows, width), z = bench.Rows(kRows, width);
  const MlpWeights mlp{bench.Weights(1, s.dense, width), bench.Weights(1, s.dense, width),
                       bench.Weights(1, width, s.dense)};
  bench.Time(fmt::format("gated mlp {}", s.dense), {3 * Product(kRows, s.dense, width), 0},
             [&] { bench.kernels().GatedMlp(x, mlp, y); });
  const RouterWeights router{bench.Vector(width), bench.Weights(1, s.experts, width), bench.Vector(s.experts)};
  Routes routes;
  bench.Time("route", {Product(kRows, s.experts, width), 0},
             [&] { bench.kernels().Route(x, router, s.active, routes); });
  routes.active = s.active;  // evenly spread: every expert gets its share of rows
  routes.expert.resize(static_cast<size_t>(kRows * s.active));
  routes.weight.assign(routes.expert.size(), 0.1f);
  for (size_t i = 0; i < routes.expert.size(); ++i) routes.expert[i] = static_cast<int32_t>(i * 37 % static_cast<size_t>(s.experts));
  const ExpertWeights experts{bench.Weights(s.experts, 2 * s.hidden, width), bench.Weights(s.experts, width, s.hidden)};
  bench.Time(fmt::format("experts {}, top {}, {} wide", s.experts, s.active, s.hidden),
             {3 * Product(kRows * s.active, s.hidden, width), 0},
             [&] { bench.kernels().Experts(x, experts, routes, y); });
  const Weight norm = bench.Vector(width);
  const std::vector<float> scalar(static_cast<size_t>(kRows), 1.0f);
  const auto values = static_cast<double>(kRows * width);
  bench.Time("rmsnorm", {0, 3.0 * values}, [&] { bench.kernels().RmsNorm(x, norm, y); });
  bench.Time("norm and add", {0, 4.0 * values}, [&] { bench.kernels().NormAdd(x, norm, y); });
  bench.Time("join branches", {0, 14.0 * values},
             [&] { bench.kernels().JoinBranches(x, z, {norm, norm, norm}, scalar, y); });
}

void TimeHead(Bench& bench, const ModelShape& s) {
  const Weight table = bench.Weights(1, s.vocab, s.width);
  const Matrix hidden = bench.Rows(kRows, s.width), soft = bench.Rows(kRows, s.width);
  HeadParams params;
  const std::unique_ptr<HeadScratch> scratch = bench.kernels().MakeHeadScratch();
  std::vector<HeadRow> rows(static_cast<size_t>(kRows));
  for (const float warmth : {0.8f, 0.001f}) {
    const std::vector<float> temperature(static_cast<size_t>(kRows), warmth);
    params.temperature = temperature;
    const double product = Product(kRows, s.vocab, s.width);
    bench.Time(fmt::format("denoise head {}, {}", s.vocab, warmth > 0.1f ? "every probability counts" : "few count"),
               {product, warmth > 0.1f ? product : 0},
               [&] { bench.kernels().Denoise(hidden, table, params, *scratch, rows, soft); });
  }
  std::vector<int32_t> picked(rows.size()), ids(rows.size());
  std::vector<double> uniform(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    picked[i] = static_cast<int32_t>(i);
    uniform[i] = static_cast<double>(i) / static_cast<double>(rows.size());
  }
  bench.Time("sample 256 rows", {Product(kRows, 64, s.width), 0},
             [&] { bench.kernels().Sample(*scratch, picked, uniform, ids); });
  const Matrix one = hidden.Rows(0, 1), logits = bench.Rows(1, s.vocab), embedded = bench.Rows(kRows, s.width);
  bench.Time(fmt::format("logits 1x{}", s.vocab), {Product(1, s.vocab, s.width), 0},
             [&] { bench.kernels().Logits(one, table, 30.0f, logits); });
  bench.Time("embed 256 ids", {0, static_cast<double>(kRows * s.width)},
             [&] { bench.kernels().Embed(ids, table, 32.0f, embedded); });
}

/// What the operations take at least, in milliseconds.
double BoundMs(const MachinePeak& peak, const Operations& operations, const WeightFormat& format) {
  const double weights = format.grouped() ? peak.int8_all_threads : peak.flops_all_threads;
  return 1e3 * (operations.weights / weights + operations.floats / peak.flops_all_threads);
}

void PrintTable(const MachinePeak& peak, const Bench& bench, const Settings& settings) {
  fmt::print("{}, {} threads, {} weights\n", peak.target, peak.threads, Name(settings.format));
  fmt::print("peak {:.1f} GFLOP/s float32 on one thread, {:.1f} on {}; {:.0f} and {:.0f} GOP/s int8; reads {:.1f} GB/s\n\n",
             peak.flops_one_thread / 1e9, peak.flops_all_threads / 1e9, peak.threads, peak.int8_one_thread / 1e9,
             peak.int8_all_threads / 1e9, peak.read_bytes_per_second / 1e9);
  fmt::print("{:<48} {:>10} {:>10} {:>9} {:>9}\n", "operation", "best ms", "median ms", "GOP/s", "of bound");
  for (const Timing& t : bench.timings()) {
    const double rate = (t.operations.weights + t.operations.floats) / t.best_ms / 1e6;
    fmt::print("{:<48} {:>10.3f} {:>10.3f} {:>9.1f} {:>8.1f}%\n", t.name, t.best_ms, t.median_ms, rate,
               100 * BoundMs(peak, t.operations, settings.format) / t.best_ms);
  }
}

void PrintJson(const MachinePeak& peak, const Bench& bench, const Settings& settings) {
  fmt::print(
      "{{\"target\":\"{}\",\"threads\":{},\"format\":\"{}\",\"peak_flops\":{:.0f},\"peak_int8_ops\":{:.0f},"
      "\"read_bytes_per_second\":{:.0f},\"operations\":[",
      peak.target, peak.threads, Name(settings.format), peak.flops_all_threads, peak.int8_all_threads,
      peak.read_bytes_per_second);
  const char* comma = "";
  for (const Timing& t : bench.timings()) {
    fmt::print("{}{{\"name\":\"{}\",\"best_ms\":{:.4f},\"median_ms\":{:.4f},\"bound_ms\":{:.4f}}}", comma, t.name, t.best_ms,
               t.median_ms, BoundMs(peak, t.operations, settings.format));
    comma = ",";
  }
  fmt::print("]}}\n");
}

int Main(std::span<char*> arguments) {
  Settings settings;
  for (size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view option = arguments[i];
    const char* value = i + 1 < arguments.size() ? arguments[i + 1] : nullptr;
    if (option == "--json") {
      settings.json = true;
    } else if (value != nullptr && option == "--threads") {
      settings.threads = std::max(1, std::atoi(arguments[++i]));
    } else if (value != nullptr && option == "--repeats") {
      settings.repeats = std::max(1, std::atoi(arguments[++i]));
    } else if (value != nullptr && option == "--clock") {
      settings.clock = std::string_view(arguments[++i]) == "cpu" ? Clock::kCpu : Clock::kWall;
    } else if (value != nullptr && option == "--format" && ParseWeightFormat(value)) {
      settings.format = *ParseWeightFormat(arguments[++i]);
    } else if (value != nullptr && option == "--only") {
      settings.only = arguments[++i];
    } else if (value != nullptr && option == "--shape") {
      settings.large = std::string_view(arguments[++i]) == "26b";
    } else {
      std::fprintf(stderr,
                   "usage: op_bench [--threads N] [--format float32|bfloat16|int8-32|int4-32-min|...] [--shape mid|26b]\n"
                   "                [--repeats N] [--clock wall|cpu] [--only NAME] [--json]\n");
      return 2;
    }
  }
  const MachinePeak peak = MeasureMachinePeak(settings.threads);
  Bench bench(settings);
  const ModelShape& shape = settings.large ? k26b : kMid;
  TimeLinear(bench, shape);
  TimeAttention(bench, shape.width, shape.sliding, 1024, shape.window);
  TimeAttention(bench, shape.width, shape.full, 1024, 0);
  TimeFeedForward(bench, shape);
  TimeHead(bench, shape);
  if (settings.json)
    PrintJson(peak, bench, settings);
  else
    PrintTable(peak, bench, settings);
  return 0;
}

}  // namespace
}  // namespace dgemma

int main(int argc, char** argv) { return dgemma::Main({argv, static_cast<size_t>(argc)}); }
