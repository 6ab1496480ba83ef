// Reading /proc and timing a sum over a buffer larger than the caches.
#include "machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "base/thread_pool.h"

namespace dgemma {
namespace {

constexpr std::array<std::string_view, 16> kFeatures = {
    "sse4_2",      "avx",         "f16c",     "fma",      "avx2",  "avx_vnni", "avx512f", "avx512bw",
    "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "asimddp",  "i8mm",    "bf16"};

// Text behind "key :" in a file of such lines.
std::string Field(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || line.find_first_not_of(" \t", key.size()) != colon) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

int64_t Kilobytes(std::string_view key) {
  const std::string text = Field("/proc/meminfo", key);
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value * 1024;
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

double ReadSpeed(int cores, int64_t free_bytes) {
  constexpr size_t kPart = size_t{32} << 20;
  const auto parts = static_cast<size_t>(std::clamp<int64_t>(free_bytes / 4 / static_cast<int64_t>(kPart), 1, 8));
  const std::vector<uint64_t> buffer(parts * kPart / sizeof(uint64_t), 1);
  const size_t values = kPart / sizeof(uint64_t);
  ThreadPool pool(cores);
  std::atomic<uint64_t> total{0};
  double best = 0;
  for (int repetition = 0; repetition < 3; ++repetition) {
    const auto begin = std::chrono::steady_clock::now();
    pool.ParallelFor(static_cast<int64_t>(parts) * cores, [&](int64_t task, int) {
      const size_t slice = values / static_cast<size_t>(cores);
      const uint64_t* first = buffer.data() + static_cast<size_t>(task) * slice;
      uint64_t sum = 0;
      for (size_t i = 0; i < slice; ++i) sum += first[i];
      total += sum;
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, static_cast<double>(parts * kPart) / seconds);
  }
  return total == 0 ? 0 : best;
}

}  // namespace

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size_pages = 0, resident_pages = 0;
  file >> size_pages >> resident_pages;
  return file ? resident_pages * ::sysconf(_SC_PAGESIZE) : 0;
}

Machine DescribeMachine() {
  Machine machine;
  machine.processor = Field("/proc/cpuinfo", "model name");
  std::istringstream flags(Field("/proc/cpuinfo", "flags") + " " + Field("/proc/cpuinfo", "Features"));
  for (std::string flag; flags >> flag;) {
    if (std::ranges::find(kFeatures, flag) != kFeatures.end()) machine.features.push_back(flag);
  }
  machine.cores = UsableCores();
  machine.memory_bytes = Kilobytes("MemTotal");
  machine.free_bytes = Kilobytes("MemAvailable");
  machine.bytes_per_second = ReadSpeed(machine.cores, machine.free_bytes);
  return machine;
}

}  // namespace dgemma
