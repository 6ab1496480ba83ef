// Counting by whole seconds.
#include "server/request_log.h"

#include <fmt/format.h>

#include <utility>

namespace dgemma {

RequestLog::RequestLog(std::function<void(std::string_view)> write, const ServerLimits& limits)
    : write_(std::move(write)), line_bytes_(limits.log_line_bytes), lines_per_s_(limits.log_lines_per_s) {}

void RequestLog::Line(std::string_view line, Clock::time_point now) {
  if (!write_) return;
  if (now - second_begin_ >= std::chrono::seconds(1)) {
    second_begin_ = now;
    written_ = 0;
    if (dropped_ > 0) write_(fmt::format("{} lines left out", std::exchange(dropped_, 0)));
  }
  if (written_ == lines_per_s_) {
    ++dropped_;
    return;
  }
  ++written_;
  write_(line.substr(0, line_bytes_));
}

}  // namespace dgemma
