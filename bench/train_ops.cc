// Times the gradients of the CPU backend that cost most and prints them as shares of the machine's measured float32 peak.
//   train_ops [THREADS [ROWS [NAME]]]    NAME: only operations whose name contains it
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_train_kernels.h"
#include "kernels/cpu/machine_peak.h"

namespace dgemma {
namespace {

constexpr int kRepeats = 20;  // the least counts
constexpr int64_t kWidth = 1024;

double NowSeconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

class Timer {
 public:
  Timer(int threads, int64_t rows, std::string only)
      : rows_(rows),
        only_(std::move(only)),
        kernels_(MakeCpuKernels({.threads = threads})),
        train_(MakeCpuTrainKernels(*kernels_)),
        peak_(MeasureMachinePeak(threads).flops_all_threads) {
    fmt::print("{}, {:.1f} GFLOP/s of float32\n", kernels_->Description(), peak_ / 1e9);
  }

  void Run() {
    TimeLinear();
    TimeGatedMlp();
    TimeExperts();
    TimeAttention();
    TimeHead();
    TimeRest();
  }

 private:
  std::vector<float> Noise(int64_t count, float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(engine_);
    return values;
  }
  Matrix Rows(int64_t rows, int64_t cols) {
    storage_.push_back(Noise(rows * cols, 1.0f));
    return {storage_.back().data(), rows, cols, cols};
  }
  Weight Weights(int64_t count, int64_t out, int64_t in) {
    const std::vector<float> values = Noise(count * out * in, 0.03f);
    return *kernels_->Pack(OneRun(DType::kF32, count, out, in, std::as_bytes(std::span(values))), kFloat32Weights);
  }
  Weight Gradient(const Weight& w) { return *train_->MakeGradient(w); }

  /// `operations` as counted in products; 0: of no interest.
  void Time(const std::string& name, double operations, const std::function<void()>& run) {
    if (name.find(only_) == std::string::npos) return;
    run();
    double least = 1e9;
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      const double begin = NowSeconds();
      run();
      least = std::min(least, NowSeconds() - begin);
    }
    fmt::print("{:<48} {:9.3f} ms", name, least * 1e3);
    if (operations > 0) {
      fmt::print(" {:8.1f} GFLOP/s {:6.1f} % of peak", operations / least / 1e9, 100 * operations / least / peak_);
    }
    fmt::print("\n");
  }

  double Work(int64_t a, int64_t b, int64_t c) const {
    return 2 * static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
  }

  void TimeLinear() {
    const Weight w = Weights(1, kWidth, kWidth), dw = Gradient(w);
    const Matrix x = Rows(rows_, kWidth), dout = Rows(rows_, kWidth), dx = Rows(rows_, kWidth);
    const double once = Work(rows_, kWidth, kWidth);
    Time(fmt::format("linear forward {}x{}x{}", rows_, kWidth, kWidth), once, [&] { kernels_->Linear(x, {}, w, dx); });
    Time("linear backward, rows", once, [&] { train_->LinearBackward(x, {}, w, dout, {}, dx); });
    Time("linear backward, weights", once, [&] { train_->LinearBackward(x, {}, w, dout, dw, {}); });
    Time("linear backward", 2 * once, [&] { train_->LinearBackward(x, {}, w, dout, dw, dx); });
    Time("linear forward and backward", 3 * once, [&] {
      kernels_->Linear(x, {}, w, dx);
      train_->LinearBackward(x, {}, w, dout, dw, dx);
    });
  }

  void TimeGatedMlp() {
    constexpr int64_t kHidden = 2112;
    const MlpWeights w{Weights(1, kHidden, kWidth), Weights(1, kHidden, kWidth), Weights(1, kWidth, kHidden)};
    const MlpWeights dw{Gradient(w.gate), Gradient(w.up), Gradient(w.down)};
    const Matrix x = Rows(rows_, kWidth), dout = Rows(rows_, kWidth), dx = Rows(rows_, kWidth);
    const double once = Work(rows_, kWidth, kHidden);
    Time(fmt::format("gated mlp backward {}", kHidden), 8 * once,
         [&] { train_->GatedMlpBackward(x, {}, w, dout, dw, dx); });
  }

