// A fork-join pool that is passed, never global: ParallelFor hands out task numbers, the caller works too, and the call
// returns when all tasks are done. Which thread runs a task never influences a result.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dgemma {

class ThreadPool {
 public:
  /// `threads` counts the calling thread; values below 1 mean one thread (everything runs inline).
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Runs body(task, thread) once for every task in [0, tasks), thread in [0, threads()). Bodies must not throw and must
  /// not call ParallelFor on the same pool. One caller at a time.
  void ParallelFor(int64_t tasks, const std::function<void(int64_t task, int thread)>& body);

 private:
  void Work(int thread);
  void RunTasks(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};  // bumped for each ParallelFor; workers wait for it to change
  std::atomic<bool> open_{false};        // whether tasks_ and body_ may be read; see ParallelFor
  std::atomic<int> inside_{0};           // workers that may be reading them
  std::atomic<int64_t> next_task_{0};
  int64_t tasks_ = 0;
  const std::function<void(int64_t, int)>* body_ = nullptr;
  std::atomic<bool> stop_{false};
};

}  // namespace dgemma
