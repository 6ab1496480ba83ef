// Times every heavy operation of the CPU backend on the shapes of the middle-sized model, as GFLOP/s and as a share of the peak
// that this machine reaches with multiply-adds from registers. Figures are the best and the median of several runs.
//   op_bench [--threads N] [--dtype f32|bf16] [--repeats N] [--clock wall|cpu] [--json]
// `--clock cpu` counts the time the process really ran: with one thread, figures that other work on the machine disturbs little.
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

namespace dgemma {
namespace {

enum class Clock { kWall, kCpu };

struct Settings {
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  DType dtype = DType::kF32;
  int repeats = 9;
  Clock clock = Clock::kWall;
  bool json = false;
};

double NowMs(Clock clock) {
  timespec now = {};
  clock_gettime(clock == Clock::kCpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

struct Timing {
  std::string name;
  double flops = 0;
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
  Weight Weights(int64_t count, int64_t out, int64_t in) { return Stored(settings_.dtype, count, out, in); }
  Weight Vector(int64_t width) {
    const std::vector<float> values = Noise(width, 1.0f);
    return *kernels_->PackVector({DType::kF32, 1, 1, width, std::as_bytes(std::span(values))});
  }

  void Time(const std::string& name, double flops, const std::function<void()>& run) {
    run();
    std::vector<double> ms;
    for (int repeat = 0; repeat < settings_.repeats; ++repeat) {
      const double begin = NowMs(settings_.clock);
      run();
      ms.push_back(NowMs(settings_.clock) - begin);
    }
    std::sort(ms.begin(), ms.end());
    timings_.push_back({name, flops, ms.front(), ms[ms.size() / 2]});
  }

 private:
  Weight Stored(DType dtype, int64_t count, int64_t out, int64_t in) {
    const std::vector<float> values = Noise(count * out * in, 0.03f);
    if (dtype == DType::kF32) return *kernels_->Pack({dtype, count, out, in, std::as_bytes(std::span(values))});
    std::vector<uint16_t> halves;
    halves.reserve(values.size());
    for (float value : values) halves.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    return *kernels_->Pack({dtype, count, out, in, std::as_bytes(std::span(halves))});
  }

  Settings settings_;
  std::unique_ptr<Kernels> kernels_;
  std::vector<std::vector<float>> storage_;
  std::vector<Timing> timings_;
};

double Flops(int64_t rows, int64_t out, int64_t in) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in);
}

constexpr int64_t kRows = 256, kWidth = 1024, kDense = 768, kExperts = 32, kActive = 4, kHidden = 256, kVocab = 32768;

void TimeLinear(Bench& bench) {
  for (int64_t rows : {1, 4, 32, 256, 1024}) {
    const Weight w = bench.Weights(1, kWidth, kWidth);
    const Matrix x = bench.Rows(rows, kWidth), y = bench.Rows(rows, kWidth);
    bench.Time("linear " + std::to_string(rows) + "x1024x1024", Flops(rows, kWidth, kWidth),
               [&] { bench.kernels().Linear(x, w, y); });
  }
}

void TimeAttention(Bench& bench, const QkvShape& shape, int64_t cached, int64_t window, const std::string& kind) {
  const int64_t q_width = shape.heads * shape.head_size, kv_width = shape.kv_heads * shape.head_size;
  QkvWeights w{bench.Weights(1, q_width, kWidth),
               bench.Weights(1, kv_width, kWidth),
               {},
               bench.Vector(shape.head_size),
               bench.Vector(shape.head_size)};
  if (shape.kv_heads > 1) w.v = bench.Weights(1, kv_width, kWidth);
  const Matrix a = bench.Rows(kRows, kWidth), q = bench.Rows(kRows, q_width), out = bench.Rows(kRows, q_width);
  const Rotary rotary{bench.Rows(kRows, shape.head_size / 2), bench.Rows(kRows, shape.head_size / 2)};
  const int64_t slots = (cached + kRows + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  const KvStore cache{bench.Floats(slots * kv_width), bench.Floats(slots * kv_width), shape.kv_heads, shape.head_size,
                      slots};
  const KvStore local{bench.Floats(kRows * kv_width), bench.Floats(kRows * kv_width), shape.kv_heads, shape.head_size,
                      kRows};
  std::vector<KvTarget> targets;
  for (int64_t row = 0; row < kRows; ++row) targets.push_back({local, row});
  const int64_t outputs = q_width + (w.v.present() ? 2 : 1) * kv_width;
  bench.Time("project qkv " + kind, Flops(kRows, outputs, kWidth),
             [&] { bench.kernels().ProjectQkv(a, w, shape, rotary, targets, q); });
  AttentionSpan span;
  span.rows = kRows;
  span.cache = cache;
  span.cache_end = cached;
  span.pos = cached;
  span.window = window;
  span.causal = false;
  span.local = local;
  const int64_t keys = (window > 0 ? std::min(cached, window - 1) : cached) + kRows;
  bench.Time("attend canvas " + kind + ", " + std::to_string(cached) + " cached", 2 * Flops(kRows, q_width, keys),
             [&] { bench.kernels().Attend({&span, 1}, shape, q, out); });
  span.causal = true;
  const double seen =
      static_cast<double>(window > 0 ? std::min(cached, window) : cached) + static_cast<double>(kRows) / 2;
  bench.Time("attend causal " + kind + ", " + std::to_string(cached) + " cached",
             4.0 * static_cast<double>(kRows * q_width) * seen,
             [&] { bench.kernels().Attend({&span, 1}, shape, q, out); });
}

void TimeFeedForward(Bench& bench) {
  const Matrix x = bench.Rows(kRows, kWidth), y = bench.Rows(kRows, kWidth), z = bench.Rows(kRows, kWidth);
  const MlpWeights mlp{bench.Weights(1, kDense, kWidth), bench.Weights(1, kDense, kWidth),
                       bench.Weights(1, kWidth, kDense)};
  bench.Time("gated mlp 768", 3 * Flops(kRows, kDense, kWidth), [&] { bench.kernels().GatedMlp(x, mlp, y); });
  const RouterWeights router{bench.Vector(kWidth), bench.Weights(1, kExperts, kWidth), bench.Vector(kExperts)};
  Routes routes;
  bench.Time("route", Flops(kRows, kExperts, kWidth), [&] { bench.kernels().Route(x, router, kActive, routes); });
  const ExpertWeights experts{bench.Weights(kExperts, 2 * kHidden, kWidth), bench.Weights(kExperts, kWidth, kHidden)};
  bench.Time("experts 32, top 4, 256 wide", 3 * Flops(kRows * kActive, kHidden, kWidth),
             [&] { bench.kernels().Experts(x, experts, routes, y); });
  const Weight norm = bench.Vector(kWidth);
  const std::vector<float> scalar(static_cast<size_t>(kRows), 1.0f);
  bench.Time("rmsnorm", 3.0 * kRows * kWidth, [&] { bench.kernels().RmsNorm(x, norm, y); });
  bench.Time("norm and add", 4.0 * kRows * kWidth, [&] { bench.kernels().NormAdd(x, norm, y); });
  bench.Time("join branches", 14.0 * kRows * kWidth,
             [&] { bench.kernels().JoinBranches(x, z, {norm, norm, norm}, scalar, y); });
}

void TimeHead(Bench& bench) {
  const Weight table = bench.Weights(1, kVocab, kWidth);
  const Matrix hidden = bench.Rows(kRows, kWidth), soft = bench.Rows(kRows, kWidth);
  const std::vector<float> temperature(static_cast<size_t>(kRows), 0.8f);
  HeadParams params;
  params.temperature = temperature;
  const std::unique_ptr<HeadScratch> scratch = bench.kernels().MakeHeadScratch();
  std::vector<HeadRow> rows(static_cast<size_t>(kRows));
  bench.Time("denoise head 32768, every tile counts", 2 * Flops(kRows, kVocab, kWidth),
             [&] { bench.kernels().Denoise(hidden, table, params, *scratch, rows, soft); });
  std::vector<int32_t> picked(rows.size()), ids(rows.size());
  std::vector<double> uniform(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    picked[i] = static_cast<int32_t>(i);
    uniform[i] = static_cast<double>(i) / static_cast<double>(rows.size());
  }
  bench.Time("sample 256 rows", Flops(kRows, 64, kWidth),
             [&] { bench.kernels().Sample(*scratch, picked, uniform, ids); });
  const Matrix one = hidden.Rows(0, 1), logits = bench.Rows(1, kVocab), embedded = bench.Rows(kRows, kWidth);
  bench.Time("logits 1x32768", Flops(1, kVocab, kWidth), [&] { bench.kernels().Logits(one, table, 30.0f, logits); });
  bench.Time("embed 256 ids", 1.0 * kRows * kWidth, [&] { bench.kernels().Embed(ids, table, 32.0f, embedded); });
}

void PrintTable(const MachinePeak& peak, const Bench& bench, const Settings& settings) {
  std::printf("%s, %d threads, %s weights\n", peak.target.c_str(), peak.threads,
              settings.dtype == DType::kF32 ? "float32" : "bfloat16");
  std::printf("peak %.1f GFLOP/s on one thread, %.1f on %d; reads %.1f GB/s\n\n", peak.flops_one_thread / 1e9,
              peak.flops_all_threads / 1e9, peak.threads, peak.read_bytes_per_second / 1e9);
  std::printf("%-48s %10s %10s %9s %7s\n", "operation", "best ms", "median ms", "GFLOP/s", "of peak");
  for (const Timing& t : bench.timings()) {
    const double rate = t.flops / t.best_ms / 1e6;
    std::printf("%-48s %10.3f %10.3f %9.1f %6.1f%%\n", t.name.c_str(), t.best_ms, t.median_ms, rate,
                1e11 * rate / peak.flops_all_threads);
  }
}

void PrintJson(const MachinePeak& peak, const Bench& bench) {
  std::printf(
      "{\"target\":\"%s\",\"threads\":%d,\"peak_flops_one_thread\":%.0f,\"peak_flops\":%.0f,\"read_bytes_per_second\":%"
      ".0f,\"operations\":[",
      peak.target.c_str(), peak.threads, peak.flops_one_thread, peak.flops_all_threads, peak.read_bytes_per_second);
  const char* comma = "";
  for (const Timing& t : bench.timings()) {
    std::printf("%s{\"name\":\"%s\",\"best_ms\":%.4f,\"median_ms\":%.4f,\"flops\":%.0f}", comma, t.name.c_str(),
                t.best_ms, t.median_ms, t.flops);
    comma = ",";
  }
  std::printf("]}\n");
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
    } else if (value != nullptr && option == "--dtype") {
      settings.dtype = std::string_view(arguments[++i]) == "bf16" ? DType::kBF16 : DType::kF32;
    } else {
      std::fprintf(stderr,
                   "usage: op_bench [--threads N] [--dtype f32|bf16] [--repeats N] [--clock wall|cpu] [--json]\n");
      return 2;
    }
  }
  const MachinePeak peak = MeasureMachinePeak(settings.threads);
  Bench bench(settings);
  TimeLinear(bench);
  TimeAttention(bench, {8, 4, 128}, 1024, 512, "8x128, kv 4");
  TimeAttention(bench, {8, 1, 256}, 1024, 0, "8x256, kv 1");
  TimeFeedForward(bench);
  TimeHead(bench);
  if (settings.json)
    PrintJson(peak, bench);
  else
    PrintTable(peak, bench, settings);
  return 0;
}

}  // namespace
}  // namespace dgemma

int main(int argc, char** argv) { return dgemma::Main({argv, static_cast<size_t>(argc)}); }
