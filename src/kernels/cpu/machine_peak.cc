// Bursts of a millisecond or two on every thread; the best burst counts.
#include "kernels/cpu/machine_peak.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/cpu/grouped.h"
#include "kernels/cpu/simd.h"
#include "kernels/host_memory.h"

namespace dgemma {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Best rate over `bursts` of work(), which returns the units it did.
template <typename Work>
double BestRate(int bursts, Work work) {
  double best = 0;
  for (int burst = 0; burst < bursts; ++burst) {
    const Clock::time_point begin = Clock::now();
    const double units = work();
    best = std::max(best, units / Seconds(begin));
  }
  return best;
}

/// The rate of a loop over registers that returns the operations it did.
template <typename Sink>
double RegisterRate(double (*loop)(int64_t rounds, Sink* sink), int64_t rounds, ThreadPool& pool) {
  std::vector<Sink> sinks(static_cast<size_t>(pool.threads()));
  std::vector<double> done(sinks.size());
  auto work = [&](int64_t task, int) {
    done[static_cast<size_t>(task)] = loop(rounds, &sinks[static_cast<size_t>(task)]);
  };
  return BestRate(80, [&] {
    pool.ParallelFor(pool.threads(), std::ref(work));
    return done[0] * static_cast<double>(pool.threads());
  });
}

double ReadRate(const PeakOps& ops, ThreadPool& pool) {
  constexpr int64_t kBytes = int64_t{256} << 20, kChunk = int64_t{1} << 20;
  Result<Buffer> memory = AllocateHost(kBytes);
  if (!memory) return 0;
  std::fill_n(memory->Floats(), kBytes / 4, 1.0f);
  std::vector<float> sinks(static_cast<size_t>(kBytes / kChunk));
  auto work = [&](int64_t task, int) {
    sinks[static_cast<size_t>(task)] = ops.read(memory->Floats() + task * (kChunk / 4), kChunk / 4);
  };
  return BestRate(7, [&] {
    pool.ParallelFor(kBytes / kChunk, std::ref(work));
    return static_cast<double>(kBytes);
  });
}

}  // namespace

MachinePeak MeasureMachinePeak(int threads) {
  const PeakOps ops = ChoosePeakOps();
  ThreadPool pool(threads), one(1);
  MachinePeak peak;
  peak.target = ChooseProductOps().target;
  peak.threads = pool.threads();
  constexpr int64_t kRounds = 400000, kIntegerRounds = 50000;  // one or two milliseconds at 3 GHz
  const GroupedOps& grouped = SupportedGroupedOps().front();
  peak.flops_one_thread = RegisterRate(ops.multiply_add, kRounds, one);
  peak.flops_all_threads = RegisterRate(ops.multiply_add, kRounds, pool);
  peak.bf16_one_thread = RegisterRate(ops.multiply_add_bf16, kRounds, one);
  peak.bf16_all_threads = RegisterRate(ops.multiply_add_bf16, kRounds, pool);
  peak.int8_one_thread = RegisterRate(grouped.peak, kIntegerRounds, one);
  peak.int8_all_threads = RegisterRate(grouped.peak, kIntegerRounds, pool);
  peak.read_bytes_per_second = ReadRate(ops, pool);
  return peak;
}

}  // namespace dgemma
