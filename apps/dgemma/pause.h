// A pause that an interruption ends: how the live views stay visible when a model is quick.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace dgemma {

/// Waits for the duration or until the stop token is set; returns the seconds that passed.
inline double PauseFor(std::chrono::milliseconds duration, std::stop_token stop) {
  if (duration.count() <= 0) return 0;
  const auto begin = std::chrono::steady_clock::now();
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any wake;
  wake.wait_for(lock, stop, duration, [] { return false; });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace dgemma