  void TimeExperts() {
    constexpr int64_t kExperts = 32, kActive = 4, kHidden = 256;
    const ExpertWeights w{Weights(kExperts, 2 * kHidden, kWidth), Weights(kExperts, kWidth, kHidden)};
    const ExpertWeights dw{Gradient(w.gate_up), Gradient(w.down)};
    const Matrix x = Rows(rows_, kWidth), dout = Rows(rows_, kWidth), dx = Rows(rows_, kWidth);
    Routes routes{{}, std::vector<float>(static_cast<size_t>(rows_ * kActive), 0.1f), kActive};
    for (int64_t slot = 0; slot < rows_ * kActive; ++slot) {
      routes.expert.push_back(static_cast<int32_t>(slot * 37 % kExperts));
    }
    std::vector<float> droute(routes.weight.size());
    const double once = Work(rows_ * kActive, kWidth, kHidden);
    Time(fmt::format("experts forward {}, top {}, {} wide", kExperts, kActive, kHidden), 3 * once,
         [&] { kernels_->Experts(x, {}, w, routes, dx); });
    Time(fmt::format("experts backward {}, top {}, {} wide", kExperts, kActive, kHidden), 8 * once,
         [&] { train_->ExpertsBackward(x, {}, w, routes, dout, dw, droute, dx); });
    Time("experts backward, frozen", 5 * once,
         [&] { train_->ExpertsBackward(x, {}, w, routes, dout, {}, droute, dx); });
  }

  void TimeAttention() {
    constexpr QkvShape kShape{8, 2, 256};
    constexpr int64_t kCached = 1024;
    const int64_t width = kShape.heads * kShape.head_size;
    const auto store = [&](int64_t tokens) {
      const int64_t slots = (tokens + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
      const auto values = [&] { return Rows(slots, kShape.kv_heads * kShape.head_size).data; };
      return KvStore{values(), values(), kShape.kv_heads, kShape.head_size, slots};
    };
    const Matrix q = Rows(rows_, width), out = Rows(rows_, width), dout = Rows(rows_, width), dq = Rows(rows_, width);
    AttentionSpan span;
    span.rows = rows_;
    span.cache = store(kCached + rows_);
    span.cache_end = span.pos = kCached;
    span.causal = false;
    span.local = store(rows_);
    span.local_rows = rows_;
    AttentionSpan dspan = span;
    dspan.cache = store(kCached + rows_);
    dspan.local = store(rows_);
    const double canvas = Work(rows_, width, kCached + rows_);
    Time(fmt::format("attend forward canvas, {} cached", kCached), 2 * canvas,
         [&] { kernels_->Attend({&span, 1}, kShape, q, out); });
    Time(fmt::format("attend backward canvas, {} cached", kCached), 6 * canvas,
         [&] { train_->AttendBackward({&span, 1}, {&dspan, 1}, kShape, q, out, dout, dq); });
    span.causal = dspan.causal = true;
    const double causal = Work(rows_, width, kCached + rows_ / 2);
    Time(fmt::format("attend backward causal, {} cached", kCached), 6 * causal,
         [&] { train_->AttendBackward({&span, 1}, {&dspan, 1}, kShape, q, out, dout, dq); });
  }

  void TimeHead() {
    constexpr int64_t kVocab = 16384;
    const Weight table = Weights(1, kVocab, kWidth), dtable = Gradient(table);
    const Matrix hidden = Rows(rows_, kWidth), dhidden = Rows(rows_, kWidth);
    const std::vector<int32_t> target(static_cast<size_t>(rows_), 3);
    const std::vector<float> weight(target.size(), 0.1f);
    std::vector<LossRow> rows(target.size());
    Time(fmt::format("cross-entropy of {}", kVocab), 4 * Work(rows_, kWidth, kVocab),
         [&] { train_->CrossEntropy(hidden, table, 30.0f, target, weight, rows, dhidden, dtable); });
  }

  void TimeRest() {
    const Weight w = Weights(16, kWidth, kWidth), g = Gradient(w), m = Gradient(w), v = Gradient(w);
    Time(fmt::format("adam {} values", w.count * w.out * w.in), 0, [&] { train_->Adam({.rate = 1e-4f}, g, m, v, w); });
    Time("sum of squares", 0, [&] { train_->SumSquares(w); });
    const Matrix x = Rows(rows_, kWidth), dout = Rows(rows_, kWidth), dx = Rows(rows_, kWidth);
    const std::vector<float> ones(static_cast<size_t>(kWidth), 1.0f);
    const Weight norm = *kernels_->PackVector(OneRun(DType::kF32, 1, 1, kWidth, std::as_bytes(std::span(ones))));
    const Weight dnorm = Gradient(norm);
    Time("norm backward", 0, [&] { train_->RmsNormBackward(x, norm, dout, dnorm, dx); });
  }

  int64_t rows_;
  std::string only_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<TrainKernels> train_;
  double peak_;
  std::minstd_rand engine_{1};
  std::vector<std::vector<float>> storage_;
};

}  // namespace
}  // namespace dgemma

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const int64_t rows = argc > 2 ? std::atoll(argv[2]) : 256;
  dgemma::Timer(threads, rows, argc > 3 ? argv[3] : "").Run();
  return 0;
}
