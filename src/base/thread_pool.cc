// The pool: workers spin briefly for the next generation (kernels follow each other within microseconds), then sleep.
#include "base/thread_pool.h"

namespace dgemma {
namespace {

constexpr int kSpins = 4000;  // about 10-50 microseconds: longer than the gap between two kernels of a pass

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { Work(thread); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t tasks, const std::function<void(int64_t, int)>& body) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    tasks_ = tasks;
    body_ = &body;
    next_task_.store(0, std::memory_order_relaxed);
    open_.store(true);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  RunTasks(0);
  // All tasks are taken. Only workers that got in are waited for: one that wakes late finds the door closed. Both sides
  // use sequentially consistent operations in opposite order (close, then read inside_; enter, then read open_), so a
  // worker either is seen here or sees the door closed, and body_ is never read after this call returns.
  open_.store(false);
  for (int spin = 0; inside_.load() != 0; ++spin) {
    if (spin < kSpins)
      Pause();
    else
      std::this_thread::yield();
  }
}

void ThreadPool::RunTasks(int thread) {
  for (int64_t task = next_task_.fetch_add(1); task < tasks_; task = next_task_.fetch_add(1)) (*body_)(task, thread);
}

void ThreadPool::Work(int thread) {
  uint64_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) Pause();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    inside_.fetch_add(1);
    if (open_.load()) RunTasks(thread);
    inside_.fetch_sub(1);
  }
}

}  // namespace dgemma
