// One of the program's output streams, written without buffering: what has been written is on its way, whatever ends
// the program. A reader that closes its end is not an error worth words: later writes do nothing and failed() says so.
#pragma once

#include <atomic>
#include <string_view>

namespace dgemma {

class Output {
 public:
  /// Writes to an open file descriptor that stays the caller's.
  explicit Output(int descriptor) : descriptor_(descriptor) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Writes all of it, or nothing more after a failure. SIGPIPE must be ignored (Signals does).
  void Write(std::string_view text);

  int descriptor() const { return descriptor_; }
  /// True once a write was refused.
  bool failed() const { return error_ != 0; }
  /// The errno of that refusal; EPIPE when the reader went away.
  int error() const { return error_; }

 private:
  int descriptor_;
  std::atomic<int> error_{0};
};

}  // namespace dgemma
