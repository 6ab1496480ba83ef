// The pool runs every task exactly once, for every number of threads, and many short loops in a row (where a worker
// that wakes late could meet the next loop). Meant to run under ThreadSanitizer too.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>

namespace dgemma {
namespace {

TEST(ThreadPool, CountsTheCaller) {
  EXPECT_EQ(ThreadPool(-3).threads(), 1);
  EXPECT_EQ(ThreadPool(0).threads(), 1);
  EXPECT_EQ(ThreadPool(1).threads(), 1);
  EXPECT_EQ(ThreadPool(4).threads(), 4);
}

TEST(ThreadPool, EveryTaskExactlyOnce) {
  for (int threads = 1; threads <= 8; ++threads) {
    ThreadPool pool(threads);
    for (const int64_t tasks : {0, 1, 2, 3, 7, 8, 9, 64, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
      std::atomic<bool> thread_in_range = true;
      pool.ParallelFor(tasks, [&](int64_t task, int thread) {
        ++runs[static_cast<size_t>(task)];
        if (thread < 0 || thread >= threads) thread_in_range = false;
      });
      EXPECT_TRUE(thread_in_range);
      for (const auto& count : runs) ASSERT_EQ(count, 1) << threads << " threads, " << tasks << " tasks";
    }
  }
}

TEST(ThreadPool, ResultsAreVisibleToTheCallerWithoutAtomics) {
  ThreadPool pool(4);
  std::vector<int64_t> values(1000);
  for (int64_t round = 0; round < 200; ++round) {
    pool.ParallelFor(1000, [&](int64_t task, int) { values[static_cast<size_t>(task)] += task + round; });
  }
  for (int64_t task = 0; task < 1000; ++task) EXPECT_EQ(values[static_cast<size_t>(task)], 200 * task + 199 * 100);
}

TEST(ThreadPool, OneThreadNumberIsNeverUsedTwiceAtOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<bool>> busy(4);
  std::atomic<int> clashes = 0;
  for (int round = 0; round < 300; ++round) {
    pool.ParallelFor(16, [&](int64_t, int thread) {
      std::atomic<bool>& mine = busy[static_cast<size_t>(thread)];
      if (mine.exchange(true)) ++clashes;
      mine = false;
    });
  }
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadPool, WorkersTakePart) {
  // Each task ends only when all four have begun, so they need four threads at once. The deadline turns a pool that
  // leaves everything to the caller into a failure instead of a hang.
  ThreadPool pool(4);
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> begun = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    pool.ParallelFor(4, [&](int64_t, int) {
      ++begun;
      while (begun < 4 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    });
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "fewer than four threads took tasks";
  }
}

/// Passes a moment that differs from task to task, so that workers enter and leave loops at every possible point.
void Dawdle(int64_t turns) {
  std::atomic<int64_t> turn = 0;
  while (turn.fetch_add(1, std::memory_order_relaxed) < turns) {
  }
}

TEST(ThreadPool, TenThousandShortLoops) {
  ThreadPool pool(3);
  int64_t total = 0;
  for (int64_t loop = 0; loop < 10'000; ++loop) {
    // Each loop's body and results live on this frame: a worker that ran a loop late would touch a dead one.
    const int64_t tasks = 2 + loop % 5;
    const auto results = std::make_unique<int64_t[]>(static_cast<size_t>(tasks));
    pool.ParallelFor(tasks, [&, loop](int64_t task, int) {
      Dawdle((loop * 7 + task * 13) % 200);
      results[static_cast<size_t>(task)] = loop + task;
    });
    for (int64_t task = 0; task < tasks; ++task) ASSERT_EQ(results[static_cast<size_t>(task)], loop + task);
    total += std::accumulate(results.get(), results.get() + tasks, int64_t{0});
  }
  EXPECT_GT(total, 0);
}

TEST(ThreadPool, WorksAfterItsWorkersFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 10; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> runs = 0;
    pool.ParallelFor(5, [&](int64_t, int) { ++runs; });
    EXPECT_EQ(runs, 5);
  }
}

TEST(ThreadPool, EndsWhetherItsWorkersSpinOrSleep) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(1 + round % 4);
    if (round % 2) pool.ParallelFor(4, [](int64_t, int) {});
    if (round % 10 == 3) std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
}

}  // namespace
}  // namespace dgemma
