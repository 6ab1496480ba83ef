// A log that a client cannot flood: lines are cut, and beyond a rate only counted.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

#include "server/limits.h"

namespace dgemma {

/// Called by one thread.
class RequestLog {
 public:
  using Clock = std::chrono::steady_clock;

  /// `write` gets whole lines without line end; may be empty.
  RequestLog(std::function<void(std::string_view)> write, const ServerLimits& limits);

  void Line(std::string_view line, Clock::time_point now = Clock::now());

 private:
  std::function<void(std::string_view)> write_;
  size_t line_bytes_;
  int64_t lines_per_s_;
  Clock::time_point second_begin_{};
  int64_t written_ = 0;  // in this second
  int64_t dropped_ = 0;
};

}  // namespace dgemma
